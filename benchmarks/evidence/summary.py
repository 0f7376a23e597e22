"""The table and the picture of a finished run: ``python -m benchmarks.evidence.summary``.

For every problem the library stands beside the best of all peers and settings, chosen after
the fact and by the very errors that it is judged by, in the peers' favour; a setting of which
more than a tenth of the runs failed is not chosen.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tempered_ebm.plotting.figures import GREY, INK, SECOND, figure_with_axes, remove_box, to_png

_RESULTS = Path(__file__).resolve().parents[1] / "results" / "evidence-cpu.json"
_PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "evidence-benchmark.png"
_OURS = "te.log_evidence"
_MOST_FAILURES = 0.1
_RESAMPLES = 4_000

Row = dict[str, Any]


def errors(row: Row) -> np.ndarray:
    """Errors of the runs that gave an estimate, in nats."""
    estimates = np.array([np.nan if v is None else v for v in row["estimates"]], float)
    return (estimates - row["truth"])[np.isfinite(estimates)]


def ratio_interval(ours: Row, theirs: Row) -> tuple[float, float, float]:
    """Ratio of root-mean-square errors, theirs over ours, with a 90 % bootstrap interval."""
    rng = np.random.default_rng(0)

    def resampled(row: Row) -> np.ndarray:
        e = errors(row)
        return np.sqrt(np.mean(e[rng.integers(0, len(e), (_RESAMPLES, len(e)))] ** 2, axis=1))

    ratios = resampled(theirs) / resampled(ours)
    low, high = np.quantile(ratios, (0.05, 0.95))
    return float(low), float(_rmse(theirs) / _rmse(ours)), float(high)


def _rmse(row: Row) -> float:
    e = errors(row)
    return float(np.sqrt(np.mean(e**2))) if len(e) else math.nan


def _is_reliable(row: Row) -> bool:
    return row["failed"] <= _MOST_FAILURES * row["runs"]


def compare(rows: list[Row], budget: float) -> list[tuple[Row, Row | None, list[Row]]]:
    """Per problem: our row, the best peer's if any is reliable, and all peers' rows."""
    chosen = [row for row in rows if row["budget"] == budget]
    table = []
    for problem in dict.fromkeys(row["problem"] for row in chosen):
        here = [row for row in chosen if row["problem"] == problem]
        ours = next((row for row in here if row["method"] == _OURS), None)
        peers = [row for row in here if row["method"] != _OURS]
        if ours is not None:
            best = min(filter(_is_reliable, peers), key=_rmse, default=None)
            table.append((ours, best, peers))
    return table


def markdown(table: list[tuple[Row, Row | None, list[Row]]]) -> str:
    """The table, a line a problem."""
    lines = [
        "| problem | RMSE here, nats | error over error bar | warned | best peer of all settings | "
        "its RMSE | ratio [90 %] |",
        "|---|---|---|---|---|---|---|",
    ]
    for ours, best, _ in table:
        failed = f", {ours['failed']} refused" if ours["failed"] else ""
        start = (
            f"| {ours['problem']} | {_rmse(ours):.2g}{failed} | {ours['calibration']:.2f} | "
            f"{ours['warned']}/{ours['runs']} | "
        )
        if best is None:
            lines.append(start + "none measured | | |")
            continue
        low, ratio, high = ratio_interval(ours, best)
        lines.append(
            start + f"{best['method']} | {_rmse(best):.2g} | {_short(ratio)} "
            f"[{_short(low)}, {_short(high)}] |"
        )
    return "\n".join(lines)


def _short(value: float) -> str:
    """Two digits, or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def draw(axis: Axes, table: list[tuple[Row, Row | None, list[Row]]]) -> None:
    """Every setting of every method, a row a problem, on a logarithmic axis."""
    for i, (ours, best, peers) in enumerate(table):
        reliable = [row for row in peers if _is_reliable(row)]
        axis.plot([_rmse(r) for r in reliable], [-i] * len(reliable), "|", color=GREY, markersize=9)
        if best is not None:
            axis.plot(_rmse(best), -i, "o", color=INK, markersize=6)
        axis.plot(_rmse(ours), -i, "o", color=SECOND, markersize=6)
    axis.set_xscale("log")
    axis.set_yticks(-np.arange(len(table)), [ours["problem"] for ours, _, _ in table], fontsize=9)
    axis.set_xlabel("root-mean-square error of log p(x), nats")
    for label, color, marker in (
        ("te.log_evidence", SECOND, "o"),
        ("best peer", INK, "o"),
        ("peers, all settings", GREY, "|"),
    ):
        axis.plot([], [], marker, color=color, label=label)
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    axis.grid(axis="x", color=GREY, alpha=0.2)
    remove_box(axis)


def main() -> None:
    """Print the table of a results file and draw its picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.summary")
    parser.add_argument("results", type=Path, nargs="?", default=_RESULTS)
    parser.add_argument("--budget", type=float, default=20_000)
    parser.add_argument("--picture", type=Path, default=_PICTURE)
    arguments = parser.parse_args()
    table = compare(json.loads(arguments.results.read_text())["rows"], arguments.budget)
    print(markdown(table))
    figure, (axis,) = figure_with_axes(1, 1, 8.0, 0.6 + 0.34 * max(len(table), 5))
    draw(axis, table)
    arguments.picture.write_bytes(to_png(figure))
    print(f"\npicture in {arguments.picture}")


if __name__ == "__main__":
    main()
