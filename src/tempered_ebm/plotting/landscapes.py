"""Chains over the energy of a density on the plane."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tempered_ebm.errors import InputError
from tempered_ebm.plotting.figures import INK, PALETTE, figure_with_axes
from tempered_ebm.types import LogDensityFn

_GRID = 240
_LEVELS = 13
_COLORS = ListedColormap(colormaps["Blues"](np.linspace(0.0, 0.75, 256)))
_BLACK = "#1a1a1a"


def landscape(
    logdensity_fn: LogDensityFn,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    paths: Float[np.ndarray, "num_steps num_paths 2"] | None = None,
    positions: Float[np.ndarray, "num_draws 2"] | None = None,
) -> Figure:
    """Contours of an energy on the plane, with the paths of chains and draws over it.

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
    corners = _validated_bounds(bounds)
    figure, (axis,) = figure_with_axes(1, 1, 6.0, 5.0)
    figure.set_layout_engine("compressed")
    _draw_contours(axis, logdensity_fn, corners)
    if positions is not None:
        draws = _validated("positions", positions, "(num_draws, 2)", ndim=2)
        axis.plot(*draws.T, ".", color=INK, markersize=3.5, alpha=0.6, label="draws", zorder=2)
    if paths is not None:
        walks = _validated("paths", paths, "(num_steps, num_paths, 2)", ndim=3)
        _draw_paths(axis, walks)
    axis.set(xlim=corners[0], ylim=corners[1], xlabel="$z_1$", ylabel="$z_2$")
    axis.set_aspect("equal")
    if paths is not None or positions is not None:
        axis.legend(loc="upper right", fontsize=8, framealpha=0.9)
    return figure


def _validated_bounds(bounds: tuple) -> np.ndarray:
    corners = np.asarray(bounds, float)
    if corners.shape != (2, 2) or not np.all(corners[:, 0] < corners[:, 1]):
        raise InputError(
            f"bounds must be ((left, right), (bottom, top)), both increasing, got {bounds}"
        )
    return corners


def _validated(name: str, values: np.ndarray, layout: str, ndim: int) -> np.ndarray:
    known = np.asarray(values, float)
    if known.ndim != ndim or known.shape[-1] != 2 or known.size == 0:
        raise InputError(f"{name} must have shape {layout}, got {known.shape}")
    return known


def _draw_contours(axis: Axes, logdensity_fn: LogDensityFn, corners: np.ndarray) -> None:
    x, y = np.linspace(corners[:, 0], corners[:, 1], _GRID, axis=1)
    points = jnp.asarray(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), float)
    values = np.asarray(jax.jit(jax.vmap(logdensity_fn))(points), float)
    if values.shape != (_GRID**2,):
        raise InputError(
            f"logdensity_fn must return one value per position, got shape {values.shape[1:]} "
            "for a position of shape (2,)"
        )
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise InputError("logdensity_fn is finite nowhere within bounds")
    energy = np.where(is_finite, values[is_finite].max() - values, np.nan).reshape(_GRID, _GRID)
    ceiling = max(float(np.nanquantile(energy, 0.9)), 1e-6)
    levels = ceiling * np.linspace(0, 1, _LEVELS) ** 2
    filled = axis.contourf(x, y, energy, levels=levels, cmap=_COLORS, extend="max", zorder=0)
    axis.contour(x, y, energy, levels=levels, colors="white", linewidths=0.4, zorder=1)
    bar = axis.figure.colorbar(filled, ax=axis, shrink=0.85, ticks=levels[::3], format="%.3g")
    bar.set_label("energy above its minimum (nats)")


def _draw_paths(axis: Axes, walks: np.ndarray) -> None:
    for i, walk in enumerate(walks.swapaxes(0, 1)):
        color = PALETTE[i % len(PALETTE)]
        axis.plot(*walk.T, color=color, linewidth=1.0, alpha=0.9, zorder=3)
    marker: dict[str, Any] = {
        "linestyle": "none",
        "markersize": 6,
        "markeredgecolor": _BLACK,
        "zorder": 4,
    }
    axis.plot(*walks[0].T, marker="o", markerfacecolor="white", label="start", **marker)
    axis.plot(*walks[-1].T, marker="o", markerfacecolor=_BLACK, label="end", **marker)
