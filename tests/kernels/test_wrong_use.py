"""What every public kernel says when it is used wrongly."""

import re

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te

NUM_RUNGS = 3


def logprior(z):
    return -0.5 * jnp.sum(z**2, -1)


def loglikelihood(z):
    return -jnp.sum((z - 1.0) ** 2, -1)


def ladder_of(build):
    def on_ladder(target, step_size, t):
        return build(target, te.schedules.uniform(NUM_RUNGS), step_size)

    return on_ladder


def around_mala(target, temperatures, step_size):
    return te.replica_exchange_from_mcmc(
        target,
        temperatures,
        blackjax.mala.build_kernel(),
        blackjax.mala.init,
        {"step_size": jnp.atleast_1d(step_size)},
    )


SINGLE = {
    "ula": lambda target, h, t: te.ula(lambda z: target.logdensity(z, t), h),
    "mala": lambda target, h, t: te.mala(lambda z: target.logdensity(z, t), h),
    "tempered_ula": lambda target, h, t: te.tempered_ula(target, t, h),
    "tempered_mala": lambda target, h, t: te.tempered_mala(target, t, h),
}
LADDERS = {
    "replica_exchange": ladder_of(te.replica_exchange),
    "replica_exchange, unadjusted": ladder_of(
        lambda target, t, h: te.replica_exchange(target, t, h, metropolis=False)
    ),
    "replica_exchange_from_mcmc": ladder_of(around_mala),
}
KERNELS = SINGLE | LADDERS
EVERY_KERNEL = pytest.mark.parametrize("name", KERNELS)
ONE_LADDER = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "replica_exchange")) for n in LADDERS]
)
TEMPERED = pytest.mark.parametrize("name", [n for n in KERNELS if n not in ("ula", "mala")])


def build(name, prior=logprior, likelihood=loglikelihood, step_size=0.1, t=0.5):
    return KERNELS[name](te.TemperedTarget(prior, likelihood), step_size, t)


def positions(name, chains=(4,)):
    """Positions in the plane; BlackJAX's own kernels move one chain."""
    if name == "replica_exchange_from_mcmc":
        chains = ()
    return jnp.ones((NUM_RUNGS, *chains, 2) if name in LADDERS else (*chains, 2))


def raises(message):
    return pytest.raises(te.InputError, match=re.escape(message))


# --------------------------------------------------------------------------- keys

WRONG_KEYS = {
    "an int": (lambda: 0, "got 0"),
    "a float array": (lambda: jnp.zeros(2), "got float32 of shape (2,)"),
    "an integer array": (lambda: jnp.zeros(2, jnp.int32), "got int32 of shape (2,)"),
    "an array of keys": (lambda: jax.random.split(jax.random.key(0), 3), "of shape (3,)"),
    "an array of one key": (lambda: jax.random.key(0)[None], "of shape (1,)"),
    "an array of raw keys": (lambda: jnp.zeros((3, 2), jnp.uint32), "got uint32 of shape (3, 2)"),
    "nothing": (lambda: None, "got None"),
}


@EVERY_KERNEL
def test_a_key_of_the_wrong_kind_is_named(name):
    kernel = build(name)
    state = kernel.init(positions(name))
    for make, got in WRONG_KEYS.values():
        with raises("rng_key must be one key, as made by jax.random.key(seed)") as caught:
            kernel.step(make(), state)
        assert got in str(caught.value)


@EVERY_KERNEL
def test_keys_of_either_kind_give_the_same_step(name):
    kernel = build(name)
    state = kernel.init(positions(name))
    step = jax.jit(kernel.step)
    typed, _ = step(jax.random.key(7), state)
    raw, _ = step(jax.random.PRNGKey(7), state)
    np.testing.assert_array_equal(typed.position, raw.position)
    assert not np.allclose(typed.position, state.position)


# ------------------------------------------------------------------------- starts


@EVERY_KERNEL
def test_a_chain_that_starts_at_nan_is_named_by_its_index(name):
    kernel = build(name)
    start = positions(name)
    if name == "replica_exchange_from_mcmc":
        start, chain = start.at[2, 1].set(jnp.nan), "2"
    elif name in LADDERS:
        start, chain = start.at[2, 3, 1].set(jnp.nan), "(2, 3)"
    else:
        start, chain = start.at[3, 1].set(jnp.nan), "3"
    with raises(f"position must be finite at the initial position of chain {chain}, got nan"):
        kernel.init(start)


@pytest.mark.parametrize("name", SINGLE)
def test_a_chain_of_a_batch_in_two_axes_is_named_by_both(name):
    start = positions(name, (2, 3)).at[1, 2, 0].set(jnp.inf)
    with raises("position must be finite at the initial position of chain (1, 2), got inf"):
        build(name).init(start)


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_chain_has_no_index(name):
    with raises("position must be finite at the initial position, got nan"):
        build(name).init(jnp.array([1.0, jnp.nan]))


def nan_beyond(fn, limit=5.0, value=jnp.nan):
    return lambda z: jnp.where(z[..., 0] > limit, value, fn(z))


@EVERY_KERNEL
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_log_density_that_is_no_number_at_the_start_is_named(name, value):
    kernel = build(name, prior=nan_beyond(logprior, value=value))
    start = positions(name)
    start = start.at[(1, ..., 0)].set(9.0)
    first = {"replica_exchange_from_mcmc": "1"}.get(name, "(1, 0)" if name in LADDERS else "1")
    what = "logdensity_fn" if name in ("ula", "mala") else "the tempered log-density"
    with raises(f"{what} must be finite at the initial position of chain {first}, got {value}"):
        kernel.init(start)


@EVERY_KERNEL
def test_a_gradient_that_is_no_number_at_the_start_is_named(name):
    """The square root of a square: 0 at 0, where its derivative is NaN."""
    kernel = build(name, prior=lambda z: -jnp.sqrt(jnp.sum(z**2, -1)))
    with raises("must be finite at the initial position of chain") as caught:
        kernel.init(0 * positions(name))
    assert "the gradient of" in str(caught.value)
    assert "got nan" in str(caught.value)


@EVERY_KERNEL
def test_a_start_without_any_mass_is_allowed(name):
    """-inf is a place to leave."""
    kernel = build(name, prior=nan_beyond(logprior, value=-jnp.inf))
    state = kernel.init(positions(name).at[(1, ..., 0)].set(9.0))
    value = state.logdensity if name in ("ula", "mala") else state.logprior
    assert np.isneginf(value).any()


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
def test_at_the_prior_a_likelihood_of_nan_is_not_seen(name):
    bad = nan_beyond(loglikelihood, limit=-jnp.inf)
    state = build(name, likelihood=bad, t=0.0).init(positions(name))
    assert np.isnan(state.loglikelihood).all()
    with raises("the tempered log-density must be finite"):
        build(name, likelihood=bad, t=0.1).init(positions(name))


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
def test_only_the_chain_that_sees_nan_is_named(name):
    """One temperature per chain: chain 2 is the first that is not at the prior."""
    bad = nan_beyond(loglikelihood, limit=-jnp.inf)
    kernel = build(name, likelihood=bad, t=jnp.array([0.0, 0.0, 0.4, 1.0]))
    with raises("the tempered log-density must be finite at the initial position of chain 2, got"):
        kernel.init(positions(name))


@pytest.mark.parametrize("name", LADDERS)
def test_on_a_ladder_the_rung_that_sees_nan_is_named(name):
    """NaN where z > 5, on every rung: the prior does not see it, rung 1 does."""
    kernel = build(name, likelihood=nan_beyond(loglikelihood))
    start = positions(name)
    state = kernel.init(start.at[(0, ..., 0)].set(9.0))
    assert np.isnan(state.loglikelihood[0]).all()
    assert np.isfinite(state.loglikelihood[1:]).all()
    chain = "1" if name == "replica_exchange_from_mcmc" else "(1, 0)"
    with raises(f"log-density must be finite at the initial position of chain {chain}, got nan"):
        kernel.init(start.at[..., 0].set(9.0))


@EVERY_KERNEL
def test_a_bad_start_behind_jit_is_left_to_the_caller(name):
    """Values are not known there; the chain runs and shows NaN instead of raising."""
    kernel = build(name)
    state = jax.jit(kernel.init)(jnp.nan * positions(name))
    assert np.isnan(state.position).all()


# ------------------------------------------------------------------ shapes, dtypes


@EVERY_KERNEL
@pytest.mark.parametrize("shape", [(5,), (4, 1)])
def test_a_log_density_of_the_wrong_shape_is_named(name, shape):
    def wrong(z):
        return jnp.sum(z) * jnp.ones(shape)

    what = "logdensity_fn" if name in ("ula", "mala") else "logprior_fn"
    with raises(f"{what} returned shape {shape}; expected () for one chain"):
        build(name, prior=wrong, likelihood=wrong).init(positions(name))


@TEMPERED
def test_halves_of_different_shapes_are_named(name):
    kernel = build(name, likelihood=lambda z: -jnp.sum(z**2))
    if name == "replica_exchange_from_mcmc":
        kernel = build(name, likelihood=lambda z: -(z**2))
    with raises("expected the same chain shape from both"):
        kernel.init(positions(name))


@EVERY_KERNEL
def test_integer_positions_are_named(name):
    with raises("position must have a floating dtype, got int32"):
        build(name).init(positions(name).astype(jnp.int32))


@EVERY_KERNEL
def test_an_integer_leaf_is_named(name):
    kernel = build(name, prior=lambda p: logprior(p["a"]), likelihood=lambda p: logprior(p["a"]))
    start = positions(name)
    with raises("position['b'] must have a floating dtype, got int32"):
        kernel.init({"a": start, "b": start.astype(jnp.int32)})


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("shape", [(3,), (4, 2)])
def test_a_step_size_for_other_chains_is_named(name, shape):
    kernel = build(name, step_size=jnp.full(shape, 0.1))
    state = kernel.init(positions(name))
    with raises(f"step_size has shape {shape}; expected () or leading axes of (4"):
        kernel.step(jax.random.key(0), state)


@pytest.mark.parametrize("name", ["replica_exchange", "replica_exchange, unadjusted"])
@pytest.mark.parametrize("shape", [(1,), (4,), (3, 4)])
def test_a_step_size_for_another_ladder_is_named(name, shape):
    with raises(f"step_size must be a scalar or have shape (3,), got {shape}"):
        build(name, step_size=jnp.full(shape, 0.1))


def test_parameters_of_a_foreign_kernel_for_another_ladder_are_named():
    with raises("step_size must lead with an axis of 1 or of the 3 temperatures, got shape (4,)"):
        build("replica_exchange_from_mcmc", step_size=jnp.full(4, 0.1))


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
@pytest.mark.parametrize("shape", [(3,), (4, 2)])
def test_temperatures_for_other_chains_are_named(name, shape):
    kernel = build(name, t=jnp.full(shape, 0.5))
    with raises(f"has shape {shape}; expected ()"):
        kernel.init(positions(name))


@pytest.mark.parametrize("name", LADDERS)
@pytest.mark.parametrize("lead", [2, 4])
def test_positions_for_another_ladder_are_named(name, lead):
    start = positions(name)
    start = jnp.ones((lead, *start.shape[1:]))
    with raises(f"position must lead with the 3 temperatures, got {lead}"):
        build(name).init(start)


@pytest.mark.parametrize("name", LADDERS)
def test_leaves_without_one_ladder_axis_are_named(name):
    kernel = build(name, prior=lambda p: logprior(p["a"]), likelihood=lambda p: logprior(p["a"]))
    start = positions(name)
    for other in (start[:2], jnp.ones(())):
        with raises("every leaf of position must lead with one axis K, got shapes"):
            kernel.init({"a": start, "b": other})


# ------------------------------------------------------------- keys and chains


@ONE_LADDER
def test_no_key_is_used_twice_on_a_ladder(name):
    kernel = build(name)
    with jax.debug_key_reuse(True):
        state = jax.jit(kernel.init)(positions(name))
        jax.jit(kernel.step)(jax.random.key(0), state)
        te.inference.run_with_moments(jax.random.key(1), kernel, state, 2)


@ONE_LADDER
def test_permuting_keys_and_ladders_permutes_the_output(name):
    kernel = build(name)
    start = jax.random.normal(jax.random.key(1), (6, NUM_RUNGS, 2))
    keys = jax.random.split(jax.random.key(2), 6)
    order = jnp.array([3, 1, 5, 0, 2, 4])
    run = jax.jit(jax.vmap(lambda key, z: te.inference.short_run(key, kernel, z, 4)))
    permuted, plain = run(keys[order], start[order]), run(keys, start)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[order], rtol=1e-6, atol=1e-6), permuted, plain
    )
    assert not np.allclose(plain.position[0], plain.position[1])
