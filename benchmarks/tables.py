"""Rows as a table in Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from benchmarks.measure import OURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = (
    "work",
    "competitor",
    "ms",
    "times ours (quartiles)",
    "goal",
    "compile, s",
    "peak, MB",
    "share of roofline",
)


def _number(value: float | None, scale: float = 1.0) -> str:
    return "" if value is None else f"{value * scale:.3g}"


def _goal(row: dict[str, Any], ratio: float | None) -> str:
    goal = row.get("goal")
    if goal is None or ratio is None:
        return ""
    verdict = "met" if ratio >= goal["at_least"] else "below"
    if goal["stretch"] is not None and ratio >= goal["stretch"]:
        verdict = "stretch met"
    return f"≥ {goal['at_least']:g}: {verdict}"


def _share(row: dict[str, Any]) -> str:
    parts = []
    if "share_of_products" in row:
        parts.append(f"{100 * row['share_of_products'][1]:.0f} % of GEMM")
    if "share_of_bandwidth" in row:
        parts.append(f"{100 * row['share_of_bandwidth'][1]:.0f} % of copy")
    return ", ".join(parts)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "skipped" in row:
        return (row["work"], row["competitor"], "skipped: " + row["skipped"], *[""] * 5)
    ratios = [
        f"{median:.2f} [{low:.2f}, {high:.2f}]" for low, median, high in row["ratio"].values()
    ]
    medians = [quartiles[1] for quartiles in row["ratio"].values()]
    name = row["competitor"]
    if "threads" in row:
        name += f" ({row['threads']} threads)"
    peak = row["peak_bytes"] if row["peak_bytes"] is not None else row["planned_bytes"]
    return (
        row["work"],
        name,
        _number(row["seconds"][1], 1e3),
        "; ".join(ratios),
        _goal(row, max(medians, default=None)),
        _number(row["compile_seconds"]),
        _number(peak, 1e-6),
        _share(row),
    )


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    """A table, with the name of a work in its first line alone.

    Where there are two of ours, a peer has two ratios, in their order, and the goal is held
    against the larger.
    """
    lines = ["| " + " | ".join(_HEADER) + " |", "|" + "---|" * len(_HEADER)]
    last = None
    for row in rows:
        work, *cells = _cells(row)
        lines.append("| " + " | ".join(["" if work == last else work, *cells]) + " |")
        last = work
    return "\n".join(lines) + "\n"


def picture(rows: Iterable[dict[str, Any]]) -> Figure:
    """Ratios of all peers, by work, with quartiles and goals, on a logarithmic axis."""
    from matplotlib.figure import Figure

    shown = [r for r in rows if r.get("ratio") and not r["competitor"].startswith(OURS)]
    works = list(dict.fromkeys(r["work"] for r in shown))
    peers = list(dict.fromkeys(r["competitor"] for r in shown))
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(shown)), layout="constrained")
    axes = figure.subplots()
    colours = {peer: f"C{i % 10}" for i, peer in enumerate(peers)}
    place, ticks = 0.0, []
    for work in works:
        of_work = [r for r in shown if r["work"] == work]
        ticks.append((place + (len(of_work) - 1) / 2, work))
        for row in of_work:
            low, median, high = max(row["ratio"].values(), key=lambda q: q[1])
            axes.barh(place, median - 1, left=1, color=colours[row["competitor"]], alpha=0.75)
            axes.plot([low, high], [place, place], color="black", linewidth=1)
            axes.annotate(
                f"{row['competitor']}: {median:.2f}",
                (max(high, 1.0), place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
            if "goal" in row:
                goal = row["goal"]["at_least"]
                axes.plot([goal, goal], [place - 0.4, place + 0.4], color="red", linewidth=1.5)
            place += 1
        place += 0.7
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks([t for t, _ in ticks], [name for _, name in ticks], fontsize=7)
    axes.set_xlabel("time of the peer / time of tempered_ebm (red: at least)")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 10)
    axes.set_ylim(place, -1.0)
    return figure
