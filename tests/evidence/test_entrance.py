"""What comes in at the entrance of a job: functions, positions and precisions of every kind."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import tempered_ebm as te
from tempered_ebm import _closures
from tempered_ebm.evidence._vectorized_target import vectorize

KEY = jax.random.key(0)
STARTS = jax.random.normal(KEY, (64, 2))


def logprior(z):
    return jax.scipy.stats.norm.logpdf(z).sum()


def loglikelihood(z):
    return -0.5 * jnp.sum(z**2)


def loop(z):
    return jax.lax.while_loop(lambda x: x > 1.0, lambda x: x / 2.0, z.sum())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: scipy.stats.norm.logpdf(z).sum(), "loglikelihood_fn must be made of JAX's"),
        (lambda z: loglikelihood(z) if z[0] > 0 else 0.0, "loglikelihood_fn must be made of JAX's"),
        (loop, "loglikelihood_fn must have a gradient, got a loop of unknown length"),
        (lambda z: jnp.nan * loglikelihood(z), "loglikelihood_fn must return numbers, got NaN at"),
    ],
    ids=["scipy", "if", "loop", "nan"],
)
def test_a_function_that_cannot_be_used_is_named(function, message):
    with pytest.raises(te.InputError, match=message) as error:
        te.log_evidence(KEY, (logprior, function), STARTS)
    assert "\n" not in str(error.value)


def test_a_kernel_names_a_function_that_has_no_gradient():
    with pytest.raises(te.InputError, match="logdensity_fn must have a gradient"):
        te.mala(loop, 0.1).init(STARTS[0])


@pytest.mark.parametrize(
    "job",
    [
        lambda: jax.jit(lambda z: te.log_evidence(KEY, (logprior, loglikelihood), z))(STARTS),
        lambda: jax.vmap(lambda k: te.log_evidence(k, (logprior, loglikelihood), STARTS))(
            jax.random.split(KEY)
        ),
        lambda: jax.jit(
            lambda y: te.log_evidence(KEY, (logprior, lambda z: loglikelihood(z - y)), STARTS)
        )(jnp.ones(2)),
    ],
    ids=["jit", "vmap", "data"],
)
def test_a_job_inside_of_a_program_is_refused(job):
    with pytest.raises(te.InputError, match=r"must be known values.*outside of jax\.jit"):
        job()


def test_positions_are_of_one_precision_which_is_at_least_that_of_jax():
    positions = {"a": STARTS.astype(jnp.float16), "b": STARTS[:, 0]}

    def half(z):
        return z["a"].sum().astype(jnp.float16)

    found = vectorize((half, half), positions)
    assert found.position.dtype == found.target.logprior_fn(found.position).dtype == jnp.float32


CODE = """
import jax, jax.numpy as jnp, numpy as np, tempered_ebm as te
starts = np.random.default_rng(0).standard_normal((256, 1)).astype(np.float32)
target = (lambda z: jnp.sum(-0.5 * z**2 - 0.918939), lambda z: jnp.sum(-0.5 * (z - 1.0) ** 2))
report = te.log_evidence(jax.random.key(0), target, starts, num_samples=50)
print(report.log_evidence - (-0.25 - 0.5 * np.log(2)), report.standard_error)
over = lambda fn: jax.vmap(fn)
kernel = te.replica_exchange(te.TemperedTarget(*map(over, target)), te.schedules.power(4, 3.0), 0.1)
jax.jit(kernel.step)(jax.random.key(1), kernel.init(jnp.zeros((4, 1))))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", [{"JAX_ENABLE_X64": "1"}, {"JAX_NUMPY_DTYPE_PROMOTION": "strict"}], ids=str
)
def test_single_precision_under_another_setting(setting):

    result = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env={**os.environ, **setting}
    )
    assert result.returncode == 0, result.stderr
    gap, error = map(float, result.stdout.split())
    assert abs(gap) < 6 * error < 0.1


def regression(rows):
    x = jnp.linspace(-1.0, 1.0, 2 * rows).reshape(rows, 2)
    return lambda z: -jnp.sum(jax.nn.softplus(x @ z)), jnp.zeros((2, 2))


def test_groups_of_evaluations_have_the_values_and_gradients_of_all_at_once(monkeypatch):
    fn, starts = regression(7)
    z = jax.random.normal(KEY, (2, 8, 2))
    weights = jnp.arange(16.0).reshape(2, 8)
    monkeypatch.setattr(
        _closures, "_MEMORY", 4 * _closures._num_bytes(jax.make_jaxpr(fn)(z[0, 0]).jaxpr)
    )
    mapped = vectorize((fn, fn), starts).target.loglikelihood_fn
    assert mapped.func.size == 3  # Fewer, as the vector is unraveled.
    for derivative in (lambda fn: fn, lambda fn: jax.grad(lambda z: jnp.sum(weights * fn(z)))):
        got, want = (derivative(f)(z) for f in (mapped, jax.vmap(jax.vmap(fn))))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_many_rows_of_data_do_not_multiply_with_the_chains():
    """Of 2,000 evaluations at 50,000 rows one array has 400 MB, and a gradient several."""
    fn, starts = regression(50_000)
    target = vectorize((fn, fn), starts).target
    z = jax.ShapeDtypeStruct((2000, 2), jnp.float32)
    compiled = jax.jit(te.TemperedTarget.evaluate).lower(target, z).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**30


def test_arrays_of_loops_count_every_time():
    def once(x):
        return jnp.sin(x)

    def loop(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, None, length=10)[0]

    assert _closures.most_at_once(once, jnp.zeros(2**16)) == 2**10
    assert _closures.most_at_once(loop, jnp.zeros(2**16)) == 2**10 // 11
