"""Normals bent around circles and along parabolas, with everything in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity, norm
from tempered_ebm.densities.integration import Bounds
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


def _ring_normalizer(radius: float, scale: float) -> float:
    ratio = radius / scale
    return (2 * math.pi) * (
        scale**2 * math.exp(-0.5 * ratio**2)
        + radius * scale * math.sqrt(math.pi / 2) * (1 + math.erf(ratio / math.sqrt(2)))
    )


def _ring_sample(
    rng_key: PRNGKey, radii: Float[Array, " n"] | float, scale: float, num_samples: int
) -> Float[Array, "n 2"]:
    """Draw a point on the ring of each radius, or all of them on one ring."""
    normal_key, flip_key, angle_key = jax.random.split(rng_key, 3)
    u = jax.random.normal(normal_key, (num_samples,))
    flip = jax.random.uniform(flip_key, (num_samples,)) < 0.5 * (1 - u * scale / radii)
    r = radii + scale * jnp.where(flip, -u, u)
    angle = 2 * math.pi * jax.random.uniform(angle_key, (num_samples,))
    return r[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def ring(radius: float = 2.0, scale: float = 0.2) -> ToyDensity:
    r"""Return a ring, :math:`\log p(z) = -(\|z\| - R)^2 / (2 s^2)`.

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
    checks.all_positive(scale=scale, radius=radius)
    if not radius >= 8 * scale:
        raise InputError(f"radius must be at least 8 * scale = {8 * scale}, got {radius}")

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        return -0.5 * ((norm(z) - radius) / scale) ** 2

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        return _ring_sample(rng_key, radius, scale, num_samples)

    reach = radius + TAIL * scale
    log_normalizer = math.log(_ring_normalizer(radius, scale))
    return ToyDensity(
        "ring",
        logdensity,
        log_normalizer=log_normalizer,
        sample=sample,
        bounds=((-reach, reach), (-reach, reach)),
        closed_form_entropy=log_normalizer + 0.5,
    )


def rings(radii: Sequence[float] = (1.0, 2.0, 3.0), scale: float = 0.1) -> ToyDensity:
    r"""Return concentric rings of equal mass, each with the law of :func:`ring`.

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
    checks.all_positive(scale=scale, radii=radii)
    if not len(radii) or min(radii) < 8 * scale:
        raise InputError(f"radii must each be at least 8 * scale = {8 * scale}, got {radii}")
    radius = np.asarray(radii, np.float64)
    log_weights = -np.log([len(radii) * _ring_normalizer(r, scale) for r in radius.tolist()])

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        z = jnp.asarray(z)
        u = (norm(z)[..., None] - jnp.asarray(radius, z.dtype)) / scale
        return jax.nn.logsumexp(jnp.asarray(log_weights, z.dtype) - 0.5 * u**2, axis=-1)

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        which_key, ring_key = jax.random.split(rng_key)
        which = jax.random.randint(which_key, (num_samples,), 0, len(radius))
        return _ring_sample(ring_key, jnp.asarray(radius)[which], scale, num_samples)

    reach = float(radius.max()) + TAIL * scale
    return ToyDensity(
        "rings",
        logdensity,
        log_normalizer=0.0,
        sample=sample,
        bounds=((-reach, reach), (-reach, reach)),
    )


def _shear_bounds(centre: float, scale: float, curvature: float, noise: float) -> Bounds:
    """Return a box around ``z2 = curvature * z1**2`` with the noises of both coordinates."""
    x0, x1 = centre - TAIL * scale, centre + TAIL * scale
    inner = 0.0 if x0 < 0 < x1 else min(x0**2, x1**2)
    ends = sorted((curvature * inner, curvature * max(x0**2, x1**2)))
    return (x0, x1), (ends[0] - TAIL * noise, ends[1] + TAIL * noise)


def banana(curvature: float = 0.5, scale: float = 1.0) -> ToyDensity:
    r"""Return a normal bent along a parabola (Haario, Saksman and Tamminen 1999).

    .. math:: \log p(z) = -\frac{z_1^2}{2 s^2} - \tfrac12 (z_2 - b z_1^2)^2, \qquad
              Z = 2\pi s, \qquad H = \log Z + 1

    The shear has unit Jacobian, so normaliser and entropy are those of the normal. The law
    is skewed along the second axis, which shows sign errors that symmetric targets hide.

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
        bounds=_shear_bounds(0.0, scale, curvature, 1.0),
        closed_form_entropy=log_normalizer + 1,
    )


def rosenbrock(a: float = 1.0, b: float = 100.0, temperature: float = 1.0) -> ToyDensity:
    r"""Return the density of the valley of Rosenbrock (1960).

    .. math:: \log p(z) = -\frac1T\left[(a - z_1)^2 + b\,(z_2 - z_1^2)^2\right], \qquad
              Z = \frac{\pi T}{\sqrt b}, \qquad H = \log Z + 1

    That is :math:`z_1 \sim N(a, T/2)` and :math:`z_2 \mid z_1 \sim N(z_1^2, T/2b)`, which is
    also how it is drawn (Pagani, Wiegand and Nadarajah 2022, where T = 20). One mode at
    :math:`(a, a^2)`, and a ridge about :math:`1/\sqrt b` thin.

    Args:
        a: abscissa of the mode, finite.
        b: stiffness across the valley.
        temperature: ``T`` of :math:`p^{1/T}`; not a power of a likelihood.

    Raises:
        InputError: if ``b`` or ``temperature`` is not positive or ``a`` is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import densities as toy
        >>> float(toy.rosenbrock().logdensity_fn(jnp.zeros(2)))
        -1.0
    """
    checks.all_positive(b=b, temperature=temperature)
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
        bounds=_shear_bounds(a, scale, 1.0, noise_scale),
        closed_form_entropy=log_normalizer + 1,
    )
