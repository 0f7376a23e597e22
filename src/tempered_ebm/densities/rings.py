"""One ring, and several around one centre."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity, norm
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


def _normalizer(radius: float, scale: float) -> float:
    ratio = radius / scale
    return (2 * math.pi) * (
        scale**2 * math.exp(-0.5 * ratio**2)
        + radius * scale * math.sqrt(math.pi / 2) * (1 + math.erf(ratio / math.sqrt(2)))
    )


def _sample(
    rng_key: PRNGKey, radii: Float[Array, " n"] | float, scale: float, num_samples: int
) -> Float[Array, "n 2"]:
    """Draw a point of the ring of each radius, or all of one ring."""
    normal_key, flip_key, angle_key = jax.random.split(rng_key, 3)
    u = jax.random.normal(normal_key, (num_samples,))
    flip = jax.random.uniform(flip_key, (num_samples,)) < 0.5 * (1 - u * scale / radii)
    r = radii + scale * jnp.where(flip, -u, u)
    angle = 2 * math.pi * jax.random.uniform(angle_key, (num_samples,))
    return r[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def ring(radius: float = 2.0, scale: float = 0.2) -> ToyDensity:
    r"""A ring, :math:`\log p(z) = -(\|z\| - R)^2 / (2 s^2)`.

    With :math:`r = \|z\|` the normaliser is
    :math:`2\pi\int_0^\infty r\,e^{-(r-R)^2/2s^2}\,dr = 2\pi\,[\,s^2 e^{-R^2/2s^2} +
    R s \sqrt{\pi/2}\,(1 + \mathrm{erf}(R/\sqrt2 s))]`. The radius has density
    proportional to :math:`(1 + \tfrac sR u)\,\phi(u)` in :math:`u = (r-R)/s`: a normal u
    with its sign flipped with probability :math:`\tfrac12(1 - \tfrac sR u)`, so that
    :math:`E u^2 = 1` and :math:`H = \log Z + \tfrac12`. That is exact where
    :math:`|u| < R/s`, outside which lies a mass below 1e-14 for :math:`R \ge 8s`.

    Args:
        radius: ``R``, at least eight times ``scale``.
        scale: ``s``, the width of the ring.

    Raises:
        InputError: if ``scale`` is not positive or ``radius < 8 * scale``.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.ring().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.positive("scale", scale)
    checks.positive("radius", radius)
    if not radius >= 8 * scale:
        raise InputError(f"radius must be at least 8 * scale = {8 * scale}, got {radius}")

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        return -0.5 * ((norm(z) - radius) / scale) ** 2

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        return _sample(rng_key, radius, scale, num_samples)

    reach = radius + TAIL * scale
    log_normalizer = math.log(_normalizer(radius, scale))
    return ToyDensity(
        "ring",
        logdensity,
        log_normalizer=log_normalizer,
        sample=sample,
        bounds=((-reach, reach), (-reach, reach)),
        closed_form_entropy=log_normalizer + 0.5,
    )


def rings(radii: Sequence[float] = (1.0, 2.0, 3.0), scale: float = 0.1) -> ToyDensity:
    r"""Concentric rings of equal mass, each with the law of :func:`ring`.

    .. math:: p(z) = \frac1K\sum_{k=1}^K \frac{1}{Z_k}\,e^{-(\|z\|-R_k)^2/2s^2}

    with :math:`Z_k` as in :func:`ring`, so that the log-density is normalised. Entropy by
    quadrature; exact draws ring by ring.

    Args:
        radii: ``R_k``, each at least eight times ``scale``.
        scale: ``s``, the width of every ring.

    Raises:
        InputError: if ``scale`` is not positive, there is no ring, or a radius is below
            ``8 * scale``.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.rings().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.positive("scale", scale)
    checks.positive("radii", radii)
    if not len(radii) or min(radii) < 8 * scale:
        raise InputError(f"radii must each be at least 8 * scale = {8 * scale}, got {radii}")
    radius = np.asarray(radii, np.float64)
    log_weights = -np.log([len(radii) * _normalizer(r, scale) for r in radius.tolist()])

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        z = jnp.asarray(z)
        u = (norm(z)[..., None] - jnp.asarray(radius, z.dtype)) / scale
        return jax.nn.logsumexp(jnp.asarray(log_weights, z.dtype) - 0.5 * u**2, axis=-1)

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        which_key, ring_key = jax.random.split(rng_key)
        which = jax.random.randint(which_key, (num_samples,), 0, len(radius))
        return _sample(ring_key, jnp.asarray(radius)[which], scale, num_samples)

    reach = float(radius.max()) + TAIL * scale
    return ToyDensity(
        "rings",
        logdensity,
        log_normalizer=0.0,
        sample=sample,
        bounds=((-reach, reach), (-reach, reach)),
    )
