r"""Coordinates in which heavy-tailed posteriors have exponential tails.

A coordinate in which the draws of prior and posterior reach far beyond their quartiles is written
as

.. math::
    z_i = m_i + s_i \sinh u_i, \qquad
    \log\left|\frac{dz_i}{du_i}\right| = \log s_i + \log\cosh u_i,

with the median m and half the interquartile range s of the prior. The Jacobian goes to the log
prior, so that the evidence is the same; a density with the tails of a Cauchy's has those of
:math:`e^{-|u|}`, which every reference covers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from tempered_ebm.target import TemperedTarget

_PRIOR_REACH, _POSTERIOR_REACH = 10.0, 5.0
"""From the 1 % to the 99 % quantile in interquartile ranges: 3.4 of a normal, 32 of a Cauchy.
Particles reach less far than the posterior that they are from."""


class Coordinates(NamedTuple):
    """Which coordinates are transformed, and how; see the module."""

    is_heavy: Bool[Array, "d"]
    median: Float[Array, "d"]
    scale: Float[Array, "d"]

    def forward(self, z: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """Return u."""
        return jnp.where(self.is_heavy, jnp.arcsinh((z - self.median) / self.scale), z)

    def back(self, u: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """Return z."""
        stretched = jnp.sinh(jnp.where(self.is_heavy, u, 0.0))
        return jnp.where(self.is_heavy, self.median + self.scale * stretched, u)

    def log_jacobian(self, u: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        """Return log |dz/du|."""
        log_cosh = jnp.logaddexp(u, -u) - math.log(2)
        return jnp.sum(jnp.where(self.is_heavy, jnp.log(self.scale) + log_cosh, 0.0), -1)

    def target(self, target: TemperedTarget) -> TemperedTarget:
        """Return the target as functions of u, the Jacobian in the prior."""
        return TemperedTarget(
            Partial(_logprior, target.logprior_fn, self),
            Partial(_loglikelihood, target.loglikelihood_fn, self),
        )


def of(prior_draws: Float[Array, "N d"], particles: Float[Array, "M d"]) -> Coordinates | None:
    """Return coordinates for such a prior and posterior; None where no tail is heavy."""
    is_heavy = _reach(prior_draws, _PRIOR_REACH) & _reach(particles, _POSTERIOR_REACH)
    if not is_heavy.any():
        return None
    low, median, high = np.quantile(np.asarray(prior_draws, np.float64), [0.25, 0.5, 0.75], axis=0)
    scale = np.where(is_heavy, 0.5 * (high - low), 1.0)
    leaves = (jnp.asarray(leaf, prior_draws.dtype) for leaf in (median, scale))
    return Coordinates(jnp.asarray(is_heavy), *leaves)


def _reach(draws: Float[Array, "N d"], ranges: float) -> Bool[np.ndarray, "d"]:
    quantiles = np.quantile(np.asarray(draws, np.float64), [0.01, 0.25, 0.75, 0.99], axis=0)
    lowest, low, high, highest = quantiles
    return (highest - lowest > ranges * (high - low)) & (high > low)


def _logprior(fn: Partial, coordinates: Coordinates, u: Array) -> Array:
    return fn(coordinates.back(u)) + coordinates.log_jacobian(u)


def _loglikelihood(fn: Partial, coordinates: Coordinates, u: Array) -> Array:
    return fn(coordinates.back(u))
