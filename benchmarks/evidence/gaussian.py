"""Problems whose evidence is a sum of normal densities."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special, stats

from benchmarks.evidence.problem import Problem, normal_prior, standard_normal_prior


def _linear_gaussian(
    name: str,
    design: np.ndarray,
    offset: np.ndarray,
    noise_variance: float,
    mean: np.ndarray,
    covariance: np.ndarray,
    x: np.ndarray,
) -> Problem:
    constant = -0.5 * len(x) * math.log(2 * math.pi * noise_variance)

    def loglikelihood(z: Array) -> Array:
        residual = jnp.asarray(x - offset, z.dtype) - z @ jnp.asarray(design.T, z.dtype)
        return constant - 0.5 * jnp.sum(residual**2, -1) / noise_variance

    marginal = stats.multivariate_normal(
        design @ mean + offset, design @ covariance @ design.T + noise_variance * np.eye(len(x))
    )
    return normal_prior(mean, covariance).problem(
        name, len(mean), loglikelihood, marginal.logpdf(x), "closed form: x is normal"
    )


def linear_gaussian(dimension: int) -> Problem:
    r"""A linear model: ``z ~ N(m, S)``, ``x | z ~ N(W z + b, σ² I)``.

    ``log p(x) = log N(x; W m + b, W S Wᵀ + σ² I)``. In two dimensions the model is a fixed small
    one with correlated prior; else a regression on ``2 d + 20`` rows of covariates whose
    neighbours correlate by one half, standard normal coefficients and σ = 0.5.
    """
    name = f"linear-gaussian-{dimension}"
    if dimension == 2:
        return _linear_gaussian(
            name,
            design=np.array([[1.0, 0.5], [-0.3, 2.0], [0.8, -1.0]]),
            offset=np.array([0.1, -0.2, 0.3]),
            noise_variance=0.5,
            mean=np.array([0.2, -0.1]),
            covariance=np.array([[1.0, 0.3], [0.3, 0.5]]),
            x=np.array([1.5, -0.7, 2.0]),
        )
    rng = np.random.default_rng(dimension)
    lag = np.abs(np.subtract.outer(np.arange(dimension), np.arange(dimension)))
    rows = rng.standard_normal((2 * dimension + 20, dimension))
    design = rows @ np.linalg.cholesky(0.5**lag).T
    x = design @ rng.standard_normal(dimension) + 0.5 * rng.standard_normal(len(design))
    return _linear_gaussian(
        name, design, np.zeros(len(x)), 0.25, np.zeros(dimension), np.eye(dimension), x
    )


def _mixture(
    name: str,
    prior_scale: float,
    weights: np.ndarray,
    centres: np.ndarray,
    scales: np.ndarray,
) -> Problem:
    """Likelihood ``Σ w N(z; c, s² I)`` under ``N(0, S² I)``: evidence ``Σ w N(c; 0, S² + s²)``."""
    dimension = centres.shape[1]
    log_norms = np.log(weights) - dimension * np.log(scales * math.sqrt(2 * math.pi))

    def loglikelihood(z: Array) -> Array:
        shift = (z[..., None, :] - jnp.asarray(centres, z.dtype)) / jnp.asarray(
            scales[:, None], z.dtype
        )
        terms = jnp.asarray(log_norms, z.dtype) - 0.5 * jnp.sum(shift**2, -1)
        return jax.nn.logsumexp(terms, axis=-1)

    spread = np.sqrt(prior_scale**2 + scales**2)
    logs = stats.norm.logpdf(centres, scale=spread[:, None]).sum(1) + np.log(weights)
    return standard_normal_prior(dimension, prior_scale).problem(
        name, dimension, loglikelihood, special.logsumexp(logs), "closed form: a sum of normals"
    )


def mixture(dimension: int) -> Problem:
    """Four modes of unequal mass and width, ten or more of their standard deviations apart."""
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    centres = 3.0 * np.tile(signs, (1, dimension // 2 + 1))[:, :dimension]
    return _mixture(
        f"mixture-{dimension}",
        prior_scale=3.0,
        weights=np.array([0.4, 0.3, 0.2, 0.1]),
        centres=centres / math.sqrt(dimension / 2),
        scales=np.array([0.3, 0.4, 0.5, 0.3]),
    )


def phase_transition(dimension: int) -> Problem:
    """A slab that rules for t below about 0.8, and a spike that holds 99 % of the evidence.

    Skilling's (2006) example of a first-order transition: the log-likelihood as a function of
    the prior mass left is not concave, so that cooling carries every particle into the slab
    and the spike, ten times narrower in every coordinate, is not found from there.
    """
    return _mixture(
        f"phase-transition-{dimension}",
        prior_scale=1.0,
        weights=np.array([0.01, 0.99]),
        centres=np.stack([np.zeros(dimension), np.full(dimension, 0.6 / math.sqrt(dimension))]),
        scales=np.array([0.5, 0.05]),
    )
