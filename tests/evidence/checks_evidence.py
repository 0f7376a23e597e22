"""Decisive checks of evidence estimation: each raises AssertionError on a wrong estimator."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tests import ground_truths as gt

RULES = ("trapezoid", "corrected_trapezoid")


def compiled(module, name: str, *static: str):
    """A function of the library as one program, in the place of one for each of its operations.

    It is looked up in its module when it is called, so that planted bugs are in it.
    """

    def call(*args, **kwargs):
        return jax.jit(getattr(module, name), static_argnames=static)(*args, **kwargs)

    return call


thermodynamic_integration = compiled(te, "thermodynamic_integration", "rule")


def power_ladder(num: int, p: float = 3.0) -> np.ndarray:
    return (np.arange(num) / (num - 1)) ** p


def rule_value(path, ladder: np.ndarray, rule: str) -> float:
    """The rule applied to the exact integrand, written with explicit sums."""
    value = 0.0
    for low, high in itertools.pairwise(ladder):
        h = high - low
        value += h * (path.mean_loglikelihood(low) + path.mean_loglikelihood(high)) / 2
        if rule == "corrected_trapezoid":
            difference = path.variance_loglikelihood(high) - path.variance_loglikelihood(low)
            value -= h**2 * difference / 12
    return value


def draws_with_exact_moments(path, ladder: np.ndarray) -> np.ndarray:
    """Two draws a rung whose sample mean and unbiased variance are the exact moments."""
    mean = np.array([path.mean_loglikelihood(t) for t in ladder])
    spread = np.sqrt([path.variance_loglikelihood(t) / 2 for t in ladder])
    return np.stack([mean - spread, mean + spread], axis=1)


def exact_draws(path, ladder, n: int, seed: int) -> np.ndarray:
    rng = gt.rng(seed)
    return np.stack([path.loglikelihood(path.sample(rng, t, n)) for t in ladder])


def rules_are_exact_sums() -> None:
    """On draws with the exact moments each rule gives its closed-form value, to 1e-12."""
    with jax.enable_x64(True):
        for path in gt.REFERENCE_PATHS.values():
            for ladder in (power_ladder(10), np.array([0.0, 0.1, 0.15, 0.5, 1.0])):
                draws = draws_with_exact_moments(path, ladder)
                for rule in RULES:
                    estimate = thermodynamic_integration(ladder, draws, rule=rule)
                    expected = rule_value(path, ladder, rule)
                    np.testing.assert_allclose(estimate.log_evidence, expected, rtol=1e-12)
                difference = rule_value(path, ladder, RULES[1]) - rule_value(path, ladder, RULES[0])
                np.testing.assert_allclose(estimate.discretization_error, difference, rtol=1e-10)


def ground_truth(path, num: int, rule: str, discretization: float) -> None:
    """Exact draws: within Monte Carlo error of the rule, and within discretisation of the truth."""
    ladder = power_ladder(num)
    draws = exact_draws(path, ladder, 80_000, seed=num)
    with jax.enable_x64(True):
        estimate = thermodynamic_integration(ladder, draws, rule=rule)
    error = float(estimate.standard_error)
    assert 0 < error < 0.1
    z = (float(estimate.log_evidence) - rule_value(path, ladder, rule)) / error
    limit = gt.z_threshold(3)
    assert abs(z) < limit, f"{rule}, K={num}: z = {z}"
    truth = path.log_z(1.0)
    assert abs(rule_value(path, ladder, rule) - truth) < discretization
    slack = limit * error
    assert float(estimate.lower_bound) - slack <= truth <= float(estimate.upper_bound) + slack


def estimate_many(ladder, draws: np.ndarray, rule: str):
    """Evidence of independent data sets, ``draws`` of shape (seeds, K, draws[, chains])."""
    estimate = jax.jit(
        jax.vmap(lambda d: te.thermodynamic_integration(jnp.asarray(ladder), d, rule=rule))
    )(jnp.asarray(draws))
    return estimate.log_evidence, estimate.standard_error


def autoregressive(rng, shape: tuple[int, ...], rho: float, axis: int) -> np.ndarray:
    """A stationary AR(1) series of standard normals along one axis."""
    noise = np.moveaxis(rng.standard_normal(shape), axis, 0)
    out = np.empty_like(noise)
    out[0] = noise[0]
    for i in range(1, len(noise)):
        out[i] = rho * out[i - 1] + math.sqrt(1 - rho**2) * noise[i]
    return np.moveaxis(out, 0, axis)


def loglikelihood_of_normals(path, ladder, noise: np.ndarray) -> np.ndarray:
    """Map standard normals (seeds, K, ..., 2) to exact draws of l on each rung."""
    rungs = []
    for k, t in enumerate(ladder):
        mean, covariance = path.moments(t)
        z = mean + noise[:, k] @ np.linalg.cholesky(covariance).T
        rungs.append(path.loglikelihood(z.reshape(-1, 2)).reshape(z.shape[:-1]))
    return np.stack(rungs, axis=1)


SEEDS = 1_200
HONEST = (0.8, 1.25)
"""Between these an error bar may be of its estimate's standard deviation."""


def calibration(kind: str) -> None:
    """The standard error is honest, for independent, correlated and many-chain draws.

    The mean of the squared errors, in squared error bars, must not lie beyond the squares
    of the limits by more than its own sampling error explains.
    """
    path, ladder, rng = gt.LINEAR_GAUSSIAN, power_ladder(6), gt.rng(3)
    K = len(ladder)
    if kind == "independent":
        noise = rng.standard_normal((SEEDS, K, 256, 2))
    elif kind == "across draws":
        noise = autoregressive(rng, (SEEDS, K, 1_024, 2), 0.8, axis=2)
    elif kind == "across rungs":
        noise = autoregressive(rng, (SEEDS, K, 256, 2), 0.99, axis=1)
    elif kind == "chains":
        noise = autoregressive(rng, (SEEDS, K, 256, 4, 2), 0.8, axis=2)
    draws = loglikelihood_of_normals(path, ladder, noise)
    low, high = (limit**2 for limit in HONEST)
    for rule in RULES:
        estimates, errors = estimate_many(ladder, draws, rule)
        z = np.asarray(estimates, np.float64) - rule_value(path, ladder, rule)
        squares = (z / np.asarray(errors, np.float64)) ** 2
        slack = (high - low) / 2
        gt.assert_expectations(squares, (high + low) / 2, f"{kind}, {rule}", slack=slack)
