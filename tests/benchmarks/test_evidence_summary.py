import json

import numpy as np
import pytest
from benchmarks.evidence import ours, summary
from benchmarks.evidence.problems import make


def row(method, errors, *, problem="a problem", budget=20_000, failed=0):
    estimates = [None if e is None else 5.0 + e for e in errors]
    return {
        "problem": problem,
        "method": method,
        "budget": budget,
        "runs": len(errors),
        "failed": failed,
        "truth": 5.0,
        "estimates": estimates,
        "calibration": 1.0,
        "warned": 0,
    }


OURS = row("te.log_evidence", [0.1, -0.1] * 10)
FAIR = row("fair", [0.4, -0.4] * 10)
POOR = row("poor", [2.0, -2.0] * 10)
SELDOM = row("seldom", [0.01] * 5 + [None] * 15, failed=15)


def test_the_best_reliable_peer_is_chosen_at_the_budget():
    other = row("fair", [0.001] * 20, budget=100_000)
    ((ours_row, best, peers),) = summary.compare([OURS, POOR, FAIR, SELDOM, other], 20_000)
    assert (ours_row, best) == (OURS, FAIR)
    assert peers == [POOR, FAIR, SELDOM]


def test_the_ratio_is_of_root_mean_squares_with_failures_left_out():
    low, ratio, high = summary.ratio_interval(OURS, FAIR)
    assert ratio == pytest.approx(4.0)
    assert low == pytest.approx(4.0)
    assert high == pytest.approx(4.0)
    uneven = row("uneven", [0.1, 0.7, None, -0.5])
    low, ratio, high = summary.ratio_interval(OURS, uneven)
    assert ratio == pytest.approx(5.0)
    assert low < ratio < high


def test_the_table_and_the_picture(tmp_path, capsys, monkeypatch):
    results, picture = tmp_path / "results.json", tmp_path / "picture.png"
    alone = row("te.log_evidence", [0.2] * 20, problem="another")
    results.write_text(json.dumps({"rows": [OURS, FAIR, POOR, alone]}))
    monkeypatch.setattr("sys.argv", ["summary", str(results), "--picture", str(picture)])
    summary.main()
    table = capsys.readouterr().out
    assert "| a problem | 0.1 | 1.00 | 0/20 | fair | 0.4 | 4 [4, 4] |" in table
    assert "| another | 0.2 | 1.00 | 0/20 | none measured | | |" in table
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_library_keeps_to_the_budget_and_is_charged_for_everything():
    problem = make("skewed-gamma")
    result = ours.DEFAULT.estimate(np.arange(2), problem, 20_000)
    assert not result.failed.any()
    assert np.all((result.units > 17_000) & (result.units <= 20_000))
    assert np.all(np.abs(result.log_evidence - problem.log_evidence) < 0.02)
    assert not result.warned.any()
    refused = ours.DEFAULT.estimate(np.arange(2), problem, 500)
    assert refused.failed.all()
