"""Decisive checks of the diagnostics: each raises AssertionError on a wrong one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from tempered_ebm import diagnostics
from tests import ground_truths as gt

# Rungs of three replicas state by state; restarts and round trips of all of them.
JOURNEYS = {
    "nobody moves": (([0, 0, 0], [1, 1, 1], [2, 2, 2]), 0, 0),
    "to the middle": (([0, 1, 1], [1, 0, 0], [2, 2, 2]), 0, 0),
    "to the posterior": (([0, 1, 2], [1, 0, 0], [2, 2, 1]), 1, 0),
    "back to the middle": (([0, 1, 2, 1, 1], [1, 0, 0, 0, 0], [2, 2, 1, 2, 2]), 1, 0),
    "there and back": (([0, 1, 2, 2, 1, 0], [1, 0, 0, 0, 0, 1], [2, 2, 1, 1, 2, 2]), 1, 1),
    "down from the posterior counts nothing": (
        ([0, 1, 1, 1, 2, 2], [1, 2, 2, 2, 1, 1], [2, 0, 0, 0, 0, 0]), 1, 0,
    ),
    "a visit to the prior on the way": (
        ([0, 1, 0, 1, 2], [1, 0, 1, 0, 0], [2, 2, 2, 2, 1]), 1, 0,
    ),
}  # fmt: skip


def from_rungs(*rungs_of_replicas):
    """Trace (num_states, K) in which replica i walks through ``rungs_of_replicas[i]``."""
    return jnp.asarray(np.argsort(np.array(rungs_of_replicas), axis=0).T)


def journey(name: str) -> None:
    rungs_of_replicas, restarts, round_trips = JOURNEYS[name]
    flow = diagnostics.replica_flow(from_rungs(*rungs_of_replicas))
    counted = int(flow.restarts), int(flow.round_trips)
    assert counted == (restarts, round_trips), f"restarts and round trips {counted}"


def barrier_adds_up_rejections(ladder, rejection) -> None:
    barrier = diagnostics.communication_barrier(ladder, 1 - rejection)
    expected = np.concatenate([[0], np.cumsum(rejection)])
    np.testing.assert_allclose(barrier.cumulative, expected, rtol=1e-5, atol=1e-7)
    assert barrier.total == barrier.cumulative[-1]


def trace_of(energy):
    return diagnostics.EnergyTrace(jnp.asarray(energy), jnp.abs(jnp.asarray(energy)))


def drift_scores_follow_students_law(num_runs: int = 5_000) -> None:
    """Autocorrelated chains that share nothing: the slopes are independent normals."""
    rng = gt.rng(2)
    num_steps, num_chains = 20, 12
    energy = np.empty((num_steps, num_runs, num_chains), np.float32)
    energy[0] = rng.standard_normal((num_runs, num_chains))
    for n in range(1, num_steps):
        noise = rng.standard_normal((num_runs, num_chains))
        energy[n] = 0.9 * energy[n - 1] + np.sqrt(1 - 0.9**2) * noise
    drift = diagnostics.energy_drift(trace_of(energy))
    gt.assert_law(drift.drift_z_score, stats.t(num_chains - 1).cdf, "drift scores")


def stuck_chains_gain_no_precision_from_length() -> None:
    modes = jnp.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 5.0]])
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(40, 2)))
    once = diagnostics.mode_occupancy(positions, modes, radius=2.0)
    stuck = diagnostics.mode_occupancy(jnp.stack([positions] * 100), modes, radius=2.0)
    for name in once._fields:
        np.testing.assert_allclose(getattr(once, name), getattr(stuck, name), rtol=1e-5)
    share = np.asarray(once.fraction)
    np.testing.assert_allclose(once.standard_error, np.sqrt(share * (1 - share) / 39), rtol=1e-4)


def temperature_is_unbiased(temperature: float, num_chains: int) -> None:
    """p is e^z ~ Gamma(3, 2), so p^(1/T) is e^z ~ Gamma(3/T, 2/T)."""
    law = stats.loggamma(3 / temperature, loc=-np.log(2 / temperature))
    z = law.rvs((60_000, num_chains, 1), random_state=gt.rng(0))
    z = jnp.asarray(z, jnp.float32)
    estimates = jax.vmap(diagnostics.virial_temperature)(z, 3 - 2 * jnp.exp(z)).temperature
    gt.assert_expectations(estimates, temperature, "temperature")
