"""What holds for every kernel, position, batch, dtype, ladder and seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tempered_ebm as te

SINGLE = ("ula", "mala", "tempered_ula", "tempered_mala")
KERNELS = (*SINGLE, "replica_exchange", "replica_exchange, unadjusted")
EVERY_KERNEL = pytest.mark.parametrize(
    "name", [*KERNELS[:5], pytest.param(KERNELS[5], marks=pytest.mark.slow)]
)

EVENTS = (
    (),
    (2,),
    {"a": (), "b": {"c": (2,), "d": (1, 3)}},
    ((2,), [(), (3, 2)]),
    [{"z": ()}, ((1,), {"w": (2, 2)})],
)
"""Shapes of one chain's position: alone, nested, and with scalar leaves."""

LADDERS = {
    "uniform": lambda K, p: te.schedules.uniform(K),
    "cosine": lambda K, p: te.schedules.cosine(K),
    "power": te.schedules.power,
    "sigmoid": te.schedules.sigmoid,
    "beta": te.schedules.beta,
    "geometric": lambda K, p: te.schedules.geometric(K + 1, p / 10),
    "equal_length": lambda K, p: te.schedules.equal_length(
        te.schedules.power(6, p), jnp.linspace(9.0, 1.0, 6), K
    ),
    "equal_rejection": lambda K, p: te.schedules.equal_rejection(
        te.schedules.power(6, p), jnp.linspace(0.2, 0.9, 5), K
    ),
}

events = st.sampled_from(range(len(EVENTS)))
chains = st.sampled_from(((), (1,), (3,), (2, 3)))
dtypes = st.sampled_from((np.float32, np.float64))
seeds = st.integers(0, 2**31 - 1)
ladders = st.tuples(st.sampled_from(sorted(LADDERS)), st.integers(2, 6), st.floats(0.3, 4.0))


def few(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True)


def is_shape(x):
    return isinstance(x, tuple) and all(isinstance(n, int) for n in x)


def total(fn, position, chain_ndim):
    leaves = jax.tree.leaves(position)
    return sum(jnp.sum(fn(leaf), tuple(range(chain_ndim, leaf.ndim))) for leaf in leaves)


def target(chain_ndim, scale=1.0):
    return te.TemperedTarget(
        lambda z: total(lambda leaf: -0.5 * leaf**2, z, chain_ndim),
        lambda z: scale * total(lambda leaf: -jnp.cosh(leaf - 0.5), z, chain_ndim),
    )


def build(name, chain_ndim, ladder, step_size=0.1, t=0.4, metric=None, scale=1.0):
    path = target(chain_ndim, scale)
    options = {"inverse_mass_matrix": metric}
    if name.startswith("replica_exchange"):
        adjusted = name == "replica_exchange"
        return te.replica_exchange(path, ladder, step_size, metropolis=adjusted, **options)
    if name.startswith("tempered"):
        return getattr(te, name)(path, t, step_size, **options)
    return getattr(te, name)(lambda z: path.logdensity(z, t), step_size, **options)


def positions(name, event, chain_shape, dtype, seed, num_rungs):
    """Draws of N(0, I), leading with the ladder where the kernel has one."""
    lead = (num_rungs, *chain_shape) if name.startswith("replica") else chain_shape
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=(*lead, *shape)), dtype),
        EVENTS[event],
        is_leaf=is_shape,
    )


def signature(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@EVERY_KERNEL
@few(3)
@given(events, chains, dtypes, ladders)
def test_init_and_step_keep_structure_shape_and_dtype(name, event, chain_shape, dtype, ladder):
    with jax.enable_x64(dtype == np.float64):
        family, K, p = ladder
        temperatures = LADDERS[family](K, p)
        start = positions(name, event, chain_shape, dtype, 0, len(temperatures))
        kernel = build(name, len(chain_shape), temperatures)
        state = jax.eval_shape(kernel.init, start)
        after, info = jax.eval_shape(kernel.step, jax.random.key(0), state)
        assert signature(after) == signature(state)
        assert signature(state.position) == signature(start)
        is_ladder = name.startswith("replica_exchange")
        lead = (len(temperatures), *chain_shape) if is_ladder else chain_shape
        value = state.logdensity if name in ("ula", "mala") else state.loglikelihood
        assert (value.shape, value.dtype) == (lead, dtype)
        assert all(leaf.dtype in (dtype, bool) for leaf in jax.tree.leaves(info))
        if hasattr(info, "is_swapped"):
            assert info.is_swapped.shape == (lead[0] - 1, *chain_shape)
            assert info.swap_acceptance_rate.shape == (lead[0] - 1,)


@EVERY_KERNEL
@few(2)
@given(events, chains, seeds, ladders)
def test_caches_are_fresh_and_replicas_are_a_permutation(name, event, chain_shape, seed, ladder):
    with jax.enable_x64(True):
        family, K, p = ladder
        temperatures = LADDERS[family](K, p)
        start = positions(name, event, chain_shape, np.float64, seed, len(temperatures))
        kernel = build(name, len(chain_shape), temperatures)
        run = jax.jit(lambda key, z: te.inference.short_run(key, kernel, z, 5))
        end = run(jax.random.key(seed), start)
        fresh = jax.jit(kernel.init)(end.position)
        for field in ("logdensity", "logdensity_grad", *te.target.Evaluation._fields):
            if hasattr(end, field):
                jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
                    getattr(end, field),
                    getattr(fresh, field),
                )
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), end.position, start)
        assert any(jax.tree.leaves(moved))
        if hasattr(end, "replica"):
            rungs = np.arange(len(temperatures)).reshape(-1, *(1,) * len(chain_shape))
            sorted_replicas = np.sort(end.replica, axis=0)
            np.testing.assert_array_equal(
                sorted_replicas, np.broadcast_to(rungs, end.replica.shape)
            )
            assert int(end.num_steps) == 5


@pytest.mark.parametrize(
    "name", [*SINGLE, *(pytest.param(name, marks=pytest.mark.slow) for name in KERNELS[4:])]
)
def test_jit_changes_nothing(name):
    # One array alone: without jit every operation is a program for every shape of a leaf.
    start = positions(name, 1, (3,), np.float32, 0, 3)
    kernel = build(name, 1, te.schedules.uniform(3))
    key = jax.random.key(0)
    plain = kernel.step(key, kernel.init(start))
    compiled = jax.jit(lambda key, z: kernel.step(key, kernel.init(z)))(key, start)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, compiled
    )


class OneTrace:
    """A step of a kernel whose numbers are arguments, and how often it was traced."""

    def __init__(self, name):
        self.traces = 0

        @jax.jit
        def step(key, start, temperatures, t, step_size, metric, scale):
            self.traces += 1
            kernel = build(name, 1, temperatures, step_size, t, metric, scale)
            return kernel.step(key, kernel.init(start))[0].position

        self.step = step


@EVERY_KERNEL
def test_temperatures_step_sizes_metrics_and_parameters_are_data(name):
    one = OneTrace(name)
    is_ladder = name.startswith("replica_exchange")
    start = jnp.ones((4, 3, 2) if is_ladder else (3, 2))
    seen = set()

    @few(15)
    @given(
        seeds,
        st.sampled_from(sorted(set(LADDERS) - {"geometric"})),
        st.floats(0.3, 4.0),
        st.floats(0.0, 1.0, width=32),
        st.floats(1e-3, 0.5),
        st.floats(0.1, 10.0),
        st.floats(0.1, 3.0),
    )
    def steps(seed, family, p, t, step_size, metric, scale):
        lead = (4,) if is_ladder else ()
        end = one.step(
            jax.random.key(seed),
            start,
            LADDERS[family](4, p),
            jnp.float32(t),
            jnp.full(lead, step_size),
            jnp.full((*lead, 2), metric),
            jnp.float32(scale),
        )
        assert np.all(np.isfinite(end))
        seen.add(np.asarray(end).tobytes())

    steps()
    assert one.traces == 1
    assert len(seen) > 10


@pytest.mark.parametrize("name", ["tempered_mala", "replica_exchange"])
@few(2)
@given(chains, seeds)
def test_one_chain_of_a_batch_has_the_caches_of_that_chain_alone(name, chain_shape, seed):
    """The draws differ with the shape of the noise; what is kept about a position does not."""
    start = positions(name, 2, chain_shape, np.float32, seed, 3)
    kernel = build(name, len(chain_shape), te.schedules.uniform(3))
    alone = build(name, 0, te.schedules.uniform(3))
    together = jax.jit(kernel.init)(start)
    first = (0,) * len(chain_shape)
    where = (slice(None), *first) if name.startswith("replica") else first
    single = jax.jit(alone.init)(jax.tree.map(lambda leaf: leaf[where], start))
    for field in te.target.Evaluation._fields:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[where], b, rtol=1e-5, atol=1e-5),
            getattr(together, field),
            getattr(single, field),
        )
