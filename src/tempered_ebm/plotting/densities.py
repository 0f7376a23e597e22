"""Densities of the plane: energy landscapes, learned densities, chains and draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.plotting.figures import INK, PALETTE, SECOND, figure_with_axes
from tempered_ebm.types import LogDensityFn

_GRID = 240
_MOST_POINTS = 2_000
_LEVELS = 13
_COLORS = ListedColormap(colormaps["Blues"](np.linspace(0.0, 0.75, 256)))
_BLACK = "#1a1a1a"

Bounds = tuple[tuple[float, float], tuple[float, float]]


def landscape(
    logdensity_fn: LogDensityFn,
    bounds: Bounds,
    paths: Float[np.ndarray, "num_steps num_paths 2"] | None = None,
    positions: Float[np.ndarray, "num_draws 2"] | None = None,
) -> Figure:
    """Draw contours of an energy on the plane, with paths of chains and draws over it.

    The energy is shown above its lowest value on the grid, in nats, on a scale that
    resolves the valleys; the highest tenth of the grid is one colour.

    Args:
        logdensity_fn: log-density of positions that end in an axis of size 2.
        bounds: ``((left, right), (bottom, top))``.
        paths: trajectories as :func:`tempered_ebm.inference.trace` stacks them; a ring
            marks the start, a black disc the end. A dozen stays readable.
        positions: draws, as dots.

    Raises:
        InputError: if ``bounds`` do not increase, the energy is nowhere finite, or a shape
            does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm.plotting import landscape
        >>> figure = landscape(lambda z: -0.5 * jnp.sum(z**2, -1), ((-3, 3), (-3, 3)))
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['$z_2$', 'energy above its minimum (nats)']
    """
    expected = "((left, right), (bottom, top)), both increasing"
    corners = checks.array("bounds", bounds, expected).astype(float)
    if corners.shape != (2, 2) or not np.all(corners[:, 0] < corners[:, 1]):
        raise InputError(f"bounds must be {expected}, got {bounds}")
    figure, (axis,) = figure_with_axes(1, 1, 6.0, 5.0)
    figure.set_layout_engine("compressed")
    _draw_contours(axis, logdensity_fn, corners)
    if positions is not None:
        draws = _validated("positions", positions, "(num_draws, 2)", ndim=2)
        axis.plot(*draws.T, ".", color=INK, markersize=3.5, alpha=0.6, label="draws", zorder=2)
    if paths is not None:
        _draw_paths(axis, _validated("paths", paths, "(num_steps, num_paths, 2)", ndim=3))
    axis.set(xlim=corners[0], ylim=corners[1], xlabel="$z_1$", ylabel="$z_2$")
    axis.set_aspect("equal")
    if paths is not None or positions is not None:
        axis.legend(loc="upper right", fontsize=8, framealpha=0.9)
    return figure


def _validated(name: str, values: np.ndarray, layout: str, ndim: int) -> np.ndarray:
    known = np.asarray(values, float)
    if known.ndim != ndim or known.shape[-1] != 2 or known.size == 0:
        raise InputError(f"{name} must have shape {layout}, got {known.shape}")
    return known


def _on_grid(
    batch_fn: Callable, corners: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "rows columns"]]:
    """Return the coordinates of a grid, and the values there of a function of positions (n, 2)."""
    x, y = np.linspace(corners[:, 0], corners[:, 1], _GRID, axis=1)
    points = jnp.asarray(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), float)
    values = np.asarray(jax.jit(batch_fn)(points), float)
    if values.shape != (_GRID**2,):
        raise InputError(
            f"logdensity_fn must return one value per position, got shape {values.shape[1:]} "
            "for a position of shape (2,)"
        )
    return x, y, values.reshape(_GRID, _GRID)


def _draw_contours(axis: Axes, logdensity_fn: LogDensityFn, corners: np.ndarray) -> None:
    x, y, values = _on_grid(jax.vmap(logdensity_fn), corners)
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise InputError("logdensity_fn is finite nowhere within bounds")
    energy = np.where(is_finite, values[is_finite].max() - values, np.nan)
    ceiling = max(float(np.nanquantile(energy, 0.9)), 1e-6)
    levels = ceiling * np.linspace(0, 1, _LEVELS) ** 2
    filled = axis.contourf(x, y, energy, levels=levels, cmap=_COLORS, extend="max", zorder=0)
    axis.contour(x, y, energy, levels=levels, colors="white", linewidths=0.4, zorder=1)
    bar = axis.figure.colorbar(filled, ax=axis, shrink=0.85, ticks=levels[::3], format="%.3g")
    bar.set_label("energy above its minimum (nats)")


def _draw_paths(axis: Axes, paths: np.ndarray) -> None:
    for i, path in enumerate(paths.swapaxes(0, 1)):
        color = PALETTE[i % len(PALETTE)]
        axis.plot(*path.T, color=color, linewidth=1.0, alpha=0.9, zorder=3)
    for name, ends, face in (("start", paths[0], "white"), ("end", paths[-1], _BLACK)):
        axis.plot(*ends.T, "o", markerfacecolor=face, label=name, markersize=6,
                  markeredgecolor=_BLACK, zorder=4)  # fmt: skip


def learned_density(
    logdensity_fn: LogDensityFn,
    log_normalizer: float,
    bounds: Bounds,
    data: Float[np.ndarray, "n 2"],
    samples: Float[np.ndarray, "m 2"],
) -> Figure:
    """Draw the energy and the density of a model of the plane, and its samples beside the data.

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
    _, _, values = _on_grid(logdensity_fn, np.asarray(bounds, float))
    energy = values.max() - values
    shown: dict[str, Any] = {"origin": "lower", "extent": (*bounds[0], *bounds[1]), "vmin": 0}
    highest = max(float(np.quantile(energy, 0.9)), 1e-6)
    image = energy_axis.imshow(energy, cmap="Blues", vmax=highest, aspect="equal", **shown)
    figure.colorbar(image, ax=energy_axis, shrink=0.8, extend="max")
    density = np.exp(values - log_normalizer)
    image = density_axis.imshow(density, cmap="magma", aspect="equal", **shown)
    figure.colorbar(image, ax=density_axis, shrink=0.8)
    for points, color, label in ((data, SECOND, "held-out data"), (samples, INK, "samples")):
        points_axis.plot(
            *points[:_MOST_POINTS].T, ".", color=color, label=label, markersize=2.5, alpha=0.5
        )
    points_axis.legend(loc="upper right", fontsize=8, markerscale=3)
    points_axis.set(xlim=bounds[0], ylim=bounds[1])
    points_axis.set_aspect("equal")
    titles = ("energy (nats)", "density", "samples and data")
    for axis, title in zip((energy_axis, density_axis, points_axis), titles, strict=True):
        axis.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    return figure


def scatter(points: Float[np.ndarray, "n 2"], title: str) -> Figure:
    """Draw points of the plane.

    Args:
        points: at most 2,000 of them are drawn.
        title: title of the figure.
    """
    figure, (axis,) = figure_with_axes(1, 1, 5.0, 5.0)
    axis.plot(*points[:_MOST_POINTS].T, ".", color=INK, markersize=2.5, alpha=0.6)
    axis.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    axis.set_aspect("equal")
    return figure
