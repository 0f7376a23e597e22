"""Decisive checks of the pilot run: each raises AssertionError on a wrong one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te

NUM_LADDERS = 200


def run(path, num_temperatures=6, seed=0, **options):
    start = path.sample(np.random.default_rng(seed), 0.0, NUM_LADDERS)
    return te.pilot.run(
        jax.random.key(seed),
        path.target,
        jnp.asarray(start, jnp.float32),
        num_temperatures,
        **options,
    )


def true_equal_length(path, num_temperatures):
    """The fixed point of the adaptation on the true variances, in NumPy."""
    ladder = np.linspace(0, 1, num_temperatures)
    for _ in range(200):
        speed = np.sqrt([path.variance_loglikelihood(t) for t in ladder])
        length = np.concatenate([[0], np.cumsum(np.diff(ladder) * (speed[1:] + speed[:-1]) / 2)])
        ladder = np.interp(np.linspace(0, length[-1], num_temperatures), length, ladder)
    return ladder


def ladder_of_equal_length(path) -> None:
    """The pilot finds the ladder that the exact variances give.

    Relative errors of the variances are about .02 with 200 ladders of 3,200 correlated
    draws, and the ladder moves by at most as much: .02 is some five errors at its widest.
    """
    pilot = run(path, ladder="equal_length")
    expected = true_equal_length(path, 6)
    np.testing.assert_allclose(pilot.tuning.temperatures, expected, atol=0.02)


def ladder_of_equal_rejection(path) -> None:
    """On the frozen ladder all pairs swap at the same rate, within noise and rounding."""
    pilot = run(path)
    rates = np.asarray(pilot.swap_acceptance_rate)
    assert 0.2 < rates.mean() < 0.97
    assert np.ptp(1 - rates) < 0.1 * (1 - rates).mean(), rates


def rungs_are_tuned(path) -> None:
    """Acceptance rates reach the target on every rung, and metrics are the variances there."""
    pilot = run(path)
    np.testing.assert_allclose(pilot.acceptance_rate, 0.574, atol=0.03)
    metric = np.asarray(pilot.tuning.inverse_mass_matrix)
    for k, t in enumerate(np.asarray(pilot.tuning.temperatures, np.float64)):
        draws = path.sample(np.random.default_rng(k), t, 200_000)
        np.testing.assert_allclose(metric[k], draws.var(0), rtol=0.1, err_msg=f"t={t}")
        mean = path.mean_loglikelihood(t)
        spread = np.sqrt(path.variance_loglikelihood(t))
        assert abs(float(pilot.mean_loglikelihood[k]) - mean) < 0.05 * spread
        assert abs(float(pilot.variance_loglikelihood[k]) / spread**2 - 1) < 0.1
