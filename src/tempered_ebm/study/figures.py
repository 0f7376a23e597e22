"""Figures of a study: gradients and images, by estimator and by ladder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tempered_ebm.plotting.figures import GREY, PALETTE, empty_figure, figure_with_axes, remove_box
from tempered_ebm.plotting.images import show_images
from tempered_ebm.study.folder import Table, mean, over_repeats

OFF = "off"
_NO_LADDER = "no ladder"
_MARKERS = ("o", "s", "^", "D")
_FAR = 30.0


def _far_off(values: np.ndarray) -> float:
    """Return thirty times the median: what lies beyond has diverged and would flatten all else."""
    finite = values[np.isfinite(values)]
    return _FAR * float(np.median(finite)) if len(finite) else math.inf


def ladder_label(table: Table) -> str:
    """Return the short name of the ladder of a cell's rows."""
    schedule, power = str(table["schedule"][0]), float(table["power"][0])
    if schedule == OFF:
        return _NO_LADDER
    return f"p = {power:g}" if math.isfinite(power) else schedule


def _with_ladder(table: Table) -> Table:
    return table.rows(table["schedule"] != OFF)


def _estimators(table: Table) -> list[str]:
    return list(dict.fromkeys(_with_ladder(table)["estimator"].tolist())) or ["posterior"]


def _colors(table: Table) -> dict[str, tuple]:
    """Choose a colour for each ladder, from small powers to large."""
    labels = list(dict.fromkeys(map(ladder_label, _with_ladder(table).by_cell())))
    shades = colormaps["viridis"](np.linspace(0.0, 0.9, max(len(labels), 1)))
    return dict(zip(labels, map(tuple, shades))) | {_NO_LADDER: (0.3, 0.3, 0.3, 1.0)}


def against_iteration(
    table: Table, names: Mapping[str, str], *, reference: float | None = None
) -> Figure:
    """Plot columns against the update: a row of axes for each column, one axis for each estimator.

    Lines are means over repeats, bands one standard error; the dashed line is the cell
    without a ladder. Vertical axes are logarithmic and shared along a row; they end at thirty times
    the median, where lines of runs that diverged leave them.

    Args:
        table: rows of a study.
        names: columns, with the labels of their axes.
        reference: height of a dotted line to compare with.
    """
    estimators, colors = _estimators(table), _colors(table)
    rows, columns = len(names), len(estimators)
    figure = empty_figure(2.9 * columns + 1.3, 2.6 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    for axes, (name, label) in zip(grid, names.items()):
        positive = table[name][table[name] > 0]
        limit = _far_off(positive)
        for axis, estimator in zip(axes, estimators):
            ladders = _with_ladder(table.where(estimator=estimator)).by_cell()
            for cell in (*ladders, *table.where(schedule=OFF).by_cell()):
                _line_with_band(axis, cell, name, colors[ladder_label(cell)], limit)
            if reference is not None:
                axis.axhline(reference, color=GREY, linestyle=":", linewidth=1)
            axis.set_yscale("log")
            remove_box(axis)
        axes[0].set_ylabel(label)
        if len(positive):
            low, high = np.quantile(positive, 0.002), np.max(positive)
            axes[0].set_ylim(low / 1.5, min(1.5 * high, limit))
    for top, bottom, estimator in zip(grid[0], grid[-1], estimators):
        top.set_title(estimator, fontsize=10)
        bottom.set_xlabel("update")
    lines = [
        Line2D([], [], color=color, label=name, linestyle="--" if name == _NO_LADDER else "-")
        for name, color in colors.items()
    ]
    figure.legend(handles=lines, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _line_with_band(axis: Axes, rows: Table, name: str, color: tuple, limit: float) -> None:
    label = ladder_label(rows)
    steps, values, errors = over_repeats(rows, name)
    values = np.where(values <= limit, values, np.nan)
    style = "--" if label == _NO_LADDER else "-"
    axis.plot(steps, values, color=color, label=label, linewidth=1.3, linestyle=style)
    if np.all(np.isfinite(errors)) and len(steps):
        axis.fill_between(steps, values - errors, values + errors, color=color, alpha=0.2, lw=0)


def quality_against_variance(table: Table) -> Figure:
    """Plot Fréchet distance against the variance of the gradient: a point for each cell's end.

    Points are means over repeats with one standard error either way; the number beside
    a point is that of the runs it stands for. Points of single repeats are shown faintly.
    Cells beyond thirty times a median are named in the corner and not drawn.
    """
    figure, (axis,) = figure_with_axes(1, 1, 7.4, 4.6)
    columns = ("all_variance", "frechet")
    _plot_ends(axis, table, *columns, limited=columns, with_runs=True)
    xlabel = "variance of the learning gradient, tr Cov, at the end"
    axis.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="Fréchet distance at the end")
    _add_legend_of_points(figure, table)
    return figure


def variance_against_bias(table: Table) -> Figure:
    """Plot variance against squared bias, for the prior's and the generator's gradient.

    A point is a cell at its end, with one standard error over repeats. Unbiased estimates of a
    squared bias may be negative: the horizontal axis is linear around zero. Cells beyond thirty
    times the median variance are named in the corner and not drawn.
    """
    figure, axes = figure_with_axes(1, 2, 10.6, 4.2)
    for axis, group in zip(axes, ("prior", "generator")):
        bias, noise = f"{group}_squared_bias", f"{group}_variance"
        ends = _plot_ends(axis, table, bias, noise, limited=(noise,))
        typical = np.median(np.abs(ends[bias])) if len(ends) else 1.0
        axis.set_xscale("symlog", linthresh=max(float(typical), 1e-12))
        axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
        xlabel = "squared bias against the long-run reference"
        axis.set(yscale="log", xlabel=xlabel, ylabel="tr Cov")
        axis.set_title(f"gradient of the {group}", fontsize=10)
        axis.tick_params(axis="x", labelsize=7)
    _add_legend_of_points(figure, table)
    return figure


def _plot_ends(
    axis: Axes, table: Table, x: str, y: str, *, limited: tuple[str, ...], with_runs: bool = False
) -> Table:
    """Plot a point for the end of each cell, and name those beyond the limits in the corner."""
    colors, estimators = _colors(table), _estimators(table)
    ends = table.ends().measured(x, y)
    limits = {name: _far_off(ends[name]) for name in limited}
    beyond = []
    for rows in ends.by_cell():
        if any(rows[name].mean() > limit for name, limit in limits.items()):
            beyond.append(f"{rows['estimator'][0]} {ladder_label(rows)}")
            continue
        marker, size = "*", 10
        if rows["schedule"][0] != OFF:
            index = estimators.index(str(rows["estimator"][0]))
            marker, size = _MARKERS[index % len(_MARKERS)], 6
        color = colors[ladder_label(rows)]
        means = mean(rows[x]), mean(rows[y])
        at = (means[0].value, means[1].value)
        style: dict[str, Any] = {"fmt": marker, "color": color, "markersize": size, "linewidth": 1}
        for name, bar, m in zip((x, y), ("xerr", "yerr"), means):
            error = np.nan_to_num(m.error)
            # A bar on a logarithmic axis must end above zero.
            below = min(error, 0.9 * m.value) if name in limited else error
            style[bar] = [[below], [error]]
        axis.errorbar(*at, **style)
        if with_runs:
            axis.plot(rows[x], rows[y], marker, color=color, alpha=0.25, markersize=4, mew=0)
            number = str(means[0].number)
            axis.annotate(number, at, (5, 4), textcoords="offset points", fontsize=7)
    if beyond:
        text = "beyond the axes:\n" + "\n".join(beyond)
        axis.text(0.98, 0.98, text, transform=axis.transAxes, ha="right", va="top", fontsize=7)
    remove_box(axis)
    return ends


def _add_legend_of_points(figure: Figure, table: Table) -> None:
    handles = [
        Line2D([], [], color="black", marker=_MARKERS[i % len(_MARKERS)], linestyle="", label=name)
        for i, name in enumerate(_estimators(table))
    ]
    handles += [
        Line2D([], [], color=color, marker="*" if name == _NO_LADDER else ".", ls="", label=name)
        for name, color in _colors(table).items()
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)


def variance_boxes(table: Table, by: str) -> Figure:
    """Draw box plots of the variance at the end of every run, by a setting; one axis an estimator.

    The number under a box is that of its runs; whiskers reach to the extremes. The axis ends at
    thirty times the median.

    Args:
        table: rows of a study.
        by: ``"batch_size"`` or ``"power"``; runs without a ladder have power 0.
    """
    estimators = _estimators(table)
    figure = empty_figure(2.9 * len(estimators), 3.0)
    axes = figure.subplots(1, len(estimators), squeeze=False, sharey=True)[0]
    noise = "all_variance"
    ends = table.ends().measured(noise, by)
    for axis, estimator in zip(axes, estimators):
        part = ends.rows((ends["estimator"] == estimator) | (ends["schedule"] == OFF))
        values = np.unique(part[by])
        boxes = [part.where(**{by: value})[noise] for value in values]
        axis.boxplot(boxes, whis=(0, 100), medianprops={"color": PALETTE[0]})
        labels = [
            f"{'off' if by == 'power' and v == 0 else f'{v:g}'}\n({len(b)})"
            for v, b in zip(values, boxes)
        ]
        axis.set_xticklabels(labels, fontsize=8)
        axis.set_title(estimator, fontsize=10)
        axis.set(yscale="log", xlabel="power p" if by == "power" else by.replace("_", " "))
        remove_box(axis)
    axes[0].set_ylabel("tr Cov at the end")
    positive = ends[noise][ends[noise] > 0]
    if len(positive):
        axes[0].set_ylim(positive.min() / 1.5, min(1.5 * positive.max(), _far_off(positive)))
    return figure


def temperature_posteriors(
    cells: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Figure:
    """Draw the log-likelihood and a latent coordinate at each temperature as violins.

    Args:
        cells: for each title, the ladder (K,), log-likelihoods (K, n) and latent vectors
            (K, n, 2) of draws at the end of a run.
    """
    figure = empty_figure(3.2 * len(cells), 5.2)
    grid = figure.subplots(2, len(cells), squeeze=False, sharey="row")
    for column, (title, (ladder, ell, latent)) in zip(grid.T, cells.items()):
        positions = np.arange(len(ladder))
        for axis, values in zip(column, (ell, latent[..., 0])):
            axis.violinplot([v[np.isfinite(v)] for v in values], positions, showmedians=True)
            axis.set_xticks(positions, [f"{t:.2g}" for t in ladder], fontsize=7)
            remove_box(axis)
        column[0].set_title(title, fontsize=9)
        column[1].set_xlabel("temperature t")
        column[0].set_yscale("symlog", linthresh=100.0)
    grid[0, 0].set_ylabel("log-likelihood, nats")
    grid[1, 0].set_ylabel("first latent coordinate")
    return figure


def cell_samples(cells: Mapping[str, np.ndarray]) -> Figure:
    """Show images of each cell as a small tile.

    Args:
        cells: for each title, images (m, h, w, c) as bytes.
    """
    columns = min(7, len(cells))
    rows = math.ceil(len(cells) / columns)
    figure, axes = figure_with_axes(rows, columns, 1.7 * columns, 1.95 * rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, images) in zip(axes, cells.items()):
        show_images(axis, images[:36].astype(np.float32) / 127.5 - 1, 6, "")
        axis.set_title(title, fontsize=7)
    return figure
