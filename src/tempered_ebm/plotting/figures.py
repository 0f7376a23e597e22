"""Colours, empty figures without global state, and PNG files, for every figure here."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, SECOND, GREY = "#1f4e79", "#c8553d", "#8a8a8a"

PALETTE = ("#c8553d", "#e0a030", "#5a8f3c", "#8c4a8c", "#2a9d8f", "#6b4c35")
"""Colours of lines over a blue ground."""


def empty_figure(width: float, height: float) -> Figure:
    """Return a figure without axes, sizes in inches."""
    # An Agg canvas of its own keeps the figure out of pyplot's global state.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_with_axes(
    rows: int, columns: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``rows`` by ``columns`` axes, row by row; sizes in inches."""
    figure = empty_figure(width, height)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    return figure, axes


def remove_box(axis: Axes) -> None:
    """Keep the left and the bottom line of the frame only."""
    axis.spines[["top", "right"]].set_visible(False)


def to_png(figure: Figure, *, dpi: int = 150) -> bytes:
    """Return the bytes of a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
