"""The page of the documentation that shows the results of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import tables
from benchmarks.measure import OURS, best_ratio
from benchmarks.pages import put


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _spread(quartiles: Iterable[float]) -> str:
    low, median, high = quartiles
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def goals(rows: Iterable[dict[str, Any]]) -> str:
    """What was to be reached, and what was: one line for each peer with a goal."""
    header = ("work", "against", "at least", "stretch", "default noise", "best of ours", "")
    lines = [_line(header), "|" + "---|" * len(header)]
    for row in rows:
        if "goal" not in row:
            continue
        goal, best = row["goal"], best_ratio(row)
        if best is None:
            continue
        verdict = "met" if best[1][1] >= goal["at_least"] else "**below**"
        if goal["stretch"] is not None and best[1][1] >= goal["stretch"]:
            verdict = "stretch met"
        stretch = "" if goal["stretch"] is None else f"{goal['stretch']:g}"
        first = row["ratio"].get(OURS)
        lines.append(
            _line(
                (
                    row["work"],
                    row["competitor"],
                    f"{goal['at_least']:g}",
                    stretch,
                    "" if first is None else _spread(first),
                    _spread(best[1]),
                    verdict,
                )
            )
        )
    return "\n".join(lines) + "\n"


def startup(rows: Iterable[dict[str, Any]]) -> str:
    """Fresh processes beside ``import jax``."""
    lines = [_line(("start", "seconds", "times `import jax`")), "|---|---|---|"]
    for row in rows:
        ratio = row.get("ratio")
        lines.append(
            _line(
                (
                    f"`{row['name']}`",
                    _spread(row["seconds"]),
                    "" if ratio is None else _spread(ratio),
                )
            )
        )
    return "\n".join(lines) + "\n"


def parts(results: dict[str, Any]) -> dict[str, str]:
    """The parts of the page by the name of their marker."""
    rows = results["rows"]
    where = ", ".join(f"{k} {v}" for k, v in results["environment"].items())
    found = {
        "environment": f"{where}; {results['repeats']} rounds, {results['seconds']} s in all.",
        "goals": goals(rows),
    }
    for suite in dict.fromkeys(row["suite"] for row in rows):
        found[suite] = tables.markdown(row for row in rows if row["suite"] == suite)
    if "startup" in results:
        found["startup"] = startup(results["startup"])
    return found


def fill(page: str, results: dict[str, Any]) -> str:
    """The page with the parts of a result in it."""
    return put(page, parts(results))
