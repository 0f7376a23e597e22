"""Reference paths about which everything is known, and the rule for statistical tolerances.

Everything is NumPy in float64; nothing here calls the library except to wrap a target.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

import tempered_ebm as te

BASE_SEED = int(os.environ.get("TEMPERED_EBM_TEST_SEED", "0"))

BUDGET = 1e-6
"""Probability with which a correct library fails one run of the quick suite, at most."""
MAX_DECISIONS = 2_000
FALSE_ALARM = BUDGET / MAX_DECISIONS
"""Probability with which one decision rejects a correct library, over all its statistics."""

decisions = 0
"""Statistical decisions made by this process; ``conftest.py`` adds them up."""


def seed(n: int) -> int:
    """The ``n``-th seed under the base seed; ``n`` itself under base seed 0."""
    return n + 100_000 * BASE_SEED


def rng(n: int) -> np.random.Generator:
    return np.random.default_rng(seed(n))


def key(n: int) -> jax.Array:
    return jax.random.key(seed(n))


def count_decision() -> None:
    global decisions
    decisions += 1


def z_threshold(num_statistics: int, num_rows: float = math.inf) -> float:
    """Two-sided quantile for one decision about ``num_statistics`` means.

    Student's, for rows that are few: with ``num_rows`` rows of normal numbers it is exact.
    """
    count_decision()
    return float(stats.t.isf(FALSE_ALARM / (2 * num_statistics), num_rows - 1))


def z_scores(samples: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    """Z-scores of the means of independent rows against their expectations."""
    samples = np.asarray(samples, np.float64)
    error = samples.std(axis=0, ddof=1) / math.sqrt(samples.shape[0])
    return (samples.mean(axis=0) - expected) / np.maximum(error, 1e-12)


def assert_expectations(
    samples: np.ndarray, expected: np.ndarray | float, label: str = "", slack: float = 0.0
) -> None:
    """Assert that independent rows have these means, give or take a known bias.

    Skewness moves the tails of Student's statistic; the first term of its Edgeworth
    expansion (Johnson 1978) widens the limit by as much.
    """
    samples = np.asarray(samples, np.float64).reshape(len(samples), -1)
    z = z_scores(samples, expected)
    assert np.all(np.isfinite(z)), f"{label}: not finite"
    limit = z_threshold(z.size, len(samples))
    skewness = np.nan_to_num(stats.skew(samples, axis=0)) if samples.std(0).all() else 0.0
    limits = limit + np.abs(skewness) * (2 * limit**2 + 1) / (6 * math.sqrt(len(samples)))
    if slack:
        error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
        limits = limits + slack / error
    worst = np.argmax(np.abs(z) / limits)
    wrong = np.sum(np.abs(z) >= limits)
    assert not wrong, (
        f"{label}: z = {z[worst]:.1f} beyond {np.broadcast_to(limits, z.shape)[worst]:.1f}, "
        f"{wrong} of {z.size} means are wrong"
    )


def assert_law(samples: np.ndarray, cdf, label: str = "") -> None:
    """Kolmogorov-Smirnov test of independent scalars at the same false-alarm rate."""
    count_decision()
    p_value = stats.kstest(np.asarray(samples, np.float64), cdf).pvalue
    assert p_value > FALSE_ALARM, f"{label}: Kolmogorov-Smirnov p-value {p_value:.1e}"


class Moments(NamedTuple):
    mean: np.ndarray
    covariance: np.ndarray


def gaussian_kl(p: Moments, q: Moments) -> float:
    """KL(p || q) of two normals."""
    precision = np.linalg.inv(q.covariance)
    shift = q.mean - p.mean
    _, logdet = np.linalg.slogdet(precision @ p.covariance)
    trace = np.trace(precision @ p.covariance)
    return 0.5 * float(trace - len(shift) + shift @ precision @ shift - logdet)


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """Latent z ~ N(m0, S0) in the plane, x|z ~ N(Wz + b, s2 I) in three dimensions."""

    W: np.ndarray
    b: np.ndarray
    s2: float
    m0: np.ndarray
    S0: np.ndarray
    x: np.ndarray
    step_size: float = 0.12

    @property
    def target(self) -> te.TemperedTarget:
        prior_precision = np.linalg.inv(self.S0)
        prior_constant = -0.5 * np.linalg.slogdet(2 * np.pi * self.S0)[1]

        def logprior(z):
            d = z - jnp.asarray(self.m0, z.dtype)
            curvature = d @ jnp.asarray(prior_precision, z.dtype)
            return prior_constant - 0.5 * jnp.sum(curvature * d, -1)

        def loglikelihood(z):
            residual = jnp.asarray(self.x - self.b, z.dtype) - z @ jnp.asarray(self.W.T, z.dtype)
            return self.constant - 0.5 * jnp.sum(residual**2, -1) / self.s2

        return te.TemperedTarget(logprior, loglikelihood)

    @property
    def constant(self) -> float:
        return -0.5 * len(self.x) * math.log(2 * math.pi * self.s2)

    def precision(self, t: float) -> np.ndarray:
        return np.linalg.inv(self.S0) + t * self.W.T @ self.W / self.s2

    def moments(self, t: float) -> Moments:
        covariance = np.linalg.inv(self.precision(t))
        natural = np.linalg.solve(self.S0, self.m0) + t * self.W.T @ (self.x - self.b) / self.s2
        return Moments(covariance @ natural, covariance)

    def grad(self, z: np.ndarray, t: float) -> np.ndarray:
        return -(z - self.moments(t).mean) @ self.precision(t)

    def logdensity(self, z: np.ndarray, t: float) -> np.ndarray:
        d = z - self.moments(t).mean
        return -0.5 * np.einsum("ni,ij,nj->n", d, self.precision(t), d)

    def loglikelihood(self, z: np.ndarray) -> np.ndarray:
        residual = self.x - self.b - z @ self.W.T
        return self.constant - 0.5 * np.sum(residual**2, -1) / self.s2

    def _residual_moments(self, t: float) -> Moments:
        mean, covariance = self.moments(t)
        return Moments(self.x - self.b - self.W @ mean, self.W @ covariance @ self.W.T)

    def mean_loglikelihood(self, t: float) -> float:
        mean, covariance = self._residual_moments(t)
        return self.constant - 0.5 * float(mean @ mean + np.trace(covariance)) / self.s2

    def variance_loglikelihood(self, t: float) -> float:
        mean, covariance = self._residual_moments(t)
        quadratic = 2 * np.trace(covariance @ covariance) + 4 * mean @ covariance @ mean
        return float(quadratic) / (4 * self.s2**2)

    def position_variance(self, t: float) -> np.ndarray:
        return np.diag(self.moments(t).covariance)

    def log_z(self, t: float) -> float:
        mean, residual = self.moments(t).mean, self.x - self.b
        exponent = (
            mean @ self.precision(t) @ mean
            - self.m0 @ np.linalg.solve(self.S0, self.m0)
            - t * residual @ residual / self.s2
        )
        _, logdet = np.linalg.slogdet(self.S0 @ self.precision(t))
        return float(t * self.constant + 0.5 * exponent - 0.5 * logdet)

    def sample(self, rng: np.random.Generator, t: float, n: int) -> np.ndarray:
        return rng.multivariate_normal(*self.moments(t), size=n, method="cholesky")

    def statistics(self, z: np.ndarray) -> np.ndarray:
        second = np.einsum("ni,nj->nij", z, z).reshape(-1, 4)[:, [0, 1, 3]]
        return np.column_stack([z, second, self.loglikelihood(z)])

    def expected(self, t: float) -> np.ndarray:
        mean, covariance = self.moments(t)
        second = (covariance + np.outer(mean, mean)).ravel()[[0, 1, 3]]
        return np.concatenate([mean, second, [self.mean_loglikelihood(t)]])

    def assert_law(self, z: np.ndarray, t: float) -> None:
        mean, covariance = self.moments(t)
        for i in range(2):
            law = stats.norm(mean[i], math.sqrt(covariance[i, i])).cdf
            assert_law(z[:, i], law, f"t={t}, coordinate {i}")


LINEAR_GAUSSIAN = LinearGaussian(
    W=np.array([[1.0, 0.5], [-0.3, 2.0], [0.8, -1.0]]),
    b=np.array([0.1, -0.2, 0.3]),
    s2=0.5,
    m0=np.array([0.2, -0.1]),
    S0=np.array([[1.0, 0.3], [0.3, 0.5]]),
    x=np.array([1.5, -0.7, 2.0]),
)


class SkewedGamma:
    """The scalar path e^z ~ Gamma(1 + 2t, rate 1 + t)."""

    step_size = 0.8
    target = te.TemperedTarget(lambda z: z - jnp.exp(z), lambda z: 2 * z - jnp.exp(z))

    def shape_and_rate(self, t: float) -> tuple[float, float]:
        return 1 + 2 * t, 1 + t

    def grad(self, z: np.ndarray, t: float) -> np.ndarray:
        shape, rate = self.shape_and_rate(t)
        return shape - rate * np.exp(z)

    def logdensity(self, z: np.ndarray, t: float) -> np.ndarray:
        shape, rate = self.shape_and_rate(t)
        return shape * z - rate * np.exp(z)

    def loglikelihood(self, z: np.ndarray) -> np.ndarray:
        return 2 * z - np.exp(z)

    def mean_loglikelihood(self, t: float) -> float:
        shape, rate = self.shape_and_rate(t)
        return float(2 * (special.digamma(shape) - math.log(rate)) - shape / rate)

    def variance_loglikelihood(self, t: float) -> float:
        shape, rate = self.shape_and_rate(t)
        # Cov(log g, g) = 1 / rate for g ~ Gamma(shape, rate).
        return float(4 * special.polygamma(1, shape) + shape / rate**2 - 4 / rate)

    def position_variance(self, t: float) -> float:
        return float(special.polygamma(1, self.shape_and_rate(t)[0]))

    def log_z(self, t: float) -> float:
        shape, rate = self.shape_and_rate(t)
        return float(special.gammaln(shape) - shape * math.log(rate))

    def sample(self, rng: np.random.Generator, t: float, n: int) -> np.ndarray:
        shape, rate = self.shape_and_rate(t)
        # A Gamma variable of small shape underflows; its logarithm does not.
        return np.log(rng.gamma(shape + 1, size=n)) + np.log(rng.random(n)) / shape - np.log(rate)

    def statistics(self, z: np.ndarray) -> np.ndarray:
        return np.column_stack([z, z**2, np.exp(z), self.loglikelihood(z)])

    def expected(self, t: float) -> np.ndarray:
        shape, rate = self.shape_and_rate(t)
        mean = special.digamma(shape) - math.log(rate)
        second = special.polygamma(1, shape) + mean**2
        return np.array([mean, second, shape / rate, self.mean_loglikelihood(t)])

    def assert_law(self, z: np.ndarray, t: float) -> None:
        shape, rate = self.shape_and_rate(t)
        assert_law(z, stats.loggamma(shape, loc=-math.log(rate)).cdf, f"t={t}")


SKEWED_GAMMA = SkewedGamma()

REFERENCE_PATHS = {"linear_gaussian": LINEAR_GAUSSIAN, "skewed_gamma": SKEWED_GAMMA}


_COMPILED: dict = {}


def compiled(key, make):
    """A compiled program that checks share; ``forget_compiled`` before the code changes."""
    if key not in _COMPILED:
        _COMPILED[key] = make()
    return _COMPILED[key]


def forget_compiled() -> None:
    """Have every program compiled afresh."""
    _COMPILED.clear()


def name_of(path) -> str:
    """Name of a reference path, which can be a key where the path itself cannot."""
    return next(name for name, known in REFERENCE_PATHS.items() if known is path)


def langevin_acceptance(path, z: np.ndarray, t: float, h: float, rng, metric=1.0) -> np.ndarray:
    """Metropolis-Hastings probabilities of Langevin proposals, from the two proposal densities."""
    new = z + h * metric * path.grad(z, t) + np.sqrt(2 * h * metric) * rng.standard_normal(z.shape)

    def log_proposal(start, end):
        squares = (end - start - h * metric * path.grad(start, t)) ** 2 / (4 * h * metric)
        return -squares.reshape(len(z), -1).sum(-1)

    log_ratio = path.logdensity(new, t) - path.logdensity(z, t)
    log_ratio += log_proposal(new, z) - log_proposal(z, new)
    return np.exp(np.minimum(log_ratio, 0.0))
