"""Densities given by an energy: double well, Müller-Brown, egg crate, a pair of log-Gammas."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity, box_around
from tempered_ebm.densities.integration import Bounds
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


def _rejection_sampler(
    propose: Callable[[PRNGKey, int], tuple[Float[Array, "n 2"], Float[Array, "n"]]],
) -> Callable[[PRNGKey, int], Float[Array, "num_samples 2"]]:
    """Return a sampler that turns proposals into exact draws (von Neumann 1951).

    Args:
        propose: ``(rng_key, n) -> (z, log_accept)``: independent proposals (n, 2) and the
            logarithms (n,) of their acceptance probabilities, density over envelope.

    Returns:
        ``(rng_key, num_samples) -> (num_samples, 2)``. Every sample is proposed until it is
        accepted, so that no draw depends on how many proposals another one took.
    """

    def unfinished(carry: tuple) -> Array:
        return ~jnp.all(carry[2])

    def retry(carry: tuple) -> tuple:
        key, z, done = carry
        key, propose_key, accept_key = jax.random.split(key, 3)
        proposal, log_accept = propose(propose_key, len(done))
        accept = jnp.log(jax.random.uniform(accept_key, done.shape)) < log_accept
        z = jnp.where((accept & ~done)[:, None], proposal, z)
        return key, z, done | accept

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        start = (rng_key, jnp.zeros((num_samples, 2)), jnp.zeros(num_samples, bool))
        return jax.lax.while_loop(unfinished, retry, start)[1]

    return sample


def double_well(
    quartic: float = 1.0, quadratic: float = 6.0, tilt: float = 1.0, stiffness: float = 1.0
) -> ToyDensity:
    r"""Return two wells of unequal depth along the first axis, a normal along the second.

    .. math:: \log p(z) = -\left(\tfrac a4 z_1^4 - \tfrac b2 z_1^2 + c z_1 +
              \tfrac d2 z_2^2\right)

    The defaults are those of Noé et al. (2019): a barrier of 11.5 from the deeper well, and
    less than 1 % of the mass in the other. Normaliser, entropy and masses come from a sum on
    a line in float64, exact to 1e-10. Exact draws by rejection: with
    :math:`m = \sqrt{b/a}` the quartic is :math:`\tfrac a4 (z_1-m)^2(z_1+m)^2` up to a
    constant, at least :math:`\tfrac a4 m^2 (z_1 - m)^2` on the right half-line and mirrored
    on the left, so two normals cut off at zero lie above the density.

    Args:
        quartic: ``a``.
        quadratic: ``b``.
        tilt: ``c``, of either sign, small enough to leave two wells.
        stiffness: ``d``.

    Raises:
        InputError: if ``a``, ``b`` or ``d`` is not positive, or
            :math:`|c| \ge 2 b^{3/2} / (3\sqrt{3a})`, where one well disappears.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import densities as toy
        >>> float(toy.double_well().logdensity_fn(jnp.ones(2)))
        1.25
    """
    checks.all_positive(quartic=quartic, quadratic=quadratic, stiffness=stiffness)
    limit = 2 * quadratic**1.5 / (3 * math.sqrt(3 * quartic))
    if not abs(tilt) < limit:
        raise InputError(f"tilt must be below {limit:g} in magnitude, got {tilt}")
    centre = math.sqrt(quadratic / quartic)
    variance = 2 / quadratic

    def first_axis(x: Any) -> Any:
        """Evaluate for JAX arrays, or for NumPy arrays in float64, as the constants below are."""
        return (quadratic / 2) * x**2 - (quartic / 4) * x**4 - tilt * x

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        return first_axis(z[..., 0]) - 0.5 * stiffness * z[..., 1] ** 2

    def propose(rng_key: PRNGKey, n: int) -> tuple[Float[Array, "n 2"], Float[Array, "n"]]:
        side_key, noise_key = jax.random.split(rng_key)
        # The tilt shifts both normals by -c v and weights them as exp(∓ c m).
        right = jax.random.uniform(side_key, (n,)) < jax.nn.sigmoid(-2 * tilt * centre)
        side = jnp.where(right, 1.0, -1.0)
        noise = jax.random.normal(noise_key, (n, 2))
        x = side * centre - tilt * variance + math.sqrt(variance) * noise[:, 0]
        distance = side * x - centre
        log_accept = -(quartic / 4) * distance**2 * ((side * x + centre) ** 2 - centre**2)
        log_accept = jnp.where(side * x >= 0, log_accept, -jnp.inf)
        return jnp.stack([x, noise[:, 1] / math.sqrt(stiffness)], -1), log_accept

    wells = np.sort(np.roots([quartic, 0.0, -quadratic, tilt]).real)[[0, 2]]
    sigma = math.sqrt(variance)
    # The first coordinate lies below the proposals, whose tails are normal.
    end = centre + abs(tilt) * variance + TAIL * sigma
    line = np.linspace(-end, end, 4_001)
    log_values = first_axis(line)
    peak = float(log_values.max())
    mass = np.exp(log_values - peak)
    log_normalizer_x = peak + math.log(mass.sum() * (line[1] - line[0]))
    mass /= mass.sum()
    entropy_x = log_normalizer_x - float(mass @ log_values)
    log_normalizer_y = 0.5 * math.log(2 * math.pi / stiffness)
    left = float(np.interp(wells.mean(), line, np.cumsum(mass) - 0.5 * mass))
    reach = TAIL / math.sqrt(stiffness)
    return ToyDensity(
        "double_well",
        logdensity,
        log_normalizer=log_normalizer_x + log_normalizer_y,
        sample=_rejection_sampler(propose),
        bounds=((-end, end), (-reach, reach)),
        modes=np.stack([wells, np.zeros(2)], -1),
        mode_weights=np.array([left, 1 - left]),
        closed_form_entropy=entropy_x + log_normalizer_y + 0.5,
    )


def egg_crate_negative_energy(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
    r"""Evaluate the negative energy of :func:`egg_crate`.

    .. math:: f(z) = 2\cos 2z_1 \cos 2z_2 + \tfrac12 z_1
    """
    return 2 * jnp.cos(2 * z[..., 0]) * jnp.cos(2 * z[..., 1]) + 0.5 * z[..., 0]


def egg_crate() -> ToyDensity:
    r"""Return a small latent-EBM prior, :math:`p(z) \propto e^{f(z)} N(z; 0, I)`.

    With :math:`f(z) = 2\cos 2z_1 \cos 2z_2 + \tfrac12 z_1`; log Z = 0.614420965903 by
    quadrature, which is also the evidence of ``f`` as a log-likelihood under N(0, I).
    Exact draws by rejection: :math:`e^{z_1/2} N(z; 0, I)` is a shifted normal and
    :math:`e^{2\cos\cos} \le e^2`.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.egg_crate().sample(jax.random.key(0), 5).shape
        (5, 2)
    """

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        return egg_crate_negative_energy(z) - 0.5 * jnp.sum(z**2, -1) - math.log(2 * math.pi)

    def propose(rng_key: PRNGKey, n: int) -> tuple[Float[Array, "n 2"], Float[Array, "n"]]:
        z = jnp.array([0.5, 0.0]) + jax.random.normal(rng_key, (n, 2))
        return z, egg_crate_negative_energy(z) - 0.5 * z[:, 0] - 2.0

    return ToyDensity(
        "egg_crate",
        logdensity,
        log_normalizer=0.614420965903,
        sample=_rejection_sampler(propose),
        bounds=((0.5 - TAIL, 0.5 + TAIL), (-TAIL, TAIL)),
    )


def gamma_pair(shape: float = 3.0, rate: float = 2.0) -> ToyDensity:
    r"""Return two independent logarithms of Gamma variables: :math:`e^{z_i} \sim \Gamma(a, b)`.

    .. math:: \log p(z) = \sum_i a z_i - b e^{z_i}, \qquad
              \log Z = 2(\log\Gamma(a) - a\log b), \qquad
              H = 2(\log\Gamma(a) - a\,\psi(a) + a)

    Skewed and without any symmetry, which makes it the most sensitive test here.

    Args:
        shape: ``a``.
        rate: ``b``.

    Raises:
        InputError: if an argument is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import densities as toy
        >>> float(toy.gamma_pair().logdensity_fn(jnp.zeros(2)))
        -4.0
    """
    checks.all_positive(shape=shape, rate=rate)

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        return jnp.sum(shape * z - rate * jnp.exp(z), -1)

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        return jax.random.loggamma(rng_key, shape, (num_samples, 2)) - math.log(rate)

    tail = 1e-10
    # P(g < x) <= x^a / Γ(a + 1), so this end lies below the quantile and never underflows.
    lower = (math.log(tail) + math.lgamma(shape + 1)) / shape - math.log(rate)
    upper = math.log(float(special.gammainccinv(shape, tail)) / rate)
    return ToyDensity(
        "gamma_pair",
        logdensity,
        log_normalizer=2 * (math.lgamma(shape) - shape * math.log(rate)),
        sample=sample,
        bounds=((lower, upper), (lower, upper)),
        closed_form_entropy=2
        * (math.lgamma(shape) - shape * float(special.digamma(shape)) + shape),
    )


class _Table(NamedTuple):
    """Table of the cells of ``bounds``, with an upper bound of the log-density in each.

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


def _cell_centres(bounds: Bounds) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return both coordinates of the centre of every cell, and the cells' width and height."""
    (x0, x1), (y0, y1) = bounds
    width, height = (x1 - x0) / _CELLS, (y1 - y0) / _CELLS
    x = x0 + (np.arange(_CELLS) + 0.5) * width
    y = y0 + (np.arange(_CELLS) + 0.5) * height
    return *np.meshgrid(x, y, indexing="ij"), width, height


def _muller_brown_bounds(temperature: float) -> Bounds:
    """Return a box around all points less than 32 temperatures above the deepest minimum."""
    x, y = np.meshgrid(np.linspace(-4.0, 3.0, 141), np.linspace(-3.0, 4.5, 151), indexing="ij")
    energy = np.exp(_exponents(x, y)) @ _HEIGHT
    low = energy < energy.min() + 32 * temperature
    return box_around(np.stack([x[low], y[low]], -1), 0.05)


def _cell_table(bounds: Bounds, temperature: float) -> _Table:
    """Return an upper bound of the log-density in every cell.

    A concave exponent lies below its tangent plane, and a convex one above it; the first
    three, of the wells, are concave and the last, of the confinement, is convex.
    """
    x, y, width, height = _cell_centres(bounds)
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
    """Return the first cell of each row whose distribution function exceeds u, by bisection."""
    cell = jnp.zeros_like(row)
    step = _CELLS // 2
    while step:
        cell = jnp.where(cdf[row, cell + step - 1] <= u, cell + step, cell)
        step //= 2
    return cell


def muller_brown(temperature: float = 20.0) -> ToyDensity:
    r"""Return the density of the Müller-Brown potential (1979), :math:`p \propto e^{-V/T}`.

    .. math:: V(z) = \sum_{k=1}^4 A_k \exp\left(a_k (x - x_k)^2 + b_k (x - x_k)(y - y_k)
              + c_k (y - y_k)^2\right)

    with their constants. The minima are -146.7, -108.2 and -80.8, so ``temperature`` decides
    whether one well has nearly all of the mass or all three have some of it. ``temperature`` is
    the T of :math:`p^{1/T}`, not a power of the likelihood. Beyond an exponent of 10, where
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

    bounds = _muller_brown_bounds(temperature)
    (x0, _), (y0, _) = bounds

    @cache
    def table() -> _Table:
        return _cell_table(bounds, temperature)

    def propose(rng_key: PRNGKey, n: int) -> tuple[Float[Array, "n 2"], Float[Array, "n"]]:
        cell_key, place_key = jax.random.split(rng_key)
        u = jax.random.uniform(cell_key, (n, 2))
        row_cdf, column_cdf, log_bound = (jnp.asarray(a, u.dtype) for a in table())
        row = _find(row_cdf[None], jnp.zeros(n, int), u[:, 0])
        column = _find(column_cdf, row, u[:, 1])
        place = jnp.stack([row, column], -1) + jax.random.uniform(place_key, (n, 2))
        z = jnp.array([x0, y0]) + place * jnp.array([width, height])
        return z, logdensity(z) - log_bound[row, column]

    x, y, width, height = _cell_centres(bounds)
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
        sample=_rejection_sampler(propose),
        bounds=bounds,
        modes=_MINIMA,
        mode_weights=np.bincount(squares.argmin(-1).ravel(), mass.ravel(), minlength=3),
        closed_form_entropy=log_normalizer - float(mass.ravel() @ log_values.ravel()),
    )
