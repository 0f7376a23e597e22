"""Sets of images as figures."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempered_ebm.plotting.figures import figure_with_axes


def tile(
    images: Float[np.ndarray, "n h w c"], num_columns: int
) -> Float[np.ndarray, "rows cols c"]:
    """Return images in rows, a white pixel between them, as one image with values in [0, 1].

    Args:
        images: images in [-1, 1].
        num_columns: images in a row.
    """
    n, height, width, channels = images.shape
    rows = math.ceil(n / num_columns)
    canvas = np.ones((rows * (height + 1) - 1, num_columns * (width + 1) - 1, channels))
    for i, image in enumerate(np.clip((np.asarray(images) + 1) / 2, 0, 1)):
        top, left = i // num_columns * (height + 1), i % num_columns * (width + 1)
        canvas[top : top + height, left : left + width] = image
    return canvas


def show_images(
    axis: Axes, images: Float[np.ndarray, "n h w c"], num_columns: int, title: str
) -> None:
    """Draw images in [-1, 1] as tiles on axes of a figure."""
    canvas = tile(images, num_columns)
    # Of images in colour the map and its limits are ignored.
    axis.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=11)
    axis.set_axis_off()


def image_panels(
    panels: Mapping[str, Float[np.ndarray, "n h w c"]],
    *,
    num_columns: int = 10,
    panels_in_row: int = 2,
) -> Figure:
    """Draw sets of images, one panel for each set.

    Args:
        panels: title to images in [-1, 1].
        num_columns: images in a row of a panel.
        panels_in_row: panels in a row of the figure.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.plotting import image_panels
        >>> figure = image_panels({"noise": np.zeros((20, 8, 8, 1))})
        >>> len(figure.axes)
        1
    """
    first = next(iter(panels.values()))
    rows = max(math.ceil(len(images) / num_columns) for images in panels.values())
    aspect = rows * first.shape[1] / (num_columns * first.shape[2])
    across = min(panels_in_row, len(panels))
    down = math.ceil(len(panels) / across)
    figure, axes = figure_with_axes(down, across, 4.5 * across, (4.5 * aspect + 0.25) * down)
    for axis, (title, images) in zip(axes, panels.items(), strict=False):
        show_images(axis, np.asarray(images), num_columns, title)
    for axis in axes[len(panels) :]:
        axis.remove()
    return figure


def reconstructions(
    originals: Float[np.ndarray, "n h w c"], reconstructed: Float[np.ndarray, "n h w c"]
) -> Figure:
    """Draw originals ten in a row, and their reconstructions in the rows underneath.

    Args:
        originals: images in [-1, 1].
        reconstructed: as many, in the same order.
    """
    pairs = []
    for start in range(0, len(originals), 10):
        pairs += [*originals[start : start + 10], *reconstructed[start : start + 10]]
    return image_panels({"held-out, and reconstructed underneath": np.stack(pairs)})
