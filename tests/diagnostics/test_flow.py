import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import diagnostics
from tests.diagnostics import checks_diagnostics as checks
from tests.diagnostics import index_process


def counts(replicas):
    flow = diagnostics.replica_flow(replicas)
    return flow.restarts.tolist(), flow.round_trips.tolist()


@pytest.mark.parametrize("name", checks.JOURNEYS)
def test_journeys_made_by_hand(name):
    checks.journey(name)


@pytest.mark.parametrize("num_swaps", [0, 1, 2, 3, 6, 7])
def test_two_rungs_that_always_swap(num_swaps):
    """Replica 0 starts with a restart, replica 1 with the way to the prior; no half trips."""
    states = jnp.array([[0, 1], [1, 0]] * 4)[: num_swaps + 1]
    assert counts(states) == (num_swaps, max(0, num_swaps - 1))


@pytest.mark.parametrize("num_rungs", [3, 4, 7])
def test_without_rejections_every_replica_rides_a_conveyor_belt(num_rungs):
    rng = np.random.default_rng(0)
    states = index_process.simulate(rng, np.zeros(num_rungs - 1), 2 * num_rungs * 10, 1)
    start, end = states[: 2 * num_rungs * 2 + 1], states
    more = diagnostics.replica_flow(end).round_trips - diagnostics.replica_flow(start).round_trips
    assert more.tolist() == [num_rungs * 8]


def test_every_replica_and_ladder_is_counted_on_its_own():
    states = index_process.simulate(np.random.default_rng(1), index_process.UPS_AND_DOWNS, 400, 12)
    expected = [index_process.count_journeys(states[:, :, i]) for i in range(12)]
    assert len(set(expected)) > 4
    flow = diagnostics.replica_flow(states.reshape(401, 5, 3, 4))
    assert flow.num_steps == 400
    assert flow.restarts.ravel().tolist() == [restarts for restarts, _ in expected]
    assert flow.round_trips.ravel().tolist() == [trips for _, trips in expected]


def test_flow_fraction_by_hand():
    flow = diagnostics.replica_flow(
        checks.from_rungs([0, 1, 2, 1, 0], [1, 0, 0, 0, 1], [2, 2, 1, 2, 2])
    )
    assert flow.from_prior.tolist() == [5, 2, 0]
    assert flow.from_posterior.tolist() == [0, 2, 5]
    np.testing.assert_allclose(flow.flow_fraction, [1.0, 0.5, 0.0])
    assert flow.last_end.tolist() == [1, 1, 2]


def test_a_rung_nobody_reached_has_no_flow_fraction():
    flow = diagnostics.replica_flow(jnp.array([[0, 1, 2, 3]] * 3))
    assert np.isnan(flow.flow_fraction).tolist() == [False, True, True, False]


def test_counting_along_the_run_equals_counting_its_trace():
    kernel = te.replica_exchange(
        te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -jnp.sum(z**2, -1)),
        te.schedules.uniform(4),
        0.3,
    )
    state = jax.jit(kernel.init)(jnp.ones((4, 6, 1)))

    def one_step(carry, key):
        state, flow = carry
        state, _ = kernel.step(key, state)
        return (state, diagnostics.update_replica_flow(flow, state.replica)), state.replica

    start = (state, diagnostics.init_replica_flow(state.replica))
    (_, flow), trace = jax.jit(lambda keys: jax.lax.scan(one_step, start, keys))(
        jax.random.split(jax.random.key(0), 200)
    )
    whole = diagnostics.replica_flow(jnp.concatenate([state.replica[None], trace]))
    assert int(whole.restarts.min()) > 0
    for streamed, traced in zip(flow, whole, strict=True):
        np.testing.assert_array_equal(streamed, traced)


@pytest.mark.parametrize(
    ("replicas", "message"),
    [
        (jnp.array([0, 1]), r"replicas must have shape .* got shape \(2,\)"),
        (jnp.zeros((5, 1), int), r"K at least 2, got shape \(5, 1\)"),
        (jnp.zeros((0, 3), int), r"got shape \(0, 3\)"),
        (jnp.array([[0.0, 1.0]]), "replicas must hold integers, got float32"),
        (jnp.array([[0, 1, 2], [0, 0, 2]]), r"permutation of 0 ... 2 .* got \[0, 0, 2\]"),
    ],
)
def test_bad_traces_are_named(replicas, message):
    with pytest.raises(te.InputError, match=message):
        diagnostics.replica_flow(replicas)


def test_bad_states_are_named():
    with pytest.raises(te.InputError, match=r"replica must be a permutation .* got \[1, 2\]"):
        diagnostics.init_replica_flow(jnp.array([1, 2]))
    flow = diagnostics.init_replica_flow(jnp.array([1, 0]))
    with pytest.raises(te.InputError, match=r"replica must have shape \(2,\), got \(3,\)"):
        diagnostics.update_replica_flow(flow, jnp.arange(3))
