"""Uniform laws on squares, convolved with narrow normal noise.

A uniform density has gradient zero inside and none outside, so it tells gradient-based samplers
nothing. With noise the density stays closed-form and its gradient points inwards from
everywhere.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity, box_around
from tempered_ebm.types import PRNGKey

_FAR = -12.0
"""Below, the asymptotic series of Φ is exact to 2e-9; above, erfc does not underflow in float32."""


def _log_normal_cdf(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log Φ(x), with a gradient that stays accurate however far x lies below zero."""
    tail = jnp.minimum(x, _FAR)
    inverse = 1 / tail**2
    series = -inverse * (1 - inverse * (3 - inverse * (15 - inverse * (105 - inverse * 945))))
    far = -0.5 * tail**2 - jnp.log(-tail) - 0.5 * math.log(2 * math.pi) + jnp.log1p(series)
    near = jnp.log(0.5 * erfc(-jnp.maximum(x, _FAR) / math.sqrt(2)))
    return jnp.where(x < _FAR, far, near)


def _log_interval(distance: Float[Array, "..."], half: float, scale: float) -> Array:
    """Return the log-probability of an interval under a normal at ``distance`` from its centre.

    Both ends are measured from the side where the lower one is in the lower tail, so the
    difference of the two probabilities never cancels.
    """
    distance = jnp.abs(distance)
    upper = _log_normal_cdf((half - distance) / scale)
    lower = _log_normal_cdf((-half - distance) / scale)
    return upper + jnp.log1p(-jnp.exp(lower - upper))


def _noisy_squares(
    name: str, centres: Float[np.ndarray, "M 2"], side: float, scale: float
) -> ToyDensity:
    num_squares = len(centres)
    log_density_inside = -math.log(num_squares * side**2)

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        z = jnp.asarray(z)
        x, y = jnp.asarray(centres.T, z.dtype)
        log_inside = _log_interval(z[..., :1] - x, side / 2, scale) + _log_interval(
            z[..., 1:] - y, side / 2, scale
        )
        return jax.nn.logsumexp(log_inside, axis=-1) + log_density_inside

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        square_key, uniform_key, noise_key = jax.random.split(rng_key, 3)
        square = jax.random.randint(square_key, (num_samples,), 0, num_squares)
        uniform = jax.random.uniform(uniform_key, (num_samples, 2)) - 0.5
        noise = jax.random.normal(noise_key, (num_samples, 2))
        return jnp.asarray(centres)[square] + side * uniform + scale * noise

    return ToyDensity(
        name,
        logdensity,
        log_normalizer=0.0,
        sample=sample,
        bounds=box_around(centres, side / 2 + TAIL * scale),
        modes=centres,
        mode_weights=np.full(num_squares, 1 / num_squares),
    )


def checkerboard(cells: int = 4, side: float = 2.0, scale: float = 0.1) -> ToyDensity:
    r"""Return every other square of a board around the origin, with normal noise.

    .. math:: p(z) = \frac{1}{M a^2}\sum_{m=1}^M \prod_{i=1}^2
              \left[\Phi\Big(\frac{z_i - c_{mi} + a/2}{s}\Big)
              - \Phi\Big(\frac{z_i - c_{mi} - a/2}{s}\Big)\right]

    over the squares with centres :math:`c_m` whose row and column add up to an even number.
    Normalised in closed form; entropy by quadrature; exact draws are uniform plus noise.
    The mass nearest to each centre is 1/M, up to what the noise carries past the corners.

    Args:
        cells: squares along each side of the board, at least 2.
        side: ``a``, the side of a square.
        scale: ``s``, standard deviation of the noise.

    Raises:
        InputError: if ``cells`` is not an integer of at least 2, or another argument is not
            positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.checkerboard().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.at_least("cells", cells, 2)
    checks.all_positive(side=side, scale=scale)
    index = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij"), -1)
    filled = index.reshape(-1, 2)[index.sum(-1).ravel() % 2 == 0]
    centres = side * (filled - (cells - 1) / 2)
    return _noisy_squares("checkerboard", centres, side, scale)


def squares(offset: float = 2.0, side: float = 2.0, scale: float = 0.1) -> ToyDensity:
    r"""Return four squares at :math:`(\pm o, \pm o)` with normal noise.

    The density is that of :func:`checkerboard` with these four centres: normalised in closed
    form, entropy by quadrature, exact draws. Each square has mass 1/4 by symmetry, and a gap
    of low density lies between any two, so chains seldom change squares.

    Args:
        offset: ``o``, distance of the centres from both axes.
        side: side of a square.
        scale: standard deviation of the noise.

    Raises:
        InputError: if an argument is not positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.squares().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.all_positive(offset=offset, side=side, scale=scale)
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float64)
    return _noisy_squares("squares", offset * signs, side, scale)
