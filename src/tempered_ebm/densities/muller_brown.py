"""The potential of Müller and Brown, with exact draws by rejection from a table."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempered_ebm.densities.density import ToyDensity
from tempered_ebm.densities.integration import Bounds
from tempered_ebm.densities.rejection import rejection_sampler
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey

_HEIGHT = np.array([-200.0, -100.0, -170.0, 15.0])
_XX = np.array([-1.0, -1.0, -6.5, 0.7])
_XY = np.array([0.0, 0.0, 11.0, 0.6])
_YY = np.array([-10.0, -10.0, -6.5, 0.7])
_CENTRE_X = np.array([1.0, 0.0, -0.5, -1.0])
_CENTRE_Y = np.array([0.0, 0.5, 1.5, 1.0])
_MINIMA = np.array([[-0.55822363, 1.44172584], [0.62349941, 0.02803776], [-0.05001083, 0.46669410]])

_LARGEST_EXPONENT = 10.0
_CELLS = 256


class _Table(NamedTuple):
    """Cells of the bounds, and a bound on the log-density in each.

    Attributes:
        row_cdf: (cells,) distribution function of the row (first coordinate).
        column_cdf: (cells, cells) distribution function of the column, given the row.
        log_bound: (cells, cells) upper bound of the log-density in each cell.
    """

    row_cdf: np.ndarray
    column_cdf: np.ndarray
    log_bound: np.ndarray


def _exponents(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx, dy = x[..., None] - _CENTRE_X, y[..., None] - _CENTRE_Y
    return _XX * dx**2 + _XY * dx * dy + _YY * dy**2


def _grid(bounds: Bounds, offset: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    (x0, x1), (y0, y1) = bounds
    width, height = (x1 - x0) / _CELLS, (y1 - y0) / _CELLS
    x = x0 + (np.arange(_CELLS) + offset) * width
    y = y0 + (np.arange(_CELLS) + offset) * height
    return *np.meshgrid(x, y, indexing="ij"), width, height


def _bounds(temperature: float) -> Bounds:
    """Box around all points less than 32 temperatures above the deepest minimum."""
    x, y = np.meshgrid(np.linspace(-4.0, 3.0, 141), np.linspace(-3.0, 4.5, 151), indexing="ij")
    energy = np.exp(_exponents(x, y)) @ _HEIGHT
    low = energy < energy.min() + 32 * temperature
    margin = 0.05
    (x0, x1), (y0, y1) = (
        (float(a[low].min()) - margin, float(a[low].max()) + margin) for a in (x, y)
    )
    return (x0, x1), (y0, y1)


def _table(bounds: Bounds, temperature: float) -> _Table:
    """Bound the density in every cell.

    A concave exponent lies below its tangent plane, and a convex one above it; the first
    three, of the wells, are concave and the last, of the confinement, is convex.
    """
    x, y, width, height = _grid(bounds, 0.5)
    dx, dy = x[..., None] - _CENTRE_X, y[..., None] - _CENTRE_Y
    slope = 0.5 * width * np.abs(2 * _XX * dx + _XY * dy)
    slope += 0.5 * height * np.abs(2 * _YY * dy + _XY * dx)
    extreme = _exponents(x, y) - np.sign(_HEIGHT) * slope
    log_bound = -(np.exp(extreme) @ _HEIGHT) / temperature
    mass = np.exp(log_bound - log_bound.max())
    rows = mass.sum(1)
    return _Table(
        np.cumsum(rows) / rows.sum(), np.cumsum(mass, 1) / rows[:, None].clip(1e-300), log_bound
    )


def _find(cdf: Float[Array, "rows cells"], row: Int[Array, " n"], u: Float[Array, " n"]) -> Array:
    """First cell of each row whose distribution function exceeds u, by bisection."""
    cell = jnp.zeros_like(row)
    step = _CELLS // 2
    while step:
        cell = jnp.where(cdf[row, cell + step - 1] <= u, cell + step, cell)
        step //= 2
    return cell


def muller_brown(temperature: float = 20.0) -> ToyDensity:
    r"""The potential of Müller and Brown (1979) at a temperature, :math:`p \propto e^{-V/T}`.

    .. math:: V(z) = \sum_{k=1}^4 A_k \exp\left(a_k (x - x_k)^2 + b_k (x - x_k)(y - y_k)
              + c_k (y - y_k)^2\right)

    with their constants. The minima are -146.7, -108.2 and -80.8, so ``temperature`` decides
    whether one well holds everything or all three are seen. Beyond an exponent of 10, where
    V is 330,000, the confining term goes on along its tangent; float32 would overflow.

    Normaliser, entropy and masses of the wells come from a sum over 256 x 256 points in
    float64, exact to 1e-8. Exact draws by rejection from a table of 256 x 256 cells, each
    with an upper bound of the density, up to rounding and the mass outside ``bounds``
    (below 1e-10).

    Args:
        temperature: ``T`` in units of V, from 5 to 100.

    Raises:
        InputError: if ``temperature`` is outside [5, 100].

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import densities as toy
        >>> density = toy.muller_brown()
        >>> round(-20 * float(density.logdensity_fn(jnp.array([-0.558224, 1.441726]))), 1)
        -146.7
    """
    if not 5 <= temperature <= 100:
        raise InputError(f"temperature must be between 5 and 100, got {temperature}")

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        z = jnp.asarray(z)
        constants = (_HEIGHT, _XX, _XY, _YY, _CENTRE_X, _CENTRE_Y)
        amplitude, xx, xy, yy, x0, y0 = (jnp.asarray(c, z.dtype) for c in constants)
        dx, dy = z[..., :1] - x0, z[..., 1:] - y0
        exponent = xx * dx**2 + xy * dx * dy + yy * dy**2
        capped = jnp.minimum(exponent, _LARGEST_EXPONENT)
        values = jnp.exp(capped) * (1 + exponent - capped)
        return -jnp.sum(amplitude * values, -1) / temperature

    bounds = _bounds(temperature)
    (x0, _), (y0, _) = bounds

    @cache
    def table() -> _Table:
        return _table(bounds, temperature)

    def propose(rng_key: PRNGKey, n: int) -> tuple[Float[Array, "n 2"], Float[Array, "n"]]:
        cell_key, place_key = jax.random.split(rng_key)
        u = jax.random.uniform(cell_key, (n, 2))
        row_cdf, column_cdf, log_bound = (jnp.asarray(a, u.dtype) for a in table())
        row = _find(row_cdf[None], jnp.zeros(n, int), u[:, 0])
        column = _find(column_cdf, row, u[:, 1])
        place = jnp.stack([row, column], -1) + jax.random.uniform(place_key, (n, 2))
        z = jnp.array([x0, y0]) + place * jnp.array([width, height])
        return z, logdensity(z) - log_bound[row, column]

    x, y, width, height = _grid(bounds, 0.5)
    log_values = -(np.exp(_exponents(x, y)) @ _HEIGHT) / temperature
    peak = float(log_values.max())
    mass = np.exp(log_values - peak)
    log_normalizer = peak + math.log(mass.sum() * width * height)
    mass /= mass.sum()
    squares = (x[..., None] - _MINIMA[:, 0]) ** 2 + (y[..., None] - _MINIMA[:, 1]) ** 2
    return ToyDensity(
        "muller_brown",
        logdensity,
        log_normalizer=log_normalizer,
        sample=rejection_sampler(propose),
        bounds=bounds,
        modes=_MINIMA,
        mode_weights=np.bincount(squares.argmin(-1).ravel(), mass.ravel(), minlength=3),
        closed_form_entropy=log_normalizer - float(mass.ravel() @ log_values.ravel()),
    )
