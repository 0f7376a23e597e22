"""Equally weighted mixtures: separate normals, the pinwheel, and curves with normal noise.

A curve with noise is a fine mixture along the curve, so that density and sampler are exact.
Components at a distance of at most one standard deviation cannot be told from a continuous
curve: the ripple along it is 2 exp(-2π²) = 5e-9 of the density.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import TAIL, ToyDensity, box_around, norm, on_circle
from tempered_ebm.types import PRNGKey

_UNROLLED = 32
"""Components up to which a mixture is written out as a sum of terms."""


def _equal_mixture(
    name: str, means: Float[np.ndarray, "M 2"], scale: float, *, separate: bool = False
) -> ToyDensity:
    r"""Return equally weighted isotropic normals, as the unnormalised sum.

    .. math:: \log p(z) = \log\sum_{m=1}^M e^{-\|z-\mu_m\|^2/2s^2}, \qquad Z = 2\pi M s^2

    Args:
        name: name of the density.
        means: the means, (M, 2).
        scale: standard deviation ``s`` of each component.
        separate: whether the components are modes, of equal mass by symmetry.
    """
    num_components = len(means)

    def over_an_axis(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        z = jnp.asarray(z)
        x, y = jnp.asarray(means.T, z.dtype)
        squares = (z[..., :1] - x) ** 2 + (z[..., 1:] - y) ** 2
        return jax.nn.logsumexp(-0.5 / scale**2 * squares, axis=-1)

    def term_by_term(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        x, y = jnp.moveaxis(jnp.asarray(z), -1, 0)
        logs = [-0.5 / scale**2 * ((x - a) ** 2 + (y - b) ** 2) for a, b in means.tolist()]
        # As in logsumexp, the largest term is a constant to the gradient, and 0 where all are -inf.
        largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, logs))
        largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
        return largest + jnp.log(sum(jnp.exp(log - largest) for log in logs))

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        component_key, noise_key = jax.random.split(rng_key)
        component = jax.random.randint(component_key, (num_samples,), 0, num_components)
        return jnp.asarray(means)[component] + scale * jax.random.normal(
            noise_key, (num_samples, 2)
        )

    return ToyDensity(
        name,
        # Without an axis of components XLA fuses all terms, and their gradients, into one loop
        # over chains; many terms would take too long to compile.
        term_by_term if num_components <= _UNROLLED else over_an_axis,
        log_normalizer=math.log(num_components * 2 * math.pi * scale**2),
        sample=sample,
        bounds=box_around(means, TAIL * scale),
        modes=means if separate else None,
        mode_weights=np.full(num_components, 1 / num_components) if separate else None,
    )


def eight_gaussians(radius: float = 2.0, scale: float = 0.2) -> ToyDensity:
    """Return eight equally weighted isotropic normals on a circle, as an unnormalised sum.

    Normaliser in closed form, entropy by quadrature, exact draws component by component.
    ``modes`` are the means, from which overlap moves the modes by less than 1e-8 at the defaults.

    Args:
        radius: distance of the means from the origin.
        scale: standard deviation of each component.

    Raises:
        InputError: if an argument is not positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.eight_gaussians().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.all_positive(radius=radius, scale=scale)
    return _equal_mixture("eight_gaussians", on_circle(radius, 8), scale, separate=True)


def pinwheel(
    arms: int = 5,
    radius: float = 2.0,
    radial_scale: float = 0.6,
    tangential_scale: float = 0.2,
    twist: float = 0.7,
) -> ToyDensity:
    r"""Return normals elongated along evenly spaced rays, then twisted around the origin.

    .. math:: \log p(z) = \log\sum_{k=1}^K \exp\Big(-\frac{(u_k - R)^2}{2 s_r^2}
              - \frac{v_k^2}{2 s_t^2}\Big), \qquad
              (u_k, v_k) = \mathrm{Rot}(-2\pi k/K - \tau\|z\|)\,z

    A shape of Johnson et al. (2016), with the angle a function of the norm. The twist then
    keeps areas and is undone exactly, so the normaliser is that of the normals,
    :math:`Z = 2\pi K s_r s_t`. Entropy by quadrature; exact draws are twisted normals.

    Args:
        arms: number ``K`` of arms, at least 1.
        radius: distance ``R`` of the centres of the arms from the origin.
        radial_scale: standard deviation ``s_r`` along an arm.
        tangential_scale: standard deviation ``s_t`` across an arm.
        twist: ``τ``, angle in radians per unit of radius; any sign.

    Raises:
        InputError: if ``arms`` is not an integer of at least 1, or ``radius`` or a scale is
            not positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.pinwheel(arms=3).sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.at_least("arms", arms, 1)
    checks.all_positive(radius=radius, radial_scale=radial_scale, tangential_scale=tangential_scale)
    rays = on_circle(1.0, arms)

    def logdensity(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        z = jnp.asarray(z)
        angle = twist * norm(z)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        x = (cos * z[..., 0] + sin * z[..., 1])[..., None]
        y = (cos * z[..., 1] - sin * z[..., 0])[..., None]
        ray_x, ray_y = jnp.asarray(rays.T, z.dtype)
        along = (ray_x * x + ray_y * y - radius) / radial_scale
        across = (ray_x * y - ray_y * x) / tangential_scale
        return jax.nn.logsumexp(-0.5 * (along**2 + across**2), axis=-1)

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        arm_key, noise_key = jax.random.split(rng_key)
        arm = jax.random.randint(arm_key, (num_samples,), 0, arms)
        noise = jax.random.normal(noise_key, (num_samples, 2))
        along, across = radius + radial_scale * noise[:, 0], tangential_scale * noise[:, 1]
        angle = 2 * math.pi * arm / arms + twist * jnp.hypot(along, across)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([cos * along - sin * across, sin * along + cos * across], -1)

    reach = radius + TAIL * max(radial_scale, tangential_scale)
    several = arms > 1
    return ToyDensity(
        "pinwheel",
        logdensity,
        log_normalizer=math.log(arms * 2 * math.pi * radial_scale * tangential_scale),
        sample=sample,
        bounds=((-reach, reach), (-reach, reach)),
        modes=on_circle(radius, arms, phase=twist * radius) if several else None,
        mode_weights=np.full(arms, 1 / arms) if several else None,
    )


def _evenly_along(polyline: Float[np.ndarray, "n 2"], spacing: float) -> Float[np.ndarray, "m 2"]:
    """Return midpoints of pieces of equal length, at most ``spacing``, along a fine polyline."""
    lengths = np.linalg.norm(np.diff(polyline, axis=0), axis=1)
    position = np.concatenate([[0.0], np.cumsum(lengths)])
    num_points = math.ceil(position[-1] / spacing)
    wanted = (np.arange(num_points) + 0.5) * position[-1] / num_points
    return np.stack([np.interp(wanted, position, axis) for axis in polyline.T], -1)


def _spiral(start: float, stop: float, unit: float) -> Float[np.ndarray, "n 2"]:
    """Return Archimedes' spiral: radius ``unit * angle`` between two angles."""
    angle = np.linspace(start, stop, 20_001)
    return unit * angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _rotated(points: Float[np.ndarray, "n 2"], angle: float) -> Float[np.ndarray, "n 2"]:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def moons(scale: float = 0.1) -> ToyDensity:
    r"""Return two interleaved half circles of radius 1 with normal noise.

    The upper half circle is centred at (0, 0) and the lower one at (1, 1/2), each uniform
    along its length, in the arrangement of scikit-learn's ``make_moons``:

    .. math:: p = \tfrac12\sum_{j} U_j * N(0, s^2 I)

    Normaliser in closed form (a mixture), entropy by quadrature, exact draws.

    Args:
        scale: ``s``, standard deviation of the noise.

    Raises:
        InputError: if ``scale`` is not positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.moons().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.positive("scale", scale)
    angle = np.linspace(0.0, np.pi, 20_001)
    upper = _evenly_along(np.stack([np.cos(angle), np.sin(angle)], -1), scale)
    return _equal_mixture("moons", np.concatenate([upper, [1.0, 0.5] - upper]), scale)


def swiss_roll(scale: float = 0.1, turns: float = 1.5) -> ToyDensity:
    r"""Return a rolled-up line with normal noise: the section of the Swiss roll.

    .. math:: z = \tfrac15\,\theta\,(\cos\theta, \sin\theta) + s\,\epsilon, \qquad
              \tfrac32\pi \le \theta \le \tfrac32\pi + 2\pi\,\mathrm{turns}

    uniform along its length. The roll of Marsland (2009) and scikit-learn is uniform in the
    angle, which thins it out towards the end. Normaliser in closed form (a mixture), entropy
    by quadrature, exact draws.

    Args:
        scale: ``s``, standard deviation of the noise; windings are 2π/5 = 1.26 apart.
        turns: how often the line is wound.

    Raises:
        InputError: if an argument is not positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.swiss_roll().sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.all_positive(scale=scale, turns=turns)
    line = _spiral(1.5 * np.pi, (1.5 + 2 * turns) * np.pi, 0.2)
    return _equal_mixture("swiss_roll", _evenly_along(line, scale), scale)


def spirals(arms: int = 2, scale: float = 0.1, turns: float = 1.5) -> ToyDensity:
    r"""Return spirals that start together at the origin and are wound into each other, with noise.

    .. math:: z = \tfrac13\,\theta\,(\cos(\theta + \phi_k), \sin(\theta + \phi_k)) + s\,\epsilon,
              \qquad 0 \le \theta \le 2\pi\,\mathrm{turns}, \quad \phi_k = 2\pi k/K

    uniform along its length (after Lang and Witbrock 1988). Normaliser in closed form (a
    mixture), entropy by quadrature, exact draws.

    Args:
        arms: number ``K`` of spirals, at least 1.
        scale: ``s``, standard deviation of the noise; neighbours are 2π/3K apart.
        turns: how often each is wound.

    Raises:
        InputError: if ``arms`` is not an integer of at least 1 or another argument is not
            positive.

    Example:
        >>> import jax
        >>> from tempered_ebm import densities as toy
        >>> toy.spirals(arms=3).sample(jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.at_least("arms", arms, 1)
    checks.all_positive(scale=scale, turns=turns)
    arm = _evenly_along(_spiral(0.0, 2 * np.pi * turns, 1 / 3), scale)
    means = np.concatenate([_rotated(arm, 2 * np.pi * k / arms) for k in range(arms)])
    return _equal_mixture("spirals", means, scale)
