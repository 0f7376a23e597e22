"""Draw every toy density with a few hundred exact draws: docs/images/toy-densities.png."""

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from tempered_ebm import densities as toy

COLUMNS, NUM_DRAWS, PIXELS = 5, 300, 200
# Few colours keep the file small, and pale ones the points visible.
LEVELS = ListedColormap(colormaps["Blues"](np.linspace(0.0, 0.75, 14)))
PICTURE = Path(__file__).parents[1] / "images" / "toy-densities.png"


def window(draws: np.ndarray, bounds: toy.Bounds) -> list[tuple[float, float]]:
    """Where the draws are, with a margin, inside the bounds; a square if nearly one."""
    lower, upper = np.quantile(draws, [0.002, 0.998], axis=0)
    centre, half = (lower + upper) / 2, 0.62 * (upper - lower)
    if half.max() < 2 * half.min():
        half = np.full(2, half.max())
    return [
        (max(c - h, low), min(c + h, high))
        for c, h, (low, high) in zip(centre, half, bounds, strict=True)
    ]


def panel(axes: Axes, density: toy.ToyDensity) -> None:
    """Density as colour, draws as points, on a window that holds nearly all of both."""
    assert density.sample is not None
    draws = np.asarray(density.sample(jax.random.key(0), 4_000))
    limits_x, limits_y = window(draws, density.bounds)
    x, y = np.linspace(*limits_x, PIXELS), np.linspace(*limits_y, PIXELS)
    grid = np.stack(np.meshgrid(x, y), -1)
    probability = np.exp(jax.jit(density.log_prob)(jnp.asarray(grid, jnp.float32)))
    axes.imshow(
        np.sqrt(probability),
        origin="lower",
        extent=(*limits_x, *limits_y),
        aspect="auto",
        cmap=LEVELS,
    )
    shown = draws[:NUM_DRAWS]
    axes.plot(*shown.T, ".", color="#b3261e", markersize=3, markeredgewidth=0)
    axes.set(xlim=limits_x, ylim=limits_y)
    axes.set_title(f"{density.name}\nentropy {density.entropy:.3f} nats", fontsize=8.5)
    axes.tick_params(labelsize=6, length=2, pad=1.5)
    for spine in axes.spines.values():
        spine.set_color("0.75")


def gallery() -> Figure:
    """One panel for each density of ``toy.ALL``."""
    rows = -(-len(toy.ALL) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS, 2.4 * rows), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, make in zip(panels, toy.ALL, strict=False):
        panel(axes, make())
    for axes in panels[len(toy.ALL) :]:
        axes.set_axis_off()
    figure.supxlabel(
        "colour: square root of the density; points: 300 exact draws; axes: first and second "
        "coordinate",
        fontsize=8,
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 64 colours, a third of the size of one with all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    save(gallery(), PICTURE)
