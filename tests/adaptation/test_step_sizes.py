import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import inference
from tempered_ebm.adaptation import step_sizes as adaptation
from tests import ground_truths as gt

LADDER = jnp.array([0.0, 0.1, 1.0])
PATH = gt.LINEAR_GAUSSIAN


def build(step_size):
    return te.tempered_mala(PATH.target, LADDER, step_size)


@pytest.fixture(scope="module")
def start():
    rng = gt.rng(0)
    draws = [PATH.sample(rng, float(t), 200) for t in LADDER]
    return jax.jit(build(jnp.full(3, 0.1)).init)(jnp.asarray(np.stack(draws), jnp.float32))


@jax.jit
def warm_up(key, state, initial):
    return adaptation.dual_averaging(key, build, state, initial, 400)


@jax.jit
def acceptance(key, state, step_size):
    return inference.run_with_moments(
        key, build(step_size), state, 50, statistic_fn=lambda state, info: info.acceptance_rate
    )[1]


@pytest.mark.statistical
@pytest.mark.parametrize("initial", [0.01, 1.0])
def test_every_rung_reaches_the_target_whatever_it_started_from(start, initial):
    """The averages settle within .03 of the target."""
    state, step_size = warm_up(gt.key(0), start, jnp.full(3, initial))
    assert step_size.shape == (3,)
    moments = acceptance(gt.key(1), state, step_size)
    rates, target = np.asarray(moments.mean).T, adaptation.MALA_TARGET_ACCEPTANCE
    gt.assert_expectations(rates, target, "acceptance", slack=0.03)
    assert step_size[0] > step_size[1] > step_size[2]


@pytest.mark.statistical
def test_another_target_is_reached():
    def mala(h):
        return te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), h)

    @jax.jit
    def run(start):
        state, step_size = adaptation.dual_averaging(
            gt.key(0), mala, mala(0.1).init(start), 0.1, 300, target_acceptance=0.8
        )
        return step_size, mala(step_size).step(gt.key(2), state)[1].acceptance_rate

    step_size, rates = run(jax.random.normal(gt.key(1), (400, 5)))
    assert step_size.shape == ()
    gt.assert_expectations(rates, 0.8, "acceptance", slack=0.03)


def test_the_result_is_frozen(start):
    """What comes back is data: draws made with it come from one Markov kernel, reproducibly."""
    state, step_size = warm_up(gt.key(0), start, jnp.full(3, 0.1))
    again, same = warm_up(gt.key(0), start, jnp.full(3, 0.1))
    np.testing.assert_array_equal(step_size, same)
    np.testing.assert_array_equal(state.position, again.position)
    assert isinstance(step_size, jax.Array)
    assert np.all(np.isfinite(step_size))
    assert np.all(step_size > 0)


def test_bad_arguments_are_named(start):
    with pytest.raises(te.InputError, match=r"initial_step_size must be positive and finite"):
        adaptation.dual_averaging(gt.key(0), build, start, jnp.array([0.1, -1.0, 0.1]), 5)
    with pytest.raises(te.InputError, match=r"num_steps must be an integer >= 1, got 0"):
        adaptation.dual_averaging(gt.key(0), build, start, jnp.full(3, 0.1), 0)
