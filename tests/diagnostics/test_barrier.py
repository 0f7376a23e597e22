import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import diagnostics
from tests import ground_truths as gt
from tests.diagnostics import checks_diagnostics as checks
from tests.diagnostics import index_process

REJECTION = index_process.UPS_AND_DOWNS
LADDER = np.array([0.0, 0.1, 0.2, 0.6, 1.0])
BURN_IN, ROUNDS, NUM_LADDERS = 300, 400, 3000


@functools.cache
def stationary_flow(scheme):
    """What was counted before, and after, ROUNDS rounds of a stationary index process."""
    rng = gt.rng(0)
    states = index_process.simulate(rng, REJECTION, BURN_IN + ROUNDS, NUM_LADDERS, scheme)

    def one_step(flow, replica):
        return diagnostics.update_replica_flow(flow, replica), None

    before = diagnostics.replica_flow(states[: BURN_IN + 1])
    return before, jax.lax.scan(one_step, before, states[BURN_IN + 1 :])[0]


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("scheme", "field"),
    [
        ("alternating", "predicted_round_trip_rate"),
        ("random", "reversible_round_trip_rate"),
    ],
)
def test_an_ideal_index_process_makes_the_predicted_round_trips(scheme, field):
    before, after = stationary_flow(scheme)
    predicted = getattr(diagnostics.communication_barrier(LADDER, 1 - REJECTION), field)
    for name in ("round_trips", "restarts"):
        made = np.asarray(getattr(after, name) - getattr(before, name), np.float64) / ROUNDS
        assert made.std() / np.sqrt(NUM_LADDERS) < 0.01 * predicted
        gt.assert_expectations(made, float(predicted), name)


@pytest.mark.statistical
def test_the_flow_fraction_falls_with_the_odds_of_rejection():
    before, after = stationary_flow("alternating")
    visits = np.asarray(after.from_prior - before.from_prior, np.float64) / ROUNDS
    odds = REJECTION / (1 - REJECTION)
    rate = float(diagnostics.communication_barrier(LADDER, 1 - REJECTION).predicted_round_trip_rate)
    inside = 1 - rate * (1 + 2 * np.cumsum(odds)[:-1])
    gt.assert_expectations(visits[1:-1].T, inside)
    assert np.all(visits[0] == 1)
    assert np.all(visits[-1] == 0)


def test_the_barrier_adds_up_rejections():
    checks.barrier_adds_up_rejections(LADDER, REJECTION)


def test_the_limits_of_swapping_always_and_never():
    always = diagnostics.communication_barrier(LADDER, np.ones(4))
    assert (always.total, always.predicted_round_trip_rate) == (0, 0.5)
    assert always.reversible_round_trip_rate == 0.125
    never = diagnostics.communication_barrier(LADDER, np.array([1.0, 0.0, 1.0, 1.0]))
    assert (never.predicted_round_trip_rate, never.reversible_round_trip_rate) == (0, 0)


def test_it_can_be_traced():
    rates = jnp.asarray(1 - REJECTION)
    traced = jax.jit(diagnostics.communication_barrier)(jnp.asarray(LADDER), rates)
    np.testing.assert_allclose(traced.total, 1.45, rtol=1e-6)


@pytest.mark.parametrize(
    ("temperatures", "rates", "message"),
    [
        (LADDER, np.ones(5), r"swap_acceptance_rates must have shape \(4,\).* got \(5,\)"),
        (LADDER, np.ones((4, 2)), r"got \(4, 2\)"),
        (LADDER, np.full(4, 1.5), "swap_acceptance_rates must be between 0 and 1"),
        (LADDER[::-1], np.ones(4), "temperatures must increase strictly from 0 to 1"),
    ],
)
def test_bad_input_is_named(temperatures, rates, message):
    with pytest.raises(te.InputError, match=message):
        diagnostics.communication_barrier(temperatures, rates)
