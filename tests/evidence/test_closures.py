"""Arrays that functions close over are operands of compiled programs."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempered_ebm import _closures
from tests.evidence import checks_closures as checks
from tests.test_recompilation import COMPILATION, counting

QUICK_JOBS = ("pilot", "step sizes")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK_JOBS else pytest.param(name, marks=pytest.mark.slow)
        for name in checks.JOBS
    ],
)
def test_new_data_of_the_same_shapes_compile_nothing(name):
    if name == "numpyro":
        pytest.importorskip("numpyro")
    checks.new_data_compile_nothing(name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_over_many_data_sets():
    checks.memory_is_flat(30)


def plain(x, key):
    return lambda z: jnp.sum(z * x * np.asarray(x)) + jax.random.normal(key, ()) * jnp.sum(z)


def jitted(x, key):
    return jax.jit(plain(x, key))


def jitted_within(x, key):
    inner = jitted(x, key)
    return lambda z: jax.jit(lambda z: 2 * inner(z))(z) + x.sum()


def branches(x, key):
    return lambda z: jax.lax.cond(z.sum() > -100, plain(x, key), lambda z: -z.sum(), z)


def scanned(x, key):
    return lambda z: jax.lax.scan(lambda total, y: (total + jnp.sum(y * z), None), 0.0, x)[0]


def of_a_library(x, key):
    return lambda z: jax.scipy.special.xlogy(x, z).sum() + jnp.logaddexp(x, z).sum()


OPERANDS = (plain, jitted, jitted_within, branches, scanned, of_a_library)


def rule_of_its_own(x, key):
    """Its gradient closes over the data where no caller sees them."""

    @jax.custom_vjp
    def fn(z):
        return jnp.sum(z * x)

    fn.defvjp(lambda z: (fn(z), None), lambda _, cotangent: (cotangent * x,))
    return fn


def forward_rule_of_its_own(x, key):
    @jax.custom_jvp
    def fn(z):
        return jnp.sum(z * x)

    fn.defjvp(lambda primals, tangents: (fn(*primals), jnp.sum(tangents[0] * x)))
    return fn


def called_back(x, key):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return lambda z: jax.pure_callback(lambda: np.float32(x.sum()), shape) * jnp.sum(z)


def jitted_in_a_branch(x, key):
    return lambda z: jax.lax.cond(z.sum() > -100, jitted(x, key), lambda z: -z.sum(), z)


OTHERS = (rule_of_its_own, forward_rule_of_its_own, called_back, jitted_in_a_branch)


@pytest.mark.parametrize("build", [*OPERANDS, *OTHERS])
def test_values_and_gradients_are_those_of_the_function(build):
    """For three data sets one after the other; arrays that are operands compile once."""
    z, total = jnp.arange(3.0) + 0.5, 0
    both = jax.jit(lambda fn, z: jax.value_and_grad(fn)(z))
    for seed in range(3):
        fn = build(jnp.arange(3.0) + seed, jax.random.key(seed))
        expected = jax.value_and_grad(fn)(z)
        closed = _closures.close(fn, z, num_derivatives=1)
        with counting(COMPILATION) as found:
            got = both(closed, z)
        total += len(found)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    assert total == (1 if build in OPERANDS else 3)


def test_a_call_takes_and_returns_pytrees():
    def fn(pair, scale):
        return {"sum": scale * (pair[0] + pair[1]), "key": jax.random.fold_in(pair[2], 1)}

    arguments = (jnp.ones(2), jnp.arange(2.0), jax.random.key(0)), 2.0
    got = _closures.call(fn, *arguments)
    np.testing.assert_array_equal(got["sum"], [2.0, 4.0])
    assert got["key"] == fn(*arguments)["key"]


def test_other_structures_are_other_programs():
    z = jnp.ones(3)
    x = jnp.ones(3)
    structures = [
        jax.tree.structure(_closures.close(fn, z))
        for fn in (lambda z: z * x, lambda z: z + x, lambda z: z * x[:, None], lambda z: (z * x,))
    ]
    assert len(set(structures)) == 4
    again = jax.tree.structure(_closures.close(lambda z: z * (x + 1), z))
    assert again not in structures[1:]
    y = x + 1
    assert jax.tree.structure(_closures.close(lambda z: z * y, z)) == structures[0]
