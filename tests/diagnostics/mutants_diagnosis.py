"""Bugs in the diagnostics."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from tempered_ebm import diagnostics
from tempered_ebm.diagnostics import modes, replicas, short_runs
from tests.diagnostics import checks_diagnostics as checks
from tests.diagnostics import index_process
from tests.mutants.registry import caught_by


@caught_by(checks.journey, "to the posterior")
def half_trips_counted_as_round_trips(patch):
    right = replicas._count

    def count(before, replica):
        after = right(before, replica)
        return after._replace(round_trips=after.round_trips + after.restarts - before.restarts)

    patch.setattr(replicas, "_count", count)


@caught_by(checks.journey, "down from the posterior counts nothing")
def a_way_down_counted_as_a_round_trip(patch):
    right = replicas._count

    def count(before, replica):
        return right(before._replace(has_restarted=jnp.ones_like(before.has_restarted)), replica)

    patch.setattr(replicas, "_count", count)


@caught_by(checks.barrier_adds_up_rejections, np.linspace(0, 1, 5), index_process.UPS_AND_DOWNS)
def a_barrier_of_acceptances(patch):
    right = diagnostics.communication_barrier
    patch.setattr(diagnostics, "communication_barrier", lambda t, rates: right(t, 1 - rates))


@caught_by(checks.drift_scores_follow_students_law)
def drift_scores_over_steps_in_the_place_of_chains(patch):
    """The residuals of one regression of the mean energy, as if steps were independent."""
    right = diagnostics.energy_drift

    def over_steps(trace):
        drift = right(trace)
        half = trace.energy[trace.energy.shape[0] // 2 :].mean(-1)
        step = jnp.arange(half.shape[0]) - 0.5 * (half.shape[0] - 1)
        slope = jnp.tensordot(step, half, axes=1) / jnp.sum(step**2)
        residual = half - half.mean(0) - jnp.multiply.outer(step, slope)
        variance = jnp.sum(residual**2, 0) / (half.shape[0] - 2)
        return drift._replace(drift_z_score=slope / jnp.sqrt(variance / jnp.sum(step**2)))

    patch.setattr(diagnostics, "energy_drift", over_steps)


@caught_by(checks.drift_scores_follow_students_law)
def drift_scores_without_the_root_of_the_number_of_chains(patch):
    patch.setattr(short_runs, "math", SimpleNamespace(sqrt=lambda n: n**0.25))


@caught_by(checks.stuck_chains_gain_no_precision_from_length)
def every_draw_counted_as_a_chain(patch):
    right = modes.mode_occupancy

    def flat(positions, centres, **options):
        return right(positions.reshape(-1, positions.shape[-1]), centres, **options)

    patch.setattr(diagnostics, "mode_occupancy", flat)


@caught_by(checks.temperature_is_unbiased, 1.0, 2)
def a_temperature_over_n_in_the_place_of_n_less_one(patch):
    right = diagnostics.virial_temperature

    def biased(position, grad):
        return right(position, grad)._replace(
            temperature=right(position, grad).temperature * (1 - 1 / position.shape[0])
        )

    patch.setattr(diagnostics, "virial_temperature", biased)


@caught_by(checks.temperature_is_unbiased, 4.0, 7)
def an_inverse_temperature(patch):
    right = diagnostics.virial_temperature

    def inverse(position, grad):
        estimate = right(position, grad)
        return estimate._replace(temperature=1 / estimate.temperature)

    patch.setattr(diagnostics, "virial_temperature", inverse)
