"""The table, what is found in it, and the page, on studies with planted effects."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import plotting
from tempered_ebm.study import figures
from tempered_ebm.study import folder as folders
from tempered_ebm.study.findings import findings
from tempered_ebm.study.report import write_report

ESTIMATORS = {"posterior": 1.0, "covariance": 4.0, "pooled": 0.25}


def cell_name(estimator, power):
    return f"{estimator}_p{power:g}" if power else "off"


def planted(*, bias=0.0, effect_on_frechet=0.0, runaway=False, repeats=6):
    """Rows whose variance is a factor for each estimator times 100, with noise of 5 %."""
    rng = np.random.default_rng(4)
    rows = []
    cells = [("posterior", 0.0), *((e, p) for e in ESTIMATORS for p in (1.0, 3.0))]
    for estimator, power in cells:
        for repeat in range(repeats):
            for step in (10, 20):
                factor = ESTIMATORS[estimator] if power else 1.0
                variance = 100 * factor * np.exp(0.05 * rng.normal())
                if runaway and estimator == "covariance" and power == 3 and repeat < 2:
                    variance = 1e12
                row = {
                    "cell": cell_name(estimator, power),
                    "estimator": estimator,
                    "schedule": "power" if power else "off",
                    "power": power,
                    "num_temperatures": 4 if power else 1,
                    "batch_size": 8,
                    "posterior_steps": 5,
                    "metropolis": 0,
                    "replica_exchange": int(power > 0),
                    "dataset": "planted",
                    "repeat": repeat,
                    "step": step,
                    "gradient_evaluations": 100 * step,
                    "frechet": 2 + effect_on_frechet * np.log(factor) + 0.05 * rng.normal(),
                }
                for group in folders.GROUPS:
                    row |= {f"{group}_{name}": rng.normal() for name in folders.STATISTICS}
                    row[f"{group}_variance"] = variance
                    row[f"{group}_mcmc_variance"] = 0.5 * variance
                    row[f"{group}_minibatch_variance"] = 0.5 * variance
                    is_biased = bias and estimator == "covariance"
                    row[f"{group}_squared_bias"] = (bias if is_biased else 0) + 0.3 * rng.normal()
                rows.append(row)
    return rows


def folder_with(tmp_path, rows, arrays=True):
    (tmp_path / "cells").mkdir()
    names = list(dict.fromkeys(row["cell"] for row in rows))
    config = {"cells": [*names, "not_run"], "config": {"grid": "<b>"}, "dataset": "<planted>"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "floor": {"frechet": 0.2}}))
    half = len(rows) // 2
    folders.write_rows(tmp_path / "cells" / "b.csv", rows[half:])
    folders.write_rows(tmp_path / "cells" / "a.csv", rows[:half])
    if arrays:
        rng, content = np.random.default_rng(0), {}
        for name in names:
            K = 1 if name == "off" else 4
            content |= {
                f"{name}:ladder": np.linspace(0, 1, K) if K > 1 else np.ones(1),
                f"{name}:steps": np.array([10, 20]),
                f"{name}:mean_loglikelihood": np.sort(rng.normal(size=(6, 2, K)), -1),
                f"{name}:variance_loglikelihood": rng.exponential(size=(6, 2, K)),
                f"{name}:loglikelihood": rng.normal(size=(6, K, 30)),
                f"{name}:latent": rng.normal(size=(6, K, 30, 2)),
                f"{name}:samples": rng.integers(0, 255, (6, 9, 4, 4, 1)).astype(np.uint8),
            }
        np.savez(tmp_path / "cells" / "a.npz", **content)
    return tmp_path


class References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]


def read_back(tmp_path, rows):
    path = tmp_path / "rows.csv"
    folders.write_rows(path, rows)
    return folders.read_rows(path)


def test_rows_survive_being_written_and_read(tmp_path):
    rows = planted()
    rows[0]["frechet"], rows[1]["frechet"], rows[2]["power"] = float("nan"), float("inf"), None
    got = read_back(tmp_path, rows)
    assert np.isnan(got["frechet"][:2]).all()
    assert np.isnan(got["power"][2])
    np.testing.assert_array_equal(got["all_variance"], [row["all_variance"] for row in rows])
    assert got["cell"].tolist() == [row["cell"] for row in rows]


def test_means_over_repeats_leave_out_what_was_not_measured(tmp_path):
    rows = planted(repeats=3)
    rows[1]["frechet"] = None
    got = read_back(tmp_path, rows).where(cell="off")
    steps, values, errors = folders.over_repeats(got, "frechet")
    np.testing.assert_array_equal(steps, [10, 20])
    expected = [row["frechet"] for row in rows[:6] if row["step"] == 20 and row["frechet"]]
    assert values[1] == pytest.approx(np.mean(expected))
    assert errors[1] == pytest.approx(np.std(expected, ddof=1) / 2**0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is not the table"), ("a,b\n1,2\n", "its columns are not"), (None, "does not exist")],
)
def test_a_damaged_table_is_named(tmp_path, content, message):
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(te.InputError, match=rf"rows.csv .*{message}"):
        folders.read_rows(path)


def test_a_value_that_is_no_number_is_named(tmp_path):
    path = tmp_path / "rows.csv"
    folders.write_rows(path, planted(repeats=2))
    path.write_text(path.read_text().replace(",20,", ",twenty,", 1))
    with pytest.raises(te.InputError, match=r"rows.csv is not the table of a study.*twenty"):
        folders.read_rows(path)


def test_planted_effects_are_found(tmp_path):
    text = "\n".join(findings(read_back(tmp_path, planted(bias=20.0, effect_on_frechet=0.5))))
    assert "that of pooled, p = " in text
    factor = float(text.split("its variance is ")[1].split(" ±")[0])
    assert factor == pytest.approx(0.25, abs=0.03)
    assert "covariance, p = 1 (5 % of the mean squared error)" in text
    assert "below that of the cell without a ladder (Mann-Whitney test): pooled, p = 1" in text
    assert "above that of the cell without a ladder (Mann-Whitney test): covariance" in text
    assert "diverged" not in text


def test_no_effect_is_called_none(tmp_path):
    text = "\n".join(findings(read_back(tmp_path, planted())))
    assert "For 7 cells no bias is seen" in text
    assert text.count("does not differ between powers beyond the noise") == 6
    for words in ("below", "above"):
        assert f"{words} that of the cell without a ladder (Mann-Whitney test): no cell" in text


def test_runs_that_ran_away_are_counted(tmp_path):
    text = "\n".join(findings(read_back(tmp_path, planted(runaway=True))))
    assert "covariance, p = 3 (2 of 6)" in text


def test_the_page_is_whole_and_needs_nothing_from_the_net(tmp_path):
    path = write_report(folder_with(tmp_path, planted()))
    text = path.read_text()
    parser = References()
    parser.feed(text)
    assert parser.sources
    assert all(source.startswith("data:image/") for source in parser.sources)
    assert parser.tags.count("img") == 9
    assert "script" not in parser.tags
    assert "Not finished: not_run" in text
    assert "&lt;planted&gt;" in text
    assert "<planted>" not in text


@pytest.mark.slow
def test_a_page_without_arrays(tmp_path):
    text = write_report(folder_with(tmp_path, planted(), arrays=False)).read_text()
    assert text.count("<img") == 5


def test_what_is_no_folder_of_a_study_is_named(tmp_path):
    with pytest.raises(te.InputError, match="neither a study folder nor a run folder"):
        write_report(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(te.InputError, match=r"config.json is damaged"):
        write_report(tmp_path)


def test_pictures_have_an_axis_for_each_estimator_and_name_what_they_leave_out(tmp_path):
    rows = read_back(tmp_path, planted(runaway=True))
    names = {"all_variance": "a", "frechet": "b"}
    assert len(figures.against_iteration(rows, names).axes) == 2 * 3
    boxes = figures.variance_boxes(rows, "power").axes
    assert [axis.get_title() for axis in boxes] == ["posterior", "covariance", "pooled"]
    assert [t.get_text() for t in boxes[0].get_xticklabels()] == ["off\n(6)", "1\n(6)", "3\n(6)"]
    (axis,) = figures.quality_against_variance(rows).axes
    texts = [text.get_text() for text in axis.texts]
    assert texts.count("6") == 6
    assert "beyond the axes:\ncovariance p = 3" in texts


def test_gifs_have_a_frame_for_each_step():
    from io import BytesIO

    from PIL import Image

    ladder, values = np.linspace(0, 1, 4), np.sort(np.random.default_rng(0).normal(size=(3, 4)))
    for draw in (plotting.integrand_over_training, plotting.ladder_over_training):
        assert Image.open(BytesIO(draw(ladder, [1, 2, 3], values**2))).n_frames == 3
        with pytest.raises(te.InputError, match=r"must have shape \(2, 4\), got \(3, 4\)"):
            draw(ladder, [1, 2], values)
    with pytest.raises(te.InputError, match="at least one frame"):
        plotting.to_gif([])
