"""Evidences computed once, slowly, in float64: quadrature and importance sampling.

Nothing here shares code with the samplers that are measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special, stats

from benchmarks.evidence.problem import Problem

_CHUNK = 20_000


class Truth(NamedTuple):
    """A log-evidence in nats and a bound, or standard error, of it."""

    log_evidence: float
    error: float


class Laplace(NamedTuple):
    """The mode of a posterior, its inverse negative Hessian, and the height there."""

    mode: np.ndarray
    covariance: np.ndarray
    logdensity: float

    @property
    def log_evidence(self) -> float:
        """The Laplace approximation of the log-evidence."""
        return self.logdensity + 0.5 * np.linalg.slogdet(2 * math.pi * self.covariance)[1]


def _logdensity(problem: Problem) -> Callable:
    return jax.jit(lambda z: problem.target.logdensity(z, 1.0))


def laplace(problem: Problem, start: np.ndarray | None = None) -> Laplace:
    """Climb from ``start`` (the prior's median) by BFGS and Newton steps."""
    with jax.enable_x64(True):
        fn = _logdensity(problem)
        gradient, hessian = jax.jit(jax.grad(fn)), jax.jit(jax.hessian(fn))
        median = problem.prior_transform(np.full(problem.dimension, 0.5))
        start = median if start is None else start
        mode = optimize.minimize(lambda z: -float(fn(z)), start, jac=lambda z: -gradient(z)).x
        for _ in range(20):
            mode = mode - np.linalg.solve(np.asarray(hessian(mode)), np.asarray(gradient(mode)))
        return Laplace(mode, np.linalg.inv(-np.asarray(hessian(mode))), float(fn(mode)))


def _values(problem: Problem, points: np.ndarray) -> np.ndarray:
    fn = _logdensity(problem)
    chunks = [points[i : i + _CHUNK] for i in range(0, len(points), _CHUNK)]
    return np.concatenate([np.asarray(fn(jnp.asarray(chunk))) for chunk in chunks])


def gauss_hermite(problem: Problem, orders: tuple[int, int]) -> Truth:
    """Tensor Gauss-Hermite quadrature about the mode; the two orders' difference is the error.

    With ``z = m + √2 L x`` and ``L Lᵀ`` the Laplace covariance,
    ``∫ p = 2^{d/2} |L| ∫ p(z) e^{x²} e^{-x²} dx`` (Naylor and Smith 1982).
    """
    fit = laplace(problem)
    factor = np.linalg.cholesky(fit.covariance)
    constant = 0.5 * problem.dimension * math.log(2) + np.sum(np.log(np.diag(factor)))

    def integral(order: int) -> float:
        nodes, weights = special.roots_hermite(order)
        x = np.array(list(itertools.product(nodes, repeat=problem.dimension)))
        log_weights = sum(np.meshgrid(*[np.log(weights)] * problem.dimension, indexing="ij"))
        z = fit.mode + math.sqrt(2) * x @ factor.T
        terms = log_weights.ravel() + np.sum(x**2, -1) + _values(problem, z)
        return float(special.logsumexp(terms) + constant)

    with jax.enable_x64(True):
        low, high = (integral(order) for order in orders)
    return Truth(high, abs(high - low))


def _proposals(fit: Laplace, freedom: float, total: int, seed: int) -> Iterator[tuple]:
    law = stats.multivariate_t(fit.mode, fit.covariance, df=freedom)
    rng = np.random.default_rng(seed)
    for _ in range(0, total, 200_000):
        z = law.rvs(200_000, random_state=rng).reshape(200_000, -1)
        yield z, law.logpdf(z)


def importance_sampling(
    problem: Problem, total: int = 2_000_000, freedom: float = 5.0, seed: int = 0
) -> Truth:
    """Importance sampling from a Student-t at the mode, exact draws and heavier tails.

    ``p(x) = E_t[p(z) L(z) / t(z)]``, so the estimate of the evidence is unbiased; the error is
    the standard error of its logarithm (Geweke 1989).
    """
    fit = laplace(problem)
    with jax.enable_x64(True):
        logs = np.concatenate(
            [_values(problem, z) - law for z, law in _proposals(fit, freedom, total, seed)]
        )
    top = logs.max()
    weights = np.exp(logs - top)
    error = weights.std() / math.sqrt(len(weights)) / weights.mean()
    return Truth(float(top + math.log(weights.mean())), float(error))
