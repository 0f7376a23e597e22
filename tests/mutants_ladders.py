"""Bugs in ladders from a pilot run, and in the pilot itself."""

import jax
import jax.numpy as jnp

from tempered_ebm import schedules
from tempered_ebm.adaptation import pilot
from tests import checks_ladders as checks
from tests.adaptation import checks_pilot
from tests.mutants.registry import GAUSSIAN, caught_by


@caught_by(checks.equal_length_is_the_known_ladder)
def variances_in_the_place_of_their_roots(patch):
    right = schedules._invert
    patch.setattr(schedules, "_invert", lambda t, left, right_, K: right(t, left**2, right_**2, K))


@caught_by(checks.equal_length_reaches_a_fixed_point_and_stays, GAUSSIAN, 5)
def variances_in_the_place_of_their_roots_seen_at_the_fixed_point(patch):
    right = schedules._invert
    patch.setattr(schedules, "_invert", lambda t, left, right_, K: right(t, left**2, right_**2, K))


@caught_by(checks.equal_length_is_the_known_ladder)
def a_length_without_its_intervals(patch):
    """The sum of the speeds, with no Delta t: the ladder of a pilot depends on its ladder."""
    right = schedules._invert

    def invert(temperatures, left, right_, K):
        gaps = jnp.diff(temperatures)
        return right(temperatures, left / gaps, right_ / gaps, K)

    patch.setattr(schedules, "_invert", invert)


@caught_by(checks.equal_length_reaches_a_fixed_point_and_stays, GAUSSIAN, 5)
def speeds_of_the_next_interval(patch):
    right = schedules._invert

    def invert(temperatures, left, right_, K):
        return right(temperatures, jnp.roll(left, -1), jnp.roll(right_, -1), K)

    patch.setattr(schedules, "_invert", invert)


@caught_by(checks.equal_rejection_shares_the_barrier, 7, 0)
def rejections_of_the_next_pair(patch):
    right = schedules.equal_rejection
    patch.setattr(
        schedules, "equal_rejection", lambda t, rates, K: right(t, jnp.roll(rates, -1), K)
    )


@caught_by(checks.equal_rejection_shares_the_barrier, 7, 0)
def acceptance_in_the_place_of_rejection(patch):
    right = schedules.equal_rejection
    patch.setattr(schedules, "equal_rejection", lambda t, rates, K: right(t, 1 - rates, K))


@caught_by(checks_pilot.rungs_are_tuned, GAUSSIAN)
def a_metric_of_standard_deviations(patch):
    right = pilot._metric
    patch.setattr(pilot, "_metric", lambda *args: jax.tree.map(jnp.sqrt, right(*args)))


@caught_by(checks_pilot.what_is_reported_was_measured_with_the_frozen_tuning)
def a_pilot_that_tunes_while_it_measures(patch):
    """Only the kernel that measures is built with a keyword."""
    right = pilot._build

    def build(target, tuning, *args, **measures):
        kernel = right(target, tuning, *args, **measures)
        if not measures:
            return kernel

        def step(key, state):
            trial = tuning.step_size * jnp.exp(jax.random.normal(key))
            return right(target, tuning._replace(step_size=trial), **measures).step(key, state)

        return kernel._replace(step=step)

    patch.setattr(pilot, "_build", build)
