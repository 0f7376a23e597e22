"""Densities given by an energy: a double well, an egg crate, a pair of log-Gammas."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity
from tempered_ebm.densities.rejection import rejection_sampler
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


def double_well(
    quartic: float = 1.0, quadratic: float = 6.0, tilt: float = 1.0, stiffness: float = 1.0
) -> ToyDensity:
    r"""Two wells of unequal depth along the first axis, a normal along the second.

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
    checks.positive("quartic", quartic)
    checks.positive("quadratic", quadratic)
    checks.positive("stiffness", stiffness)
    limit = 2 * quadratic**1.5 / (3 * math.sqrt(3 * quartic))
    if not abs(tilt) < limit:
        raise InputError(f"tilt must be below {limit:g} in magnitude, got {tilt}")
    centre = math.sqrt(quadratic / quartic)
    variance = 2 / quadratic

    def first_axis(x: Any) -> Any:
        """Of JAX or NumPy arrays: the constants below need float64."""
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
    x0, x1 = -centre - abs(tilt) * variance - TAIL * sigma, centre + abs(tilt) * variance
    x1 += TAIL * sigma
    line = np.linspace(x0, x1, 4_001)
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
        sample=rejection_sampler(propose),
        bounds=((x0, x1), (-reach, reach)),
        modes=np.stack([wells, np.zeros(2)], -1),
        mode_weights=np.array([left, 1 - left]),
        closed_form_entropy=entropy_x + log_normalizer_y + 0.5,
    )


def egg_crate_negative_energy(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
    r"""Negative energy :math:`f(z) = 2\cos 2z_1 \cos 2z_2 + \tfrac12 z_1` of :func:`egg_crate`."""
    return 2 * jnp.cos(2 * z[..., 0]) * jnp.cos(2 * z[..., 1]) + 0.5 * z[..., 0]


def egg_crate() -> ToyDensity:
    r"""A latent-EBM prior in miniature, :math:`p(z) \propto e^{f(z)} N(z; 0, I)`.

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
        sample=rejection_sampler(propose),
        bounds=((0.5 - TAIL, 0.5 + TAIL), (-TAIL, TAIL)),
    )


def gamma_pair(shape: float = 3.0, rate: float = 2.0) -> ToyDensity:
    r"""Two independent logarithms of Gamma variables: :math:`e^{z_i} \sim \Gamma(a, b)`.

    .. math:: \log p(z) = \sum_i a z_i - b e^{z_i}, \qquad
              \log Z = 2(\log\Gamma(a) - a\log b), \qquad
              H = 2(\log\Gamma(a) - a\,\psi(a) + a)

    Skewed and not symmetric in anything, which makes it the sharpest test here.

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
    checks.positive("shape", shape)
    checks.positive("rate", rate)

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
