import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import inference
from tests import checks_loops as checks


@pytest.fixture(scope="module")
def kernel():
    return te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), 1.0)


@pytest.fixture(scope="module")
def state(kernel):
    return kernel.init(jnp.linspace(-1, 1, 6).reshape(3, 2))


KEY = jax.random.key(0)


def both(state, info):
    return {"position": state.position, "rate": info.acceptance_rate}


def test_moments_agree_with_numpy_on_the_trace(kernel, state):
    end, values = inference.trace(KEY, kernel, state, 40, statistic_fn=both)
    last, moments = inference.run_with_moments(KEY, kernel, state, 40, statistic_fn=both)
    assert int(moments.num_values) == 40
    for name, trace in values.items():
        trace = np.asarray(trace, np.float64)
        np.testing.assert_allclose(moments.mean[name], trace.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            moments.variance[name], trace.var(0, ddof=1), rtol=1e-4, atol=1e-6
        )
    np.testing.assert_array_equal(end.position, last.position)


def test_covariance_agrees_with_numpy_on_the_trace(kernel, state):
    end, positions = inference.trace(KEY, kernel, state, 40)
    last, running = inference.run_with_covariance(KEY, kernel, state, 40)
    np.testing.assert_array_equal(end.position, last.position)
    for chain in range(3):
        expected = np.cov(np.asarray(positions[:, chain], np.float64).T)
        np.testing.assert_allclose(running.covariance[chain], expected, rtol=1e-4, atol=1e-5)


def test_the_loglikelihood_is_a_statistic():
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum((z - 1) ** 2, -1))
    kernel = te.replica_exchange(target, te.schedules.uniform(3), 0.1)
    shapes = jax.eval_shape(
        lambda z: inference.run_with_moments(
            KEY, kernel, kernel.init(z), 10, statistic_fn=lambda state, info: state.loglikelihood
        )[1][1:],
        jnp.zeros((3, 5, 2)),
    )
    assert {leaf.shape for leaf in jax.tree.leaves(shapes)} == {(3, 5)}


def test_a_statistic_without_a_covariance_is_named(kernel, state):
    with pytest.raises(te.InputError, match="statistic_fn must return one array of vectors, got"):
        inference.run_with_covariance(KEY, kernel, state, 3, statistic_fn=both)


@pytest.mark.parametrize(
    "loop",
    [inference.advance, inference.trace, inference.run_with_moments],
    ids=lambda f: f.__name__,
)
def test_a_progress_bar_of_blackjax_finds_the_loop(kernel, state, loop, monkeypatch):
    """It replaces ``jax.lax.scan`` and counts the steps of the outermost one."""
    lengths, scan = [], jax.lax.scan
    monkeypatch.setattr(
        jax.lax,
        "scan",
        lambda f, init, xs, **k: (lengths.append(len(xs)), scan(f, init, xs, **k))[1],
    )
    loop(KEY, kernel, state, 17)
    assert lengths[0] == 17


@pytest.mark.slow
def test_the_progress_bar_of_blackjax_shows_all_steps(kernel, state, tmp_path):
    pytest.importorskip("jaxtap")
    jax.clear_caches()
    with blackjax.progress_bar(output_file=str(tmp_path / "progress")):
        jax.block_until_ready(inference.advance(KEY, kernel, state, 40))
    assert (tmp_path / "progress").read_text().split() == ["40", "40"]


def test_the_variance_of_one_value_is_not_a_number(kernel, state):
    _, moments = inference.run_with_moments(KEY, kernel, state, 1)
    assert np.all(np.isnan(moments.variance))
    assert np.all(np.isfinite(moments.mean))


def test_a_short_run_ends_where_the_trace_ends(kernel, state):
    _, positions = inference.trace(KEY, kernel, state, 9)
    assert positions.shape == (9, 3, 2)
    end = inference.short_run(KEY, kernel, state.position, 9)
    np.testing.assert_array_equal(end.position, positions[-1])
    assert len(np.unique(positions[:, 0, 0])) > 1


def test_the_default_statistic_is_the_position(kernel, state):
    _, positions = inference.trace(KEY, kernel, state, 5)
    _, moments = inference.run_with_moments(KEY, kernel, state, 5)
    np.testing.assert_allclose(moments.mean, np.mean(positions, 0), rtol=1e-5, atol=1e-6)


def test_no_steps_leave_the_state_alone(kernel, state):
    end = inference.short_run(KEY, kernel, state.position, 0)
    jax.tree.map(np.testing.assert_array_equal, end, state)


def test_the_loops_compile_once_for_all_keys(kernel, state):
    traces = []

    @jax.jit
    def run(key, state):
        traces.append(1)
        return inference.advance(key, kernel, state, 3).position

    assert not np.allclose(run(jax.random.key(1), state), run(jax.random.key(2), state))
    assert len(traces) == 1


@pytest.mark.parametrize("bad", [-1, 1.0, True, "3", None])
def test_a_bad_number_of_steps_is_named(kernel, state, bad):
    with pytest.raises(te.InputError, match=r"num_steps must be an integer >= 0, got"):
        inference.short_run(KEY, kernel, state.position, bad)
    for loop in (inference.trace, inference.run_with_moments):
        with pytest.raises(te.InputError, match=r"num_steps must be an integer >= 1, got"):
            loop(KEY, kernel, state, bad)


def test_averages_need_a_step(kernel, state):
    for loop in (inference.trace, inference.run_with_moments):
        with pytest.raises(te.InputError, match=r"num_steps must be an integer >= 1, got 0"):
            loop(KEY, kernel, state, 0)


@pytest.mark.statistical
@pytest.mark.parametrize("name", checks.LOOPS)
def test_every_step_has_its_own_noise(name):
    checks.every_step_has_its_own_noise(name)
