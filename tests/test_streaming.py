import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempered_ebm import inference
from tests import checks_loops as checks

FEW = settings(max_examples=20, deadline=None, derandomize=True)


def test_moments_and_covariances_are_those_of_numpy():
    checks.stream_of_moments()
    checks.stream_of_covariances()


@FEW
@given(st.sampled_from([2, 3, 40]), st.sampled_from([1, 4]), st.integers(0, 2**31))
def test_covariance_agrees_with_numpy(num_values, dimension, seed):
    values = 3 + np.random.default_rng(seed).normal(size=(num_values, 2, dimension))
    values = values.astype(np.float32)
    running = checks.feed(
        inference.init_covariance, inference.update_covariance, jnp.asarray(values)
    )
    for chain in (0, 1):
        expected = np.cov(values[:, chain].T).reshape(dimension, dimension)
        np.testing.assert_allclose(running.covariance[chain], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(running.mean[chain], values[:, chain].mean(0), rtol=1e-4)


@FEW
@given(st.sampled_from([2, 30]), st.sampled_from([1, 5]), st.integers(0, 2**31))
def test_pooled_chains_are_one_long_stream(num_values, num_chains, seed):
    checks.pooled_chains_are_one_long_stream(num_values, num_chains, seed)


def test_a_pytree_of_statistics_is_pooled_leaf_by_leaf():
    values = {"a": jnp.arange(12.0).reshape(3, 2, 2), "b": jnp.arange(12.0).reshape(3, 2, 2) ** 2}
    moments = inference.init_moments(jax.tree.map(lambda v: v[0], values))
    for i in range(3):
        moments = inference.update_moments(moments, jax.tree.map(lambda v, i=i: v[i], values))
    pooled = inference.pool_moments(moments, 2)
    for name, value in values.items():
        assert float(pooled.mean[name]) == pytest.approx(float(value.mean()), rel=1e-5)
        assert float(pooled.variance[name]) == pytest.approx(float(value.var(ddof=1)), rel=1e-5)


def test_running_moments_survive_a_large_offset():
    values = 1e4 + np.random.default_rng(0).normal(size=200).astype(np.float32)
    moments = checks.feed(inference.init_moments, inference.update_moments, jnp.asarray(values))
    assert float(moments.mean) == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)
    assert float(moments.variance) == pytest.approx(values.var(ddof=1, dtype=np.float64), rel=0.02)


def test_a_pool_of_many_long_chains_does_not_overflow():
    long = inference.RunningMoments(
        jnp.int32(100_000), jnp.zeros(30_000), jnp.full(30_000, 99_999.0)
    )
    pooled = inference.pool_moments(long, 1)
    assert float(pooled.num_values) == 3e9
    assert float(pooled.variance) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "bool", "int32"])
def test_narrow_numbers_are_added_up_in_single_precision(dtype):
    values = np.random.default_rng(0).integers(0, 2, 3_000)
    moments = checks.feed(
        inference.init_moments, inference.update_moments, jnp.asarray(values, dtype)
    )
    assert moments.mean.dtype == jnp.float32
    assert float(moments.mean) == pytest.approx(values.mean(), abs=1e-5)
    assert float(moments.variance) == pytest.approx(values.var(ddof=1), abs=1e-5)


def test_accumulators_can_be_donated():
    update = jax.jit(inference.update_moments, donate_argnums=0)
    assert float(update(inference.init_moments(jnp.zeros(())), jnp.ones(())).mean) == 1
