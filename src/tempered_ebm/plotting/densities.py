"""A learned density of the plane: its energy, the density, and samples, side by side."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from tempered_ebm.plotting.figures import INK, SECOND, figure_with_axes
from tempered_ebm.types import LogDensityFn

_GRID = 240
_MOST_POINTS = 2_000


def learned_density(
    logdensity_fn: LogDensityFn,
    log_normalizer: float,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    data: Float[np.ndarray, "n 2"],
    samples: Float[np.ndarray, "m 2"],
) -> Figure:
    """Energy landscape, normalised density, and samples beside the data.

    Args:
        logdensity_fn: unnormalised log-density of positions (n, 2), values (n,).
        log_normalizer: its log normaliser.
        bounds: ``((left, right), (bottom, top))``.
        data: held-out points.
        samples: ends of chains of the model.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from tempered_ebm.plotting import learned_density
        >>> points = np.zeros((5, 2))
        >>> figure = learned_density(
        ...     lambda z: -0.5 * jnp.sum(z**2, -1), 1.84, ((-3, 3), (-3, 3)), points, points
        ... )
        >>> [axis.get_title() for axis in figure.axes[:3]]
        ['energy (nats)', 'density', 'samples and data']
    """
    figure, (energy_axis, density_axis, points_axis) = figure_with_axes(1, 3, 12.0, 4.0)
    (left, right), (bottom, top) = bounds
    x, y = np.linspace(left, right, _GRID), np.linspace(bottom, top, _GRID)
    grid = jnp.asarray(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), jnp.float32)
    values = np.asarray(jax.jit(logdensity_fn)(grid), float).reshape(_GRID, _GRID)
    energy = values.max() - values
    extent = (left, right, bottom, top)
    image = energy_axis.imshow(
        energy,
        origin="lower",
        extent=extent,
        cmap="Blues",
        vmin=0,
        vmax=max(float(np.quantile(energy, 0.9)), 1e-6),
        aspect="equal",
    )
    figure.colorbar(image, ax=energy_axis, shrink=0.8, extend="max")
    density = np.exp(values - log_normalizer)
    image = density_axis.imshow(
        density, origin="lower", extent=extent, cmap="magma", vmin=0, aspect="equal"
    )
    figure.colorbar(image, ax=density_axis, shrink=0.8)
    style: dict[str, Any] = {"markersize": 2.5, "alpha": 0.5, "linestyle": "none", "marker": "."}
    points_axis.plot(*data[:_MOST_POINTS].T, color=SECOND, label="held-out data", **style)
    points_axis.plot(*samples[:_MOST_POINTS].T, color=INK, label="samples", **style)
    points_axis.legend(loc="upper right", fontsize=8, markerscale=3)
    points_axis.set(xlim=bounds[0], ylim=bounds[1])
    points_axis.set_aspect("equal")
    titles = ("energy (nats)", "density", "samples and data")
    for axis, title in zip((energy_axis, density_axis, points_axis), titles, strict=True):
        axis.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    return figure


def scatter(points: Float[np.ndarray, "n 2"], title: str) -> Figure:
    """Points of the plane.

    Args:
        points: at most 2,000 of them are drawn.
        title: of the figure.
    """
    figure, (axis,) = figure_with_axes(1, 1, 5.0, 5.0)
    axis.plot(*points[:_MOST_POINTS].T, ".", color=INK, markersize=2.5, alpha=0.6)
    axis.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    axis.set_aspect("equal")
    return figure
