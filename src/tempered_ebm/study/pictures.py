"""Pictures of a study: gradients and images, by estimator and by ladder."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tempered_ebm.plotting.figures import GREY, PALETTE, empty_figure, figure_with_axes, remove_box
from tempered_ebm.plotting.images import tile
from tempered_ebm.study.table import Table, mean, over_repeats

OFF = "off"
_MARKERS = ("o", "s", "^", "D")


_FAR = 30.0


def far_off(values: np.ndarray) -> float:
    """Thirty times the median: what lies beyond has diverged and would flatten all else."""
    finite = values[np.isfinite(values)]
    return _FAR * float(np.median(finite)) if len(finite) else math.inf


def _estimators(table: Table) -> list[str]:
    ladder = table.rows(table["schedule"] != OFF)
    return list(dict.fromkeys(ladder["estimator"].tolist())) or ["posterior"]


def ladder_label(table: Table) -> str:
    """Short name of the ladder of a cell's rows."""
    schedule, power = str(table["schedule"][0]), float(table["power"][0])
    if schedule == OFF:
        return "no ladder"
    return f"p = {power:g}" if math.isfinite(power) else schedule


def _colors(table: Table) -> dict[str, tuple]:
    """A colour for each ladder, from small powers to large."""
    ladder = table.rows(table["schedule"] != OFF)
    labels = [ladder_label(ladder.where(cell=cell)) for cell in ladder.cells()]
    labels = list(dict.fromkeys(labels))
    shades = colormaps["viridis"](np.linspace(0.0, 0.9, max(len(labels), 1)))
    return dict(zip(labels, map(tuple, shades))) | {"no ladder": (0.3, 0.3, 0.3, 1.0)}


def _band(
    axis: Axes, table: Table, name: str, color: tuple, label: str, limit: float, style: str = "-"
) -> None:
    steps, values, errors = over_repeats(table, name)
    values = np.where(values <= limit, values, np.nan)
    axis.plot(steps, values, color=color, label=label, linewidth=1.3, linestyle=style)
    if np.all(np.isfinite(errors)) and len(steps):
        axis.fill_between(steps, values - errors, values + errors, color=color, alpha=0.2, lw=0)


def against_iteration(
    table: Table, names: Mapping[str, str], *, floor: float | None = None
) -> Figure:
    """Columns against the update: a row of axes for each column, one axis for each estimator.

    Lines are means over repeats, bands one standard error; the dashed line is the cell
    without a ladder. Vertical axes are logarithmic and shared along a row; they end at thirty times
    the median, where lines of runs that diverged leave them.

    Args:
        table: rows of a study.
        names: columns, with the labels of their axes.
        floor: a dotted line to aim at.
    """
    estimators, colors = _estimators(table), _colors(table)
    rows, columns = len(names), len(estimators)
    figure = empty_figure(2.9 * columns + 1.3, 2.6 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    off = table.where(schedule=OFF)
    for axes, (name, label) in zip(grid, names.items()):
        positive = table[name][table[name] > 0]
        limit = far_off(positive)
        for axis, estimator in zip(axes, estimators):
            part = table.where(estimator=estimator).rows(
                table.where(estimator=estimator)["schedule"] != OFF
            )
            for cell in part.cells():
                rows_of_cell = part.where(cell=cell)
                ladder = ladder_label(rows_of_cell)
                _band(axis, rows_of_cell, name, colors[ladder], ladder, limit)
            if len(off):
                _band(axis, off, name, colors["no ladder"], "no ladder", limit, "--")
            if floor is not None:
                axis.axhline(floor, color=GREY, linestyle=":", linewidth=1)
            axis.set_yscale("log")
            remove_box(axis)
        axes[0].set_ylabel(label)
        if len(positive):
            low, high = np.quantile(positive, 0.002), np.max(positive)
            axes[0].set_ylim(low / 1.5, min(1.5 * high, limit))
    for axis, estimator in zip(grid[0], estimators):
        axis.set_title(estimator, fontsize=10)
    for axis in grid[-1]:
        axis.set_xlabel("update")
    _legend(figure, colors)
    return figure


def _legend(figure: Figure, colors: Mapping[str, tuple]) -> None:
    handles = [
        Line2D([], [], color=color, label=name, linestyle="--" if name == "no ladder" else "-")
        for name, color in colors.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)


def _legend_of_points(figure: Figure, estimators: list[str], colors: Mapping[str, tuple]) -> None:
    handles = [
        Line2D([], [], color="black", marker=_MARKERS[i % 4], linestyle="", label=name)
        for i, name in enumerate(estimators)
    ]
    handles += [
        Line2D([], [], color=color, marker="*" if name == "no ladder" else ".", ls="", label=name)
        for name, color in colors.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)


def _marker(rows: Table, estimators: list[str]) -> tuple[str, int]:
    """Shape and size of the point of a cell."""
    if rows["schedule"][0] == OFF:
        return "*", 10
    return _MARKERS[estimators.index(str(rows["estimator"][0])) % len(_MARKERS)], 6


def quality_against_variance(
    table: Table, quality: str = "frechet", noise: str = "all_variance"
) -> Figure:
    """Fréchet distance against the variance of the gradient: a point for each cell at its end.

    Points are means over repeats with one standard error either way; the number beside
    a point is that of the runs it stands for. Points of single repeats are shown faintly.
    Cells beyond thirty times a median are named in the corner and not drawn.
    """
    colors, estimators = _colors(table), _estimators(table)
    figure, (axis,) = figure_with_axes(1, 1, 7.4, 4.6)
    ends = at_the_end(table).measured(quality).measured(noise)
    limits = far_off(ends[noise]), far_off(ends[quality])
    beyond = []
    for cell in ends.cells():
        rows = ends.where(cell=cell)
        if rows[noise].mean() > limits[0] or rows[quality].mean() > limits[1]:
            beyond.append(f"{rows['estimator'][0]} {ladder_label(rows)}")
            continue
        color = colors[ladder_label(rows)]
        marker, size = _marker(rows, estimators)
        axis.plot(rows[noise], rows[quality], marker, color=color, alpha=0.25, markersize=4, mew=0)
        x, y = mean(rows[noise]), mean(rows[quality])
        xerr, yerr = (np.nan_to_num(m.error) for m in (x, y))
        # Bars of a logarithmic axis must end above zero.
        low = min(xerr, 0.9 * x.value)
        axis.errorbar(
            x.value,
            y.value,
            xerr=[[low], [xerr]],
            yerr=yerr,
            fmt=marker,
            color=color,
            markersize=size,
            linewidth=1,
        )
        axis.annotate(
            str(x.number), (x.value, y.value), (5, 4), textcoords="offset points", fontsize=7
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("variance of the learning gradient, tr Cov, at the end")
    axis.set_ylabel("Fréchet distance at the end")
    remove_box(axis)
    _name_the_missing(axis, beyond)
    _legend_of_points(figure, estimators, colors)
    return figure


def _name_the_missing(axis: Axes, beyond: list[str]) -> None:
    if beyond:
        text = "beyond the axes:\n" + "\n".join(beyond)
        axis.text(0.98, 0.98, text, transform=axis.transAxes, ha="right", va="top", fontsize=7)


def variance_boxes(table: Table, by: str, noise: str = "all_variance") -> Figure:
    """Box plots of the variance at the end of every run, by a setting; one axis an estimator.

    The number under a box is that of its runs; whiskers reach to the extremes. The axis ends at
    thirty times the median.

    Args:
        table: rows of a study.
        by: ``"batch_size"`` or ``"power"``; runs without a ladder have power 0.
        noise: column of the variance.
    """
    estimators = _estimators(table)
    figure = empty_figure(2.9 * len(estimators), 3.0)
    axes = figure.subplots(1, len(estimators), squeeze=False, sharey=True)[0]
    ends = at_the_end(table).measured(noise).measured(by)
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
        axis.set_xlabel("power p" if by == "power" else by.replace("_", " "))
        axis.set_yscale("log")
        remove_box(axis)
    axes[0].set_ylabel("tr Cov at the end")
    positive = ends[noise][ends[noise] > 0]
    if len(positive):
        axes[0].set_ylim(positive.min() / 1.5, min(1.5 * positive.max(), far_off(positive)))
    return figure


def variance_against_bias(table: Table) -> Figure:
    """Variance against squared bias, for the prior's and the generator's gradient.

    A point is a cell at its end, with one standard error over repeats. Unbiased estimates of a
    squared bias may be negative: the horizontal axis is linear around zero. Cells beyond thirty
    times the median variance are named in the corner and not drawn.
    """
    colors, estimators = _colors(table), _estimators(table)
    figure, axes = figure_with_axes(1, 2, 10.6, 4.2)
    for axis, group in zip(axes, ("prior", "generator")):
        bias, noise = f"{group}_squared_bias", f"{group}_variance"
        ends = at_the_end(table).measured(bias).measured(noise)
        limit, beyond = far_off(ends[noise]), []
        for cell in ends.cells():
            rows = ends.where(cell=cell)
            if rows[noise].mean() > limit:
                beyond.append(f"{rows['estimator'][0]} {ladder_label(rows)}")
                continue
            marker, size = _marker(rows, estimators)
            x, y = mean(rows[bias]), mean(rows[noise])
            axis.errorbar(
                x.value,
                y.value,
                xerr=np.nan_to_num(x.error),
                yerr=min(np.nan_to_num(y.error), 0.9 * y.value),
                fmt=marker,
                color=colors[ladder_label(rows)],
                markersize=size,
                linewidth=1,
            )
        typical = np.median(np.abs(ends[bias])) if len(ends) else 1.0
        axis.set_xscale("symlog", linthresh=max(float(typical), 1e-12))
        _name_the_missing(axis, beyond)
        axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
        axis.set_yscale("log")
        axis.set_xlabel("squared bias against the long-run reference")
        axis.set_ylabel("tr Cov")
        axis.set_title(f"gradient of the {group}", fontsize=10)
        axis.tick_params(axis="x", labelsize=7)
        remove_box(axis)
    _legend_of_points(figure, estimators, colors)
    return figure


def at_the_end(table: Table) -> Table:
    """Rows of the last measurement of every cell."""
    last = {cell: table.where(cell=cell)["step"].max() for cell in table.cells()}
    return table.rows(np.array([last[c] == s for c, s in zip(table["cell"], table["step"])], bool))


def temperature_posteriors(
    cells: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Figure:
    """Law of the log-likelihood and of a latent coordinate at each temperature, as violins.

    Args:
        cells: for each title, the ladder (K,), log-likelihoods (K, n) and latent vectors
            (K, n, 2) of draws at the end of a run.
    """
    figure = empty_figure(3.2 * len(cells), 5.2)
    grid = figure.subplots(2, len(cells), squeeze=False, sharey="row")
    for column, (title, (ladder, ell, latent)) in enumerate(cells.items()):
        rungs = np.arange(len(ladder))
        for axis, values in zip(grid[:, column], (ell, latent[..., 0])):
            axis.violinplot([v[np.isfinite(v)] for v in values], rungs, showmedians=True)
            axis.set_xticks(rungs, [f"{t:.2g}" for t in ladder], fontsize=7)
            remove_box(axis)
        grid[0, column].set_title(title, fontsize=9)
        grid[1, column].set_xlabel("temperature t")
        grid[0, column].set_yscale("symlog", linthresh=100.0)
    grid[0, 0].set_ylabel("log-likelihood, nats")
    grid[1, 0].set_ylabel("first latent coordinate")
    return figure


def cell_samples(cells: Mapping[str, np.ndarray]) -> Figure:
    """Images of each cell as a small tile.

    Args:
        cells: for each title, images (m, h, w, c) as bytes.
    """
    columns = min(7, len(cells))
    rows = math.ceil(len(cells) / columns)
    figure, axes = figure_with_axes(rows, columns, 1.7 * columns, 1.95 * rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, images) in zip(axes, cells.items()):
        canvas = tile(images[:36].astype(np.float32) / 127.5 - 1, 6)
        axis.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=7)
    return figure
