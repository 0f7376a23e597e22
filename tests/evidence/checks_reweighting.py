"""Decisive checks of the reweighting estimators: each raises AssertionError on a wrong one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_evidence as checks

ESTIMATORS = {
    "stepping_stone": te.stepping_stone,
    "reverse_stepping_stone": lambda t, draws: te.stepping_stone(t, draws, direction="reverse"),
    "bar": te.bar,
    "mbar": te.mbar,
}
JITTED = {name: jax.jit(fn) for name, fn in ESTIMATORS.items()}
"""One program for each shape, in the place of one for each operation."""

NUM_SETS = 500


def _bennett(h: float, low: np.ndarray, high: np.ndarray) -> float:
    """Root of Bennett's equation between two temperatures, by bisection."""

    def imbalance(c: float) -> float:
        return special.expit(h * low - c).sum() - special.expit(c - h * high).sum()

    return optimize.brentq(imbalance, -100.0, 100.0, xtol=1e-13)


def _self_consistent(ladder: np.ndarray, draws: np.ndarray) -> float:
    """Fixed-point iteration of the MBAR equations, as they are written."""
    pooled, numbers = draws.ravel(), np.log(draws.shape[1]) * np.ones(len(ladder))
    f = np.zeros(len(ladder))
    for _ in range(20_000):
        log_mixture = special.logsumexp(numbers + np.outer(pooled, ladder) - f, axis=1)
        new = special.logsumexp(np.outer(pooled, ladder) - log_mixture[:, None], axis=0)
        new -= new[0]
        if np.abs(new - f).max() < 1e-13:
            break
        f = new
    return float(f[-1])


def equations_are_solved() -> None:
    """On a few fixed draws every estimator solves its own equation, to 1e-8 in float64."""
    for path in gt.REFERENCE_PATHS.values():
        ladder = checks.power_ladder(4)
        draws = checks.exact_draws(path, ladder, 50, seed=1)
        steps = np.diff(ladder)
        pairs = list(zip(steps, draws[:-1], draws[1:], strict=True))
        expected = {
            "stepping_stone": sum(np.log(np.mean(np.exp(h * a))) for h, a, _ in pairs),
            "reverse_stepping_stone": -sum(np.log(np.mean(np.exp(-h * b))) for h, _, b in pairs),
            "bar": sum(_bennett(h, a, b) for h, a, b in pairs),
            "mbar": _self_consistent(ladder, draws),
        }
        with jax.enable_x64(True):
            for name, estimator in JITTED.items():
                got = float(estimator(ladder, draws).log_evidence)
                np.testing.assert_allclose(got, expected[name], atol=1e-8, err_msg=name)


def ground_truth(path, name: str, num: int) -> None:
    """Exact draws in float32: within Monte Carlo error of the truth, without discretisation.

    Reverse weights over a first step from a Gaussian prior have moments up to about 0.08 over
    its length; their error needs the fourth, and so twice the rungs.
    """
    ladder = checks.power_ladder(2 * num if name.startswith("reverse") else num)
    draws = checks.exact_draws(path, ladder, 40_000, seed=num).astype(np.float32)
    estimate = JITTED[name](jnp.asarray(ladder, jnp.float32), draws)
    error = float(estimate.standard_error)
    assert 0 < error < 0.05
    z = (float(estimate.log_evidence) - path.log_z(1.0)) / error
    # Batch means of 32 batches: Student's with 31 degrees of freedom.
    limit = gt.z_threshold(1, 32)
    assert abs(z) < limit, f"{name}, K={num}: z = {z}"
    slack = limit * error
    assert float(estimate.lower_bound) - slack < path.log_z(1.0)
    assert path.log_z(1.0) < float(estimate.upper_bound) + slack
    assert float(estimate.discretization_error) == 0


def calibration(name: str, kind: str) -> None:
    """The standard error is honest, for independent and correlated draws."""
    path, ladder, rng = gt.LINEAR_GAUSSIAN, checks.power_ladder(5), gt.rng(7)
    shape = {
        "independent": (NUM_SETS, 5, 256, 2),
        "across draws": (NUM_SETS, 5, 768, 2),
        "across rungs": (NUM_SETS, 5, 256, 2),
    }[kind]
    if kind == "independent":
        noise = rng.standard_normal(shape)
    else:
        rho, axis = (0.8, 2) if kind == "across draws" else (0.99, 1)
        noise = checks.autoregressive(rng, shape, rho, axis)
    draws = checks.loglikelihood_of_normals(path, ladder, noise).astype(np.float32)
    estimate = jax.jit(
        lambda draws: jax.lax.map(
            lambda d: ESTIMATORS[name](jnp.asarray(ladder, jnp.float32), d)[:2],
            draws,
            batch_size=50,
        )
    )(draws)
    values, errors = (np.asarray(v, np.float64) for v in estimate)
    squares = ((values - path.log_z(1.0)) / errors) ** 2
    low, high = (limit**2 for limit in checks.HONEST)
    gt.assert_expectations(squares, (high + low) / 2, f"{name}, {kind}", slack=(high - low) / 2)


def jensen_biases_point_apart() -> None:
    """With few draws forward is low and reverse is high, on average over many data sets."""
    path, ladder = gt.LINEAR_GAUSSIAN, checks.power_ladder(4)
    noise = gt.rng(11).standard_normal((4_000, 4, 10, 2))
    draws = jnp.asarray(checks.loglikelihood_of_normals(path, ladder, noise), jnp.float32)
    temperatures = jnp.asarray(ladder, jnp.float32)
    for name, sign in (("stepping_stone", -1), ("reverse_stepping_stone", 1)):
        values = jax.jit(jax.vmap(lambda d, n=name: ESTIMATORS[n](temperatures, d)[0]))(draws)
        bias = np.asarray(values, np.float64) - path.log_z(1.0)
        z = gt.z_scores(bias, 0.0)
        assert sign * z > gt.z_threshold(1, len(bias)), f"{name}: z = {z}"
