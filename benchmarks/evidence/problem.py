"""What an evidence problem is, and the priors that most of them share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

import tempered_ebm as te


@dataclass(frozen=True, eq=False)
class Problem:
    """A tempered path whose evidence is known.

    Attributes:
        name: unique in the benchmark.
        dimension: number of coordinates d; the target lives on all of R^d.
        target: normalised log prior and full log-likelihood of ``(..., d)`` positions, Jacobians
            of transformed parameters within the prior.
        sample_prior: ``(rng_key, n)`` to ``(n, d)`` exact draws.
        prior_transform: uniform numbers of shape ``(..., d)`` to draws from the prior, in NumPy.
        log_evidence: ``log E_prior[exp ℓ]``, in nats.
        truth_source: where that number comes from.
        truth_error: bound or standard error of it, in nats; 0 for a closed form in float64.
    """

    name: str
    dimension: int
    target: te.TemperedTarget
    sample_prior: Callable[[Array, int], Array]
    prior_transform: Callable[[np.ndarray], np.ndarray]
    log_evidence: float
    truth_source: str
    truth_error: float = 0.0


class Prior(NamedTuple):
    """A prior in the three forms that samplers ask for."""

    log_prob: Callable[[Array], Array]
    sample: Callable[[Array, int], Array]
    transform: Callable[[np.ndarray], np.ndarray]

    def problem(
        self,
        name: str,
        dimension: int,
        loglikelihood_fn: Callable[[Array], Array],
        log_evidence: float,
        truth_source: str,
        truth_error: float = 0.0,
    ) -> Problem:
        """Put a likelihood on top."""
        return Problem(
            name,
            dimension,
            te.TemperedTarget(self.log_prob, loglikelihood_fn),
            self.sample,
            self.transform,
            float(log_evidence),
            truth_source,
            truth_error,
        )


def normal_prior(mean: np.ndarray, covariance: np.ndarray) -> Prior:
    """``N(mean, covariance)``, by its Cholesky factor."""
    mean, factor = np.asarray(mean, float), np.linalg.cholesky(covariance)
    whitening = np.linalg.inv(factor)
    constant = -np.sum(np.log(np.diag(factor))) - 0.5 * len(mean) * math.log(2 * math.pi)

    def log_prob(z: Array) -> Array:
        white = (z - jnp.asarray(mean, z.dtype)) @ jnp.asarray(whitening.T, z.dtype)
        return constant - 0.5 * jnp.sum(white**2, -1)

    def sample(rng_key: Array, n: int) -> Array:
        return mean + jax.random.normal(rng_key, (n, len(mean))) @ jnp.asarray(factor.T)

    def transform(uniforms: np.ndarray) -> np.ndarray:
        return mean + special.ndtri(uniforms) @ factor.T

    return Prior(log_prob, sample, transform)


def standard_normal_prior(dimension: int, scale: float = 1.0) -> Prior:
    """``N(0, scale² I)``."""
    return normal_prior(np.zeros(dimension), scale**2 * np.eye(dimension))
