"""Curves with normal noise: fine mixtures along the curve, so density and sampler are exact.

Components at a distance of at most one standard deviation cannot be told from a continuous
curve: the ripple along it is 2 exp(-2π²) = 5e-9 of the density.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm.densities.density import ToyDensity
from tempered_ebm.densities.mixtures import equal_mixture


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
    return equal_mixture("moons", np.concatenate([upper, [1.0, 0.5] - upper]), scale)


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
    checks.positive("scale", scale)
    checks.positive("turns", turns)
    line = _spiral(1.5 * np.pi, (1.5 + 2 * turns) * np.pi, 0.2)
    return equal_mixture("swiss_roll", _evenly_along(line, scale), scale)


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
    checks.positive("scale", scale)
    checks.positive("turns", turns)
    arm = _evenly_along(_spiral(0.0, 2 * np.pi * turns, 1 / 3), scale)
    means = np.concatenate([_rotated(arm, 2 * np.pi * k / arms) for k in range(arms)])
    return equal_mixture("spirals", means, scale)
