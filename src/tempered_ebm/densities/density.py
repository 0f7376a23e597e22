"""Densities on the plane with a known normaliser, entropy and sampler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm.densities.integration import Bounds, quadrature
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey

TAIL = 6.5
"""Standard deviations from a normal's mean to the bounds: 8e-11 of the mass lies beyond."""

_TOLERANCE = 1e-8
_GRIDS = (256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, eq=False)
class ToyDensity:
    """A density on the plane with known normaliser, entropy, modes and sampler.

    Attributes:
        name: short name.
        logdensity_fn: unnormalised log-density of positions of shape (..., 2).
        log_normalizer: ``log ∫ exp(logdensity_fn(z)) dz``.
        sample: ``(rng_key, num_samples) -> (num_samples, 2)`` independent exact draws;
            None if there is no exact sampler.
        bounds: box ``((x0, x1), (y0, y1))`` with all but a mass below 1e-8.
        modes: (M, 2) modes, or centres of plateaus, of a density with several; else None.
        mode_weights: (M,) probabilities of the points nearer to each mode than to any other.
        closed_form_entropy: the entropy if a formula gives it, else None.
    """

    name: str
    logdensity_fn: Callable[[Float[Array, "... 2"]], Float[Array, "..."]]
    log_normalizer: float
    sample: Callable[[PRNGKey, int], Float[Array, "num_samples 2"]] | None
    bounds: Bounds
    modes: Float[np.ndarray, "M 2"] | None = None
    mode_weights: Float[np.ndarray, "M"] | None = None
    closed_form_entropy: float | None = None

    def log_prob(self, z: Float[Array, "... 2"]) -> Float[Array, "..."]:
        """Evaluate the normalised log-density at positions of shape (..., 2)."""
        return self.logdensity_fn(z) - self.log_normalizer

    @cached_property
    def entropy(self) -> float:
        """Return the differential entropy ``-∫ p log p`` of the normalised density, in nats.

        Without a closed form it is computed when first asked for, by :func:`quadrature` in
        float64 on grids refined until the normaliser is stable to 1e-8, with a warning if
        4,096 intervals are not enough.
        """
        if self.closed_form_entropy is not None:
            return self.closed_form_entropy
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            for num_intervals in _GRIDS:
                result = quadrature(self.logdensity_fn, self.bounds, num_intervals=num_intervals)
                if result.error < _TOLERANCE:
                    return result.entropy
        warnings.warn(
            f"the entropy of {self.name} is not resolved by {num_intervals} grid intervals: "
            f"the log-normaliser still moves by {result.error:.1e}",
            stacklevel=2,
        )
        return result.entropy

    def occupancy(self, positions: Float[Array, "n 2"]) -> Float[Array, "M"]:
        """Return the fractions of positions nearest to each mode, to compare with ``mode_weights``.

        Raises:
            InputError: if the density has no list of modes.

        Example:
            >>> import jax
            >>> from tempered_ebm import densities as toy
            >>> density = toy.squares()
            >>> density.occupancy(density.sample(jax.random.key(0), 1_000)).shape
            (4,)
        """
        if self.modes is None:
            raise InputError(f"{self.name} has no list of modes")
        distances = jnp.sum((positions[:, None] - jnp.asarray(self.modes)) ** 2, -1)
        nearest = jnp.argmin(distances, axis=1)
        return jnp.bincount(nearest, length=len(self.modes)) / len(positions)


def box_around(points: Float[np.ndarray, "n 2"], margin: float) -> Bounds:
    """Return the smallest box with every point at least ``margin`` inside."""
    (x0, y0), (x1, y1) = np.min(points, 0) - margin, np.max(points, 0) + margin
    return (float(x0), float(x1)), (float(y0), float(y1))


def on_circle(radius: float, num_points: int, phase: float = 0.0) -> Float[np.ndarray, "n 2"]:
    """Return evenly spaced points on a circle around the origin."""
    angles = phase + 2 * np.pi * np.arange(num_points) / num_points
    return radius * np.stack([np.cos(angles), np.sin(angles)], -1)


def norm(z: Float[Array, "... 2"]) -> Float[Array, "..."]:
    """Return the Euclidean norm, with gradient zero, instead of NaN, at the origin."""
    return jnp.sqrt(jnp.maximum(jnp.sum(z**2, -1), 1e-20))
