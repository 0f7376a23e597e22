"""Sources of noise: the default is jax.random's own, the other has the same law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.kernels import _noise as noise
from tests.kernels import checks_noise as checks

SOURCES = {"jax_random": noise.jax_random_noise, "box_muller": noise.box_muller_noise}
SHAPES = [(), (5,), (2, 3, 5)]


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_cipher_has_the_known_answers_of_random123(key, counter, expected):
    words = noise.threefry_2x32(tuple(map(jnp.uint32, key)), tuple(map(jnp.uint32, counter)))
    assert tuple(map(int, words)) == expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
@pytest.mark.parametrize("is_jitted", [False, True])
def test_the_default_has_the_numbers_of_jax_random(shape, dtype, is_jitted):
    wrap = jax.jit if is_jitted else lambda fn: fn
    with jax.enable_x64(dtype == jnp.float64):
        key = jax.random.key(7)
        for ours, theirs in (
            (noise.jax_random_noise.normal, jax.random.normal),
            (noise.jax_random_noise.uniform, jax.random.uniform),
        ):
            got = wrap(lambda key, ours=ours: ours(key, shape, dtype))(key)
            expected = wrap(lambda key, theirs=theirs: theirs(key, shape, dtype))(key)
            assert got.dtype == dtype
            np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_both_kinds_of_keys_and_batches_of_them_serve(make):
    key = make(3)
    keys = jax.random.split(key, 4)
    for source in SOURCES.values():
        one_by_one = jnp.stack([source.normal(k, (3, 2), jnp.float32) for k in keys])
        mapped = jax.vmap(lambda k, s=source: s.normal(k, (3, 2), jnp.float32))(keys)
        np.testing.assert_array_equal(mapped, one_by_one)
    expected = jax.random.normal(key, (3, 2))
    np.testing.assert_array_equal(noise.jax_random_noise.normal(key, (3, 2), jnp.float32), expected)


def test_keys_of_another_generator_serve():
    key = jax.random.key(0, impl="rbg")
    expected = jax.random.normal(key, (50,))
    np.testing.assert_array_equal(noise.jax_random_noise.normal(key, (50,), jnp.float32), expected)
    draws = [
        noise.box_muller_noise.normal(jax.random.fold_in(key, i), (50,), jnp.float32)
        for i in range(2)
    ]
    assert not np.array_equal(*draws)


def test_leaves_have_noise_of_their_own():
    position = {"a": jnp.zeros((6, 2)), "b": jnp.zeros((6, 2))}
    for source in SOURCES.values():
        draw = source.like(jax.random.key(1), position)
        assert not np.array_equal(draw["a"], draw["b"])


@pytest.mark.statistical
def test_box_muller_is_normal_and_uncorrelated():
    checks.box_muller_is_normal_and_uncorrelated()


@pytest.mark.statistical
def test_draws_of_successive_keys_are_independent():
    checks.successive_keys_are_independent()


@pytest.mark.parametrize("name", ["ula", "mala", "tempered_ula", "tempered_mala", "exchange"])
def test_every_kernel_takes_a_source(name):
    """With a source of zeros an unadjusted step is the drift alone; with another it differs."""
    zeros = noise.NoiseSource(
        lambda key, shape, dtype: jnp.zeros(shape, dtype),
        noise.jax_random_noise.uniform,
    )
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -jnp.sum(z**2, -1))
    t = jnp.array([0.0, 1.0])

    def build(source):
        return {
            "ula": lambda: te.ula(target.logprior_fn, 0.1, noise=source),
            "mala": lambda: te.mala(target.logprior_fn, 0.1, noise=source),
            "tempered_ula": lambda: te.tempered_ula(target, t, 0.1, noise=source),
            "tempered_mala": lambda: te.tempered_mala(target, t, 0.1, noise=source),
            "exchange": lambda: te.replica_exchange(
                target, t, 0.1, metropolis=False, swap_every=100, noise=source
            ),
        }[name]()

    def moved(source):
        kernel = build(source)
        step = jax.jit(lambda z: kernel.step(jax.random.key(0), kernel.init(z))[0].position)
        return step(jnp.ones((2, 3)))

    factor = jnp.full((2, 3), 0.9) if name in ("ula", "mala") else jnp.array([[0.9], [0.7]])
    # The first step of an exchange swaps.
    moves = jnp.sort(moved(zeros), 0), jnp.sort(jnp.broadcast_to(factor, (2, 3)), 0)
    np.testing.assert_allclose(*moves, rtol=1e-6)
    assert not np.array_equal(moved(noise.jax_random_noise), moved(noise.box_muller_noise))
