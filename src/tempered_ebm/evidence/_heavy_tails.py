r"""Coordinates in which heavy-tailed priors have exponential tails.

A coordinate whose draws from the prior reach far beyond their quartiles is written as

.. math:: z_i = m_i + s_i \sinh u_i, \qquad \log\left|\frac{dz_i}{du_i}\right| = \log s_i + \log\cosh u_i,

with the median m and half the interquartile range s. The Jacobian goes to the log prior, so that
the evidence is the same; a density with the tails of a Cauchy's has those of :math:`e^{-|u|}`,
which every reference covers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from tempered_ebm.target import TemperedTarget

_REACH = 10.0
"""From the 1 % to the 99 % quantile in interquartile ranges: 3.4 of a normal, 32 of a Cauchy."""


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


def from_draws(draws: Float[Array, "N d"]) -> Coordinates | None:
    """Return coordinates for a prior with such draws; None where no tail is heavy."""
    quantiles = np.quantile(np.asarray(draws, np.float64), [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
    lowest, low, median, high, highest = quantiles
    is_heavy = (highest - lowest > _REACH * (high - low)) & (high > low)
    if not is_heavy.any():
        return None
    scale = np.where(is_heavy, 0.5 * (high - low), 1.0)
    leaves = (jnp.asarray(leaf, draws.dtype) for leaf in (median, scale))
    return Coordinates(jnp.asarray(is_heavy), *leaves)


def _logprior(fn: Partial, coordinates: Coordinates, u: Array) -> Array:
    return fn(coordinates.back(u)) + coordinates.log_jacobian(u)


def _loglikelihood(fn: Partial, coordinates: Coordinates, u: Array) -> Array:
    return fn(coordinates.back(u))
