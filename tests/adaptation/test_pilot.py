import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.errors import DivergedError
from tests import ground_truths as gt
from tests.adaptation import checks_pilot as checks

GAUSSIAN, SKEWED = gt.LINEAR_GAUSSIAN, gt.SKEWED_GAMMA


def name(path):
    return next(key for key, value in gt.REFERENCE_PATHS.items() if value is path)


@pytest.mark.slow  # The closed forms of the ladder guard the quick tests.
@pytest.mark.statistical
@pytest.mark.parametrize("path", [SKEWED, GAUSSIAN], ids=name)
def test_it_finds_the_ladder_of_equal_length(path):
    checks.ladder_of_equal_length(path)


@pytest.mark.statistical
@pytest.mark.parametrize("path", [GAUSSIAN, pytest.param(SKEWED, marks=pytest.mark.slow)], ids=name)
def test_it_tunes_every_rung_and_finds_the_ladder_of_equal_rejection(path):
    checks.rungs_are_tuned(path)


@pytest.mark.slow
@pytest.mark.statistical
def test_what_is_reported_was_measured_with_the_frozen_tuning():
    checks.what_is_reported_was_measured_with_the_frozen_tuning()


def run(num_temperatures=5):
    path = gt.LINEAR_GAUSSIAN
    start = jnp.asarray(path.sample(gt.rng(0), 0.0, 50), jnp.float32)
    return te.pilot.run(gt.key(0), path.target, start, num_temperatures)


@pytest.fixture(scope="module")
def pilot():
    return run()


@pytest.mark.statistical
def test_the_result_is_data_for_the_kernel(pilot):
    """What is tuned is frozen: the kernel is built from arrays, and leaves its law invariant."""
    path = gt.LINEAR_GAUSSIAN
    ladder = np.asarray(pilot.tuning.temperatures, np.float64)
    rng = gt.rng(0)
    start = np.stack([path.sample(rng, t, 50_000) for t in ladder])

    @jax.jit
    def run(key, tuning, start):
        kernel = te.replica_exchange(path.target, **tuning._asdict())
        return te.inference.short_run(key, kernel, start, 4)

    state = run(gt.key(1), pilot.tuning, jnp.asarray(start, jnp.float32))
    for k, t in enumerate(ladder):
        end = np.asarray(state.position[k], np.float64)
        gt.assert_expectations(path.statistics(end), path.expected(t), f"t={t}")


def test_the_chains_go_on_from_the_pilot(pilot):
    kernel = te.replica_exchange(gt.LINEAR_GAUSSIAN.target, **pilot.tuning._asdict())
    state, info = jax.jit(kernel.step)(jax.random.key(0), pilot.state)
    assert state.position.shape == pilot.state.position.shape == (5, 50, 2)
    assert info.acceptance_rate.shape == (5, 50)


def test_the_last_round_leaves_the_ladder_alone(pilot):
    assert pilot.ladders.shape == (6, 5)
    np.testing.assert_array_equal(pilot.ladders[-1], pilot.tuning.temperatures)
    np.testing.assert_array_equal(pilot.ladders[0], te.schedules.power(5, 5.0))


def test_the_same_key_gives_the_same_tuning(pilot):
    again = run()
    jax.tree.map(np.testing.assert_array_equal, pilot.tuning, again.tuning)


@pytest.mark.slow
def test_one_ladder_of_a_scalar_pytree_target():
    target = te.TemperedTarget(
        lambda z: -0.5 * (jnp.sum(z["a"] ** 2) + z["b"] ** 2),
        lambda z: -20.0 * jnp.sum((z["a"] - z["b"]) ** 2),
    )
    pilot = te.pilot.run(
        jax.random.key(0), target, {"a": jnp.ones(2), "b": jnp.zeros(())}, 4, num_rounds=3
    )
    metric = pilot.tuning.inverse_mass_matrix
    assert metric["a"].shape == (4, 2)
    assert metric["b"].shape == (4,)
    assert np.all(np.diff(pilot.tuning.temperatures) > 0)
    kernel = te.replica_exchange(target, **pilot.tuning._asdict())
    assert np.isfinite(kernel.step(jax.random.key(1), pilot.state)[0].loglikelihood).all()


@pytest.mark.slow
def test_a_flat_likelihood_gives_a_uniform_ladder_and_no_collapse():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: 0.0 * jnp.sum(z, -1))
    start = jax.random.normal(jax.random.key(0), (10, 2))
    pilot = te.pilot.run(jax.random.key(0), target, start, 4, num_rounds=2, ladder="equal_length")
    np.testing.assert_allclose(pilot.tuning.temperatures, np.arange(4) / 3, atol=1e-6)


def test_unadjusted_moves_keep_the_step_size_they_are_given():
    start = jax.random.normal(jax.random.key(0), (50, 2))
    target = gt.LINEAR_GAUSSIAN.target
    pilot = te.pilot.run(
        jax.random.key(0), target, start, 4, metropolis=False, step_size=0.02, num_rounds=3
    )
    assert np.isnan(pilot.acceptance_rate).all()
    in_first_units = pilot.tuning.step_size * np.exp(
        np.log(pilot.tuning.inverse_mass_matrix).mean(1)
    )
    np.testing.assert_allclose(in_first_units, 0.02, rtol=0.1)
    with pytest.raises(te.InputError, match="step_size must be given for unadjusted moves"):
        te.pilot.run(jax.random.key(0), target, start, 4, metropolis=False)


@pytest.mark.slow
def test_a_hard_path_from_a_bad_ladder():
    """Twenty coordinates, E_0 of -3e6 nats, and a first ladder of fifth powers.

    Wide limits around what every ladder of such a pilot reaches, on one fixed data set. Of the
    200 observations a likelihood needs their QR decomposition alone: 20 rows, up to a constant.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20)) * np.logspace(-1, 1, 20)
    y = X @ rng.normal(size=20) + 0.1 * rng.normal(size=200)
    Q, R = np.linalg.qr(X)
    X, y = (jnp.asarray(v, jnp.float32) for v in (R, Q.T @ y))
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -50.0 * jnp.sum((y - z @ X.T) ** 2, -1)
    )
    start = jax.random.normal(jax.random.key(0), (16, 20))
    pilot = te.pilot.run(jax.random.key(1), target, start, 40)
    assert np.ptp(pilot.swap_acceptance_rate) < 0.1
    assert np.all(np.asarray(pilot.swap_acceptance_rate) > 0.4)
    assert np.all(np.abs(np.asarray(pilot.acceptance_rate) - 0.574) < 0.06)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_rounds": 1}, "num_rounds must be an integer >= 2, got 1"),
        ({"num_steps": 9}, "num_steps must be an integer >= 10, got 9"),
        ({"ladder": "even"}, "ladder must be 'equal_rejection', 'equal_length' or 'fixed', got"),
        ({"target_acceptance": 1.0}, "target_acceptance must be between 0 and 1"),
        ({"temperatures": np.array([0.0, 0.5, 1.0])}, r"temperatures must have shape \(4,\)"),
        ({"step_size": -1.0}, "step_size must be positive"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(te.InputError, match=message):
        te.pilot.run(jax.random.key(0), gt.LINEAR_GAUSSIAN.target, jnp.zeros((3, 2)), 4, **options)


def test_a_chain_that_starts_at_nan_is_named():
    with pytest.raises(te.InputError, match=r"position must be finite .* of chain \(0, 1\)"):
        te.pilot.run(
            jax.random.key(0),
            gt.LINEAR_GAUSSIAN.target,
            jnp.zeros((3, 2)).at[1, 0].set(jnp.nan),
            4,
        )


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.1, 1e-3])
def test_metrics_of_badly_scaled_coordinates_are_their_variances(scale):
    """One ladder, variances up to 1e6 apart: shrinkage must not mix them."""
    variance = jnp.array([1.0, scale**2])
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2), lambda z: -0.5 * jnp.sum(z**2 / variance)
    )
    pilot = te.pilot.run(jax.random.key(0), target, jnp.ones(2), 6, num_rounds=7)
    truth = 1 / (1 + pilot.tuning.temperatures[:, None] / variance)
    ratio = np.asarray(pilot.tuning.inverse_mass_matrix / truth)
    assert np.all((ratio > 0.4) & (ratio < 2.5)), ratio


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_any_precision_of_positions_and_ladder(dtype):
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -jnp.sum(z**2, -1))
    with jax.enable_x64(True):
        start = jnp.ones((4, 2), dtype)
        ladder = jnp.array([0.0, 0.5, 1.0], "float32")
        pilot = te.pilot.run(
            jax.random.key(0), target, start, 3, num_rounds=2, num_steps=10, temperatures=ladder
        )
    assert pilot.state.position.dtype == dtype
    assert pilot.tuning.step_size.dtype == "float32"
    assert np.all(np.asarray(pilot.tuning.step_size) > 0)


@pytest.mark.slow
def test_rungs_without_a_usable_tuning_are_named():
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -jnp.inf * jnp.ones(z.shape[:-1])
    )
    with pytest.raises(DivergedError, match=r"no usable step size or metric on rungs \[1, 2\]"):
        te.pilot.run(jax.random.key(0), target, jnp.zeros((4, 2)), 3, num_rounds=2)
