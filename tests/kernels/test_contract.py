"""What every Langevin kernel promises: shapes, dtypes, compilation, evaluations, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tempered_ebm as te

NAMES = ("ula", "mala", "tempered_ula", "tempered_mala")
EVERY_KERNEL = pytest.mark.parametrize("name", NAMES)


def logprior(z):
    return -0.5 * jnp.sum(z**2, -1)


def loglikelihood(z):
    return -jnp.sum((z - 1.0) ** 2, -1)


def build(name, step_size=0.3, t=0.4, prior=logprior, likelihood=loglikelihood):
    if name.startswith("tempered"):
        return getattr(te, name)(te.TemperedTarget(prior, likelihood), t, step_size)
    return getattr(te, name)(lambda z: prior(z) + t * likelihood(z), step_size)


def assert_close(left, right, rtol=1e-6, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


def one_step(kernel, position, seed=0):
    return kernel.step(jax.random.key(seed), kernel.init(position))


def compiled_step(kernel, position, seed=0):
    """One compilation instead of one per operation."""
    return jax.jit(lambda p: one_step(kernel, p, seed))(position)


# --------------------------------------------------------------------- positions


@EVERY_KERNEL
def test_a_batch_of_one_is_a_single_chain(name):
    kernel = build(name)
    batch, _ = compiled_step(kernel, jnp.array([[0.3, -2.0]]))
    single, _ = compiled_step(kernel, jnp.array([0.3, -2.0]))
    assert_close(jax.tree.map(lambda leaf: leaf[0], batch), single)


@EVERY_KERNEL
def test_a_pytree_position_follows_the_law_of_its_concatenation(name):
    """Leaves of different rank: (3,) chains, sizes () and (2, 2); the noise is all that differs."""

    def of_tree(fn):
        return lambda p: fn(jnp.concatenate([p["a"][..., None], p["b"].reshape(3, 4)], -1))

    start = jnp.linspace(-1, 1, 15).reshape(3, 5)
    tree = {"a": start[:, 0], "b": start[:, 1:].reshape(3, 2, 2)}
    kernel = build(name, 0.01, prior=of_tree(logprior), likelihood=of_tree(loglikelihood))
    field = "loglikelihood" if name.startswith("tempered") else "logdensity"
    state, flat = jax.jit(lambda a, b: (kernel.init(a), build(name).init(b)))(tree, start)
    assert_close(getattr(state, field), getattr(flat, field))
    end, _ = jax.jit(kernel.step)(jax.random.key(1), state)
    assert jax.tree.map(jnp.shape, end.position) == jax.tree.map(jnp.shape, tree)
    assert_close(end.position, tree, atol=0.7)
    assert not np.allclose(end.position["b"], tree["b"])


@EVERY_KERNEL
def test_leaves_of_a_pytree_get_independent_noise(name):
    kernel = build(
        name,
        prior=lambda p: -0.5 * (p["a"] ** 2 + p["b"] ** 2),
        likelihood=lambda p: -((p["a"] - p["b"]) ** 2),
    )
    zeros = jnp.zeros(2_000)
    state, _ = compiled_step(kernel, {"a": zeros, "b": zeros})
    a, b = state.position["a"], state.position["b"]
    moved = a != 0
    assert moved.sum() > 500
    assert np.mean(a[moved] == b[moved]) < 0.01


# ------------------------------------------------------------------- compilation


class Counter:
    """Counts forward and backward evaluations as Python sees them."""

    def __init__(self, fn):
        self.forward = self.backward = 0
        counted = jax.custom_vjp(fn)

        def forward(z):
            self.forward += 1
            return fn(z), z

        def backward(z, cotangent):
            self.backward += 1
            return jax.vjp(fn, z)[1](cotangent)

        counted.defvjp(forward, backward)
        self.fn = counted


@EVERY_KERNEL
def test_a_step_makes_one_value_and_gradient_of_each_function(name):
    prior, likelihood = Counter(logprior), Counter(loglikelihood)
    kernel = build(name, prior=prior.fn, likelihood=likelihood.fn)
    state = kernel.init(jnp.ones((5, 2)))
    for steps in range(2, 5):
        state, _ = kernel.step(jax.random.key(steps), state)
        for counter in (prior, likelihood):
            assert (counter.forward, counter.backward) == (steps, steps)


@pytest.mark.parametrize("name", ["ula", "tempered_mala"])
def test_no_key_is_used_twice(name):
    kernel = build(name)
    with jax.debug_key_reuse(True):
        state = kernel.init({"a": jnp.ones((3, 2))}["a"])
        jax.jit(kernel.step)(jax.random.key(0), state)
        te.inference.short_run(jax.random.key(1), kernel, jnp.ones((3, 2)), 3)
        te.inference.run_with_moments(jax.random.key(2), kernel, state, 3)


def test_key_reuse_is_detected_at_all():
    def twice(key):
        return jax.random.normal(key) + jax.random.uniform(key)

    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(twice)(jax.random.key(0))


@EVERY_KERNEL
def test_permuting_keys_and_chains_permutes_the_output(name):
    kernel = build(name)
    position = jax.random.normal(jax.random.key(1), (6, 2))
    keys = jax.random.split(jax.random.key(2), 6)
    order = jnp.array([3, 1, 5, 0, 2, 4])

    @jax.jit
    @jax.vmap
    def run(key, position):
        return te.inference.short_run(key, kernel, position, 5)

    permuted = run(keys[order], position[order])
    assert_close(permuted, jax.tree.map(lambda leaf: leaf[order], run(keys, position)))


@EVERY_KERNEL
def test_moving_one_chain_leaves_the_others_alone(name):
    kernel = build(name)
    position = jax.random.normal(jax.random.key(1), (6, 2))
    key = jax.random.key(2)
    run = jax.jit(lambda p: te.inference.short_run(key, kernel, p, 5).position)
    moved = run(position.at[0].add(10.0))
    assert_close(moved[1:], run(position)[1:])
    assert not np.allclose(moved[0], run(position)[0])


# ------------------------------------------------------------------------ ladders


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
def test_a_ladder_behind_vmap_equals_one_run_per_rung(name):
    ladder = te.schedules.power(4, 2.0)
    start = jax.random.normal(jax.random.key(0), (4, 3, 2))

    @jax.jit
    def run(key, position, t):
        return te.inference.short_run(key, build(name, 0.5, t), position, 6)

    keys = jax.random.split(jax.random.key(1), 4)
    together = jax.vmap(run)(keys, start, ladder)
    for k in range(4):
        one = run(keys[k], start[k], ladder[k])
        assert_close(jax.tree.map(lambda leaf, k=k: leaf[k], together), one, rtol=1e-5)


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
def test_a_ladder_folded_into_the_chain_axis_equals_one_run_per_rung(name):
    """With the same key and shape the noise is the same, so each rung can be run alone."""
    ladder = te.schedules.power(4, 2.0)
    steps = jnp.array([0.5, 0.4, 0.3, 0.2])
    start = jax.random.normal(jax.random.key(0), (4, 3, 2))

    @jax.jit
    def run(t, h):
        return te.inference.short_run(jax.random.key(1), build(name, h, t), start, 6)

    together = run(ladder, steps)
    full = run(ladder[:, None] * jnp.ones((1, 3)), steps[:, None] * jnp.ones((1, 3)))
    assert_close(together, full)
    for k in range(4):
        one = run(jnp.full(4, ladder[k]), jnp.full(4, steps[k]))
        for all_rungs, alone in zip(jax.tree.leaves(together), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(all_rungs[k], alone[k], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ reports, drift


@pytest.mark.parametrize("name", ["ula", "tempered_ula"])
def test_ula_reports_the_drift_norm_and_no_acceptance(name):
    kernel = build(name, t=0.4)
    position = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    _, info = compiled_step(kernel, position)
    assert info._fields == ("drift_norm", "effective_temperature")
    assert_close(info.effective_temperature, jnp.ones(2))
    drift = -position - 0.4 * 2 * (position - 1)
    assert_close(info.drift_norm, jnp.linalg.norm(drift, axis=-1))


@pytest.mark.parametrize("name", ["mala", "tempered_mala"])
def test_mala_reports_acceptance(name):
    kernel = build(name, step_size=0.9)
    _, info = compiled_step(kernel, jnp.ones((100, 2)))
    assert info._fields == ("acceptance_rate", "is_accepted")
    assert info.is_accepted.dtype == bool
    assert 0 < info.is_accepted.sum() < 100
    assert jnp.all((info.acceptance_rate >= 0) & (info.acceptance_rate <= 1))


def test_a_proposal_without_a_density_is_rejected():
    for outside in (-jnp.inf, jnp.nan):
        kernel = te.mala(lambda z, c=outside: jnp.where(z > 0, -z, c), 0.5)
        state = kernel.init(jnp.full(200, 0.1))
        state, info = te.inference.trace(
            jax.random.key(0), kernel, state, 20, statistic_fn=lambda s, i: i.is_accepted
        )
        assert jnp.all(state.position > 0)
        assert 0 < info.mean() < 1


@pytest.mark.parametrize(
    ("transform", "clipped"),
    [
        (optax.clip(0.5), lambda g: np.clip(g, -0.5, 0.5)),
        (
            optax.clip_by_global_norm(0.5),
            lambda g: g * np.minimum(1, 0.5 / np.linalg.norm(g, axis=-1, keepdims=True)),
        ),
    ],
    ids=["clip", "clip_by_global_norm"],
)
def test_the_drift_is_transformed_chain_by_chain(transform, clipped):
    position = jnp.array([[0.1, 0.1], [3.0, 4.0], [-30.0, 0.2]])
    h = 0.3
    plain, changed = (te.ula(logprior, h, drift=drift) for drift in (None, transform))
    expected = np.asarray(clipped(-position))
    free, _ = compiled_step(plain, position)
    state, info = compiled_step(changed, position)
    assert_close(state.position - free.position, h * (expected + position), atol=1e-5)
    assert_close(info.drift_norm, np.linalg.norm(expected, axis=-1))


def test_a_drift_with_memory_keeps_one_memory_per_chain():
    kernel = te.ula(logprior, 0.1, drift=optax.trace(0.9))
    position = jax.random.normal(jax.random.key(0), (4, 2))
    state, _ = compiled_step(kernel, position)
    (momentum,) = jax.tree.leaves(state.drift_state)
    assert_close(momentum, -position)


# ------------------------------------------------------------------------- errors


@EVERY_KERNEL
def test_a_bad_step_size_is_named(name):
    for bad in (-0.1, 0.0, float("nan"), float("inf"), [0.1, -0.2]):
        with pytest.raises(te.InputError, match=r"step_size must be positive and finite, got"):
            build(name, step_size=bad)


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
def test_a_bad_temperature_is_named(name):
    for bad in (-0.1, 1.1, float("nan"), [0.5, 2.0]):
        with pytest.raises(te.InputError, match=r"temperature must be between 0 and 1, got"):
            build(name, t=bad)


@EVERY_KERNEL
def test_a_density_that_returns_no_float_is_named(name):
    for returned in (None, jnp.array(1), (jnp.array(1.0),)):
        kernel = build(name, prior=lambda z, r=returned: r, likelihood=loglikelihood)
        if name.startswith("tempered"):
            with pytest.raises(te.InputError, match=r"logprior_fn must return one floating array"):
                kernel.init(jnp.ones(2))


def test_step_size_from_noise_scale():
    assert te.step_size_from_noise_scale(0.4) == pytest.approx(0.08)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(te.InputError, match=r"noise_scale must be positive and finite, got"):
            te.step_size_from_noise_scale(bad)
