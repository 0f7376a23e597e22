"""Decisive checks of the pilot run: each raises AssertionError on a wrong one.

Independent pilots give the error of their mean, without any estimate of autocorrelation.
What a pilot of finite length is biased by is the ``slack`` of each comparison.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tests import ground_truths as gt
from tests.kernels import checks_kernels as checks

NUM_PILOTS, NUM_LADDERS, NUM_TEMPERATURES = 32, 8, 6


def run(
    path,
    target=None,
    num_temperatures=NUM_TEMPERATURES,
    num_pilots=NUM_PILOTS,
    num_ladders=NUM_LADDERS,
    **options,
):
    """Independent pilots from exact draws of the prior; every leaf leads with their number."""
    start = path.sample(gt.rng(0), 0.0, num_pilots * num_ladders)
    start = start.reshape(num_pilots, num_ladders, *start.shape[1:])
    target = target or path.target

    @jax.jit
    @jax.vmap
    def pilots(key, start):
        return te.pilot.run(key, target, start, num_temperatures, **options)

    return pilots(jax.random.split(gt.key(0), num_pilots), jnp.asarray(start, jnp.float32))


def true_equal_length(path, num_temperatures):
    """The fixed point of the adaptation on the true variances, in NumPy."""
    ladder = np.linspace(0, 1, num_temperatures)
    for _ in range(200):
        speed = np.sqrt([path.variance_loglikelihood(t) for t in ladder])
        length = np.concatenate([[0], np.cumsum(np.diff(ladder) * (speed[1:] + speed[:-1]) / 2)])
        ladder = np.interp(np.linspace(0, length[-1], num_temperatures), length, ladder)
    return ladder


def ladder_of_equal_length(path) -> None:
    """The pilot finds the ladder that the exact variances give."""
    ladders = run(path, ladder="equal_length").tuning.temperatures
    expected = true_equal_length(path, NUM_TEMPERATURES)
    gt.assert_expectations(ladders[:, 1:-1], expected[1:-1], "ladder", slack=0.01)


def rungs_are_tuned(path) -> None:
    """On the frozen ladder pairs swap equally often, and every rung is tuned and measured."""
    pilot = run(path)
    rates = np.asarray(pilot.swap_acceptance_rate, np.float64)
    assert 0.2 < rates.mean() < 0.97, f"pairs swap at a rate of {rates.mean():.3f}"
    contrasts = rates - rates.mean(1, keepdims=True)
    gt.assert_expectations(contrasts, 0.0, "swap rates", slack=0.03 * (1 - rates.mean()))
    gt.assert_expectations(pilot.acceptance_rate, 0.574, "acceptance", slack=0.02)
    ladders = np.asarray(pilot.tuning.temperatures, np.float64)

    def exact(fn):
        return np.array([[fn(t) for t in ladder] for ladder in ladders])

    metric = np.asarray(pilot.tuning.inverse_mass_matrix) / exact(path.position_variance)
    gt.assert_expectations(metric, 1.0, "metric", slack=0.03)
    variance = exact(path.variance_loglikelihood)
    mean = (pilot.mean_loglikelihood - exact(path.mean_loglikelihood)) / np.sqrt(variance)
    gt.assert_expectations(mean, 0.0, "mean log-likelihood", slack=0.02)
    ratio = pilot.variance_loglikelihood / variance
    gt.assert_expectations(ratio, 1.0, "variance of the log-likelihood", slack=0.03)


def what_is_reported_was_measured_with_the_frozen_tuning() -> None:
    """After 15 steps of tuning the trials still jump; the reported rate is that of the last h.

    Under a flat likelihood every rung is the prior, and exact draws of it stay exact. Around
    the exact rate, a rate of 200 chains has a variance of at most 1/4 / 200.
    """
    path = gt.LINEAR_GAUSSIAN
    flat = te.TemperedTarget(path.target.logprior_fn, lambda z: 0.0 * jnp.sum(z, -1))
    pilot = run(path, flat, 2, 500, 200, num_rounds=2, num_steps=10)
    tuning = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), pilot.tuning)
    rng = gt.rng(1)
    expected = np.empty_like(tuning.step_size)
    for index in np.ndindex(expected.shape):
        draws = path.sample(rng, 0.0, 4_000)
        h, metric = tuning.step_size[index], tuning.inverse_mass_matrix[index]
        expected[index] = gt.langevin_acceptance(path, draws, 0.0, h, rng, metric).mean()
    error = np.asarray(pilot.acceptance_rate, np.float64) - expected
    checks.require_sharp(expected.std() > 0.01, "all pilots end alike")
    gt.assert_expectations(error, 0.0, "reported rates", slack=0.02)
    gt.assert_expectations(error**2, 0.0, "spread of the reported rates", slack=0.002)
