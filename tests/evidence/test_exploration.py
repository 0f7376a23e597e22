import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.evidence import _exploration as exploration
from tests import ground_truths as gt
from tests.evidence import checks_reference


def scalar(path):
    """The path in one dimension, on vectors of one coordinate."""
    return te.TemperedTarget(*(lambda z, fn=fn: fn(z[..., 0]) for fn in path.target))


def explore(key, target, start):
    return exploration.explore(key, checks_reference.operand(target), start)


SKEWED = scalar(gt.SKEWED_GAMMA)


@functools.cache
def explored(seed, num=512):
    start = gt.SKEWED_GAMMA.sample(gt.rng(seed), 0.0, num)[:, None]
    return explore(gt.key(seed), SKEWED, jnp.asarray(start, jnp.float32))


def test_particles_reach_the_posterior_and_know_their_log_densities():
    found = explored(0)
    assert float(found.temperature) == 1.0
    assert 1 <= int(found.num_temperatures) < 20
    np.testing.assert_allclose(
        found.state.loglikelihood, SKEWED.loglikelihood_fn(found.state.position), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.state.logprior, SKEWED.logprior_fn(found.state.position), rtol=1e-5
    )
    for fn, grad in zip(
        SKEWED, (found.state.logprior_grad, found.state.loglikelihood_grad), strict=True
    ):
        expected = jax.grad(lambda z, fn=fn: fn(z).sum())(found.state.position)
        np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.statistical
def test_particles_are_roughly_of_the_posterior():
    """A heuristic: particles share ancestors and settings adapt, so the bound is loose."""
    path = gt.SKEWED_GAMMA
    runs = [np.asarray(explored(seed).state.position)[:, 0] for seed in range(8)]
    rows = np.array([path.statistics(z).mean(0) for z in runs])
    spread = np.sqrt(path.variance_loglikelihood(1.0))
    np.testing.assert_allclose(rows.mean(0)[:3], path.expected(1.0)[:3], atol=0.15)
    assert abs(rows.mean(0)[3] - path.mean_loglikelihood(1.0)) < 0.3 * spread
    logs = [float(explored(seed).log_evidence) for seed in range(8)]
    assert abs(np.mean(logs) - path.log_z(1.0)) < 0.15


def test_history_has_the_first_temperatures_and_then_the_last():
    found = explored(0)
    visited = int(found.num_temperatures)
    assert found.history.shape == (16, 512, 1)
    stages = np.asarray(found.history)
    for i in range(min(visited, 16) - 1):
        assert (stages[i] != stages[i + 1]).any(), i
    for later in stages[visited - 1 :]:
        np.testing.assert_array_equal(later, found.state.position)


def test_every_gradient_is_counted():
    calls = []

    def count(x):
        calls.append(x.size)
        return x

    def loglikelihood(z):
        counted = jax.pure_callback(
            count,
            jax.ShapeDtypeStruct(z.shape[:-1], z.dtype),
            jax.lax.stop_gradient(z[..., 0]),
            vmap_method="expand_dims",
        )
        return counted * 0.0 - 20 * jnp.sum((z - 1) ** 2, -1)

    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), loglikelihood)
    start = jax.random.normal(jax.random.key(0), (32, 2))
    found = jax.block_until_ready(explore(jax.random.key(1), target, start))
    assert int(found.num_temperatures) > 1
    assert sum(calls) == exploration.num_gradients(found, 32)


def half_space(z):
    return jnp.where(z[..., 0] > 0, -2.0 * jnp.sum(z**2, -1), -jnp.inf)


@pytest.mark.parametrize("dimension", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_impossible_half_of_the_prior_does_not_stop_it(dimension):
    """``log Z = log 1/2 - d/2 log 5``; every particle ends where the likelihood is positive."""
    target = te.TemperedTarget(lambda z: jax.scipy.stats.norm.logpdf(z).sum(-1), half_space)
    start = jax.random.normal(jax.random.key(0), (512, dimension))
    found = explore(jax.random.key(1), target, start)
    assert float(found.temperature) == 1.0
    assert np.isfinite(found.state.position).all()
    assert (np.asarray(found.state.position)[:, 0] > 0).all()
    truth = np.log(0.5) - 0.5 * dimension * np.log(5)
    assert abs(float(found.log_evidence) - truth) < 0.5


def test_one_trace_serves_every_key():
    traces = []

    def loglikelihood(z):
        traces.append(1)
        return -jnp.sum(z**2, -1)

    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), loglikelihood)
    explore(jax.random.key(0), target, jnp.ones((16, 2)) * jnp.arange(16)[:, None])
    first = len(traces)
    explore(jax.random.key(1), target, jnp.ones((16, 2)) + jnp.arange(16)[:, None])
    assert len(traces) == first


@pytest.mark.slow
def test_a_steep_likelihood_takes_more_temperatures_and_no_more_than_the_most(monkeypatch):
    def steep(scale):
        scale = jnp.float32(scale)  # An operand, so that one program serves.
        return te.TemperedTarget(
            lambda z: -0.5 * jnp.sum(z**2, -1),
            lambda z: -0.5 * jnp.sum((z - 1) ** 2, -1) / scale**2,
        )

    start = jax.random.normal(jax.random.key(0), (64, 4))
    numbers = [explore(jax.random.key(1), steep(scale), start) for scale in (1.0, 0.1, 0.001)]
    visited = [int(found.num_temperatures) for found in numbers]
    assert visited == sorted(set(visited)), visited
    assert all(float(found.temperature) == 1.0 for found in numbers)
    monkeypatch.setattr(exploration, "_MOST_TEMPERATURES", 5)
    short = explore(jax.random.key(1), steep(0.001), start)
    assert int(short.num_temperatures) == 5
    assert 0 < float(short.temperature) < 1


def test_coordinates_there_and_back():
    """Gradients transform with the position: ``∇_u f(L u) = Lᵀ ∇_z f(z)``."""
    z = jax.random.normal(jax.random.key(0), (20, 3))
    factor = exploration.covariance_factor(z * jnp.array([1.0, 5.0, 0.1]))
    state = te.kernels.tempered.init(
        z, te.TemperedTarget(lambda z: -jnp.sum(z**4, -1), lambda z: jnp.sum(jnp.sin(z), -1))
    )
    white = exploration.change_coordinates(state, factor)
    np.testing.assert_allclose(white.position @ factor.T, z, atol=1e-4)
    expected = jax.grad(lambda u: -jnp.sum((u @ factor.T) ** 4))(white.position)
    np.testing.assert_allclose(white.logprior_grad, expected, rtol=1e-3, atol=1e-3)
    back = exploration.change_coordinates(white, factor, back=True)
    for leaf, other in zip(back, state, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-4)
