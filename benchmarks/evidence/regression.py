"""Bayesian regressions: counts, yes and no, and timber."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

from benchmarks.evidence.problem import Prior, Problem, standard_normal_prior


def poisson_regression() -> Problem:
    """Sixty counts with a log-linear mean: intercept and two slopes under N(0, I)."""
    rng = np.random.default_rng(2)
    design = np.column_stack([np.ones(60), rng.standard_normal((60, 2))])
    counts = rng.poisson(np.exp(design @ np.array([0.5, 0.8, -0.4])))
    constant = -float(np.sum(special.gammaln(counts + 1)))

    def loglikelihood(z: Array) -> Array:
        log_mean = z @ jnp.asarray(design.T, z.dtype)
        return constant + jnp.sum(jnp.asarray(counts, z.dtype) * log_mean - jnp.exp(log_mean), -1)

    return standard_normal_prior(3).problem(
        "poisson-regression",
        3,
        loglikelihood,
        -104.7772892066,
        "tensor Gauss-Hermite quadrature, truths.gauss_hermite(poisson_regression(), (40, 60))",
        1e-6,
    )


def logistic_regression() -> Problem:
    """Yes and no for 532 rows, as many as Pima has: intercept and seven slopes under N(0, 10² I).

    Covariates are standardised and share a common factor, as those of medical data do.
    """
    rng = np.random.default_rng(3)
    covariates = rng.standard_normal((532, 7)) + 0.7 * rng.standard_normal((532, 1))
    covariates = (covariates - covariates.mean(0)) / covariates.std(0)
    design = np.column_stack([np.ones(532), covariates])
    truth = np.array([-1.0, 0.4, 1.1, -0.1, 0.0, 0.6, 0.4, 0.3])
    labels = rng.random(532) < special.expit(design @ truth)
    signed = np.where(labels, 1.0, -1.0)[:, None] * design

    def loglikelihood(z: Array) -> Array:
        return jnp.sum(jax.nn.log_sigmoid(z @ jnp.asarray(signed.T, z.dtype)), -1)

    return standard_normal_prior(8, 10.0).problem(
        "logistic-regression",
        8,
        loglikelihood,
        -287.6454,
        "2,000,000 Student-t importance draws, truths.importance_sampling(logistic_regression())",
        5e-4,
    )


_MEAN = np.array([3000.0, 185.0])
_PRIOR_PRECISIONS = np.array([0.06, 6.0])
_SHAPE, _RATE = 3.0, 180_000.0
_UNITS = np.array([1000.0, 100.0])
_TYPICAL_PRECISION = _SHAPE / _RATE


def conjugate_evidence(covariate: np.ndarray, y: np.ndarray) -> float:
    r"""Evidence of ``y = α + γ (x - x̄)`` under the normal-gamma prior, in closed form.

    With R prior precisions, X the design, :math:`R_n = R + XᵀX`,
    :math:`m_n = R_n^{-1}(R m + Xᵀy)`, :math:`a_n = a + n/2` and
    :math:`b_n = b + ½(yᵀy + mᵀRm - m_nᵀ R_n m_n)`,

    .. math:: p(y) = (2π)^{-n/2} \\sqrt{|R| / |R_n|}
              \\frac{b^a Γ(a_n)}{b_n^{a_n} Γ(a)}.
    """
    design = np.column_stack([np.ones(len(y)), covariate - covariate.mean()])
    prior = np.diag(_PRIOR_PRECISIONS)
    posterior = prior + design.T @ design
    mean = np.linalg.solve(posterior, prior @ _MEAN + design.T @ y)
    shape = _SHAPE + 0.5 * len(y)
    rate = _RATE + 0.5 * (y @ y + _MEAN @ prior @ _MEAN - mean @ posterior @ mean)
    half_log_determinants = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(posterior)[1])
    gamma = special.gammaln(shape) - special.gammaln(_SHAPE)
    powers = _SHAPE * math.log(_RATE) - shape * math.log(rate)
    return float(-0.5 * len(y) * math.log(2 * math.pi) + half_log_determinants + gamma + powers)


class Timber:
    """Strength of 42 specimens, and their density, plain and adjusted for resin."""

    def __init__(self, path: Path | None) -> None:
        if path is not None and path.exists():
            lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
            table = np.array([[float(v) for v in row.values()] for row in csv.DictReader(lines)])
            self.strength, self.density, self.adjusted = table.T
            self.origin = "Williams (1959)"
        else:
            self.strength, self.density, self.adjusted = _look_alike().T
            self.origin = "look-alike"


def _look_alike() -> np.ndarray:
    """Generated strengths and densities with about the moments of Williams's."""
    rng = np.random.default_rng(4)
    adjusted = 25.6 + 4.6 * rng.standard_normal(42)
    density = adjusted + 1.5 + 1.3 * rng.standard_normal(42)
    strength = 2992 + 183 * (adjusted - 25.6) + 280 * rng.standard_normal(42)
    return np.column_stack([strength.round(), density.round(1), adjusted.round(1)])


def _timber_prior() -> Prior:
    """``(a, g, s)`` with α = 3000 + 1000 a, γ = 185 + 100 g, τ = (3 / 180000) e^s.

    α and γ given τ are normal with precisions .06 τ and 6 τ, and τ is Gamma(3, rate 180000), so
    that ``3 e^s`` is Gamma(3). The units are the prior's, to keep float32 and unit steps honest.
    """
    log_scales = -0.5 * np.log(_PRIOR_PRECISIONS * _TYPICAL_PRECISION) - np.log(_UNITS)
    constant = _SHAPE * math.log(_SHAPE) - special.gammaln(_SHAPE) - math.log(2 * math.pi)

    def log_prob(z: Array) -> Array:
        log_sd = jnp.asarray(log_scales, z.dtype) - 0.5 * z[..., 2:]
        normal = jnp.sum(-0.5 * (z[..., :2] * jnp.exp(-log_sd)) ** 2 - log_sd, -1)
        return constant + normal + _SHAPE * (z[..., 2] - jnp.exp(z[..., 2]))

    def scaled(normals: Array, s: Array, xp: Any) -> Array:
        sd = xp.exp(log_scales - 0.5 * s[..., None])
        return xp.concatenate([normals * sd, s[..., None]], -1)

    def sample(rng_key: Array, n: int) -> Array:
        normal_key, gamma_key = jax.random.split(rng_key)
        s = jnp.log(jax.random.gamma(gamma_key, _SHAPE, (n,)) / _SHAPE)
        return scaled(jax.random.normal(normal_key, (n, 2)), s, jnp)

    def transform(uniforms: np.ndarray) -> np.ndarray:
        s = np.log(special.gammaincinv(_SHAPE, uniforms[..., 2]) / _SHAPE)
        return scaled(special.ndtri(uniforms[..., :2]), s, np)

    return Prior(log_prob, sample, transform)


def radiata_pine(adjusted: bool, path: Path | None = None) -> Problem:
    """Strength of radiata pine against its density (Friel and Wyse 2012): three parameters.

    ``y = α + γ (x - x̄) + N(0, 1/τ)``. Without the data, at ``path``, a generated look-alike takes
    its place; the evidence is in closed form for either.
    """
    timber = Timber(path)
    x, y = (timber.adjusted if adjusted else timber.density), timber.strength
    centred = x - x.mean()
    constant = 0.5 * len(y) * (math.log(_TYPICAL_PRECISION) - math.log(2 * math.pi))

    def loglikelihood(z: Array) -> Array:
        alpha, gamma = _MEAN[0] + _UNITS[0] * z[..., 0], _MEAN[1] + _UNITS[1] * z[..., 1]
        fitted = alpha[..., None] + gamma[..., None] * jnp.asarray(centred, z.dtype)
        squares = jnp.sum((jnp.asarray(y, z.dtype) - fitted) ** 2, -1)
        precision = _TYPICAL_PRECISION * jnp.exp(z[..., 2])
        return constant + 0.5 * len(y) * z[..., 2] - 0.5 * precision * squares

    return _timber_prior().problem(
        "radiata-adjusted" if adjusted else "radiata-density",
        3,
        loglikelihood,
        conjugate_evidence(x, y),
        f"closed form, normal-gamma; data: {timber.origin}",
    )
