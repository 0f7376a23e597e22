"""Normals bent along a parabola: the shear has unit Jacobian, so everything is closed form."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity
from tempered_ebm.densities.integration import Bounds
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


def _bounds(centre: float, scale: float, curvature: float, noise: float) -> Bounds:
    """Box around ``z2 = curvature * z1**2`` with the noises of both coordinates."""
    x0, x1 = centre - TAIL * scale, centre + TAIL * scale
    inner = 0.0 if x0 < 0 < x1 else min(x0**2, x1**2)
    ends = sorted((curvature * inner, curvature * max(x0**2, x1**2)))
    return (x0, x1), (ends[0] - TAIL * noise, ends[1] + TAIL * noise)


def banana(curvature: float = 0.5, scale: float = 1.0) -> ToyDensity:
    r"""A normal bent along a parabola (Haario, Saksman and Tamminen 1999).

    .. math:: \log p(z) = -\frac{z_1^2}{2 s^2} - \tfrac12 (z_2 - b z_1^2)^2, \qquad
              Z = 2\pi s, \qquad H = \log Z + 1

    The shear has unit Jacobian, so normaliser and entropy are those of the normal. The law
    is skewed along the second axis, which catches sign errors that symmetric targets hide.

    Args:
        curvature: ``b``, finite.
        scale: standard deviation ``s`` of the first coordinate.

    Raises:
        InputError: if ``scale`` is not positive or ``curvature`` is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import densities as toy
        >>> float(toy.banana().logdensity_fn(jnp.ones(2)))
        -0.625
    """
    checks.positive("scale", scale)
    if not math.isfinite(curvature):
        raise InputError(f"curvature must be finite, got {curvature}")

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        first, second = z[..., 0], z[..., 1]
        return -0.5 * (first / scale) ** 2 - 0.5 * (second - curvature * first**2) ** 2

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        noise = jax.random.normal(rng_key, (num_samples, 2))
        first = scale * noise[:, 0]
        return jnp.stack([first, noise[:, 1] + curvature * first**2], -1)

    log_normalizer = math.log(2 * math.pi * scale)
    return ToyDensity(
        "banana",
        logdensity,
        log_normalizer=log_normalizer,
        sample=sample,
        bounds=_bounds(0.0, scale, curvature, 1.0),
        closed_form_entropy=log_normalizer + 1,
    )


def rosenbrock(a: float = 1.0, b: float = 100.0, temperature: float = 1.0) -> ToyDensity:
    r"""The valley of Rosenbrock (1960) as a density.

    .. math:: \log p(z) = -\frac1T\left[(a - z_1)^2 + b\,(z_2 - z_1^2)^2\right], \qquad
              Z = \frac{\pi T}{\sqrt b}, \qquad H = \log Z + 1

    That is :math:`z_1 \sim N(a, T/2)` and :math:`z_2 \mid z_1 \sim N(z_1^2, T/2b)`, which is
    also how it is drawn (Pagani, Wiegand and Nadarajah 2022, where T = 20). One mode at
    :math:`(a, a^2)`, and a ridge about :math:`1/\sqrt b` thin.

    Args:
        a: abscissa of the mode, finite.
        b: stiffness across the valley.
        temperature: ``T``.

    Raises:
        InputError: if ``b`` or ``temperature`` is not positive or ``a`` is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import densities as toy
        >>> float(toy.rosenbrock().logdensity_fn(jnp.zeros(2)))
        -1.0
    """
    checks.positive("b", b)
    checks.positive("temperature", temperature)
    if not math.isfinite(a):
        raise InputError(f"a must be finite, got {a}")
    scale, noise_scale = math.sqrt(temperature / 2), math.sqrt(temperature / (2 * b))

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        first, second = z[..., 0], z[..., 1]
        return -((a - first) ** 2 + b * (second - first**2) ** 2) / temperature

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        noise = jax.random.normal(rng_key, (num_samples, 2))
        first = a + scale * noise[:, 0]
        return jnp.stack([first, first**2 + noise_scale * noise[:, 1]], -1)

    log_normalizer = math.log(math.pi * temperature / math.sqrt(b))
    return ToyDensity(
        "rosenbrock",
        logdensity,
        log_normalizer=log_normalizer,
        sample=sample,
        bounds=_bounds(a, scale, 1.0, noise_scale),
        closed_form_entropy=log_normalizer + 1,
    )
