"""Temperature, schedule, preconditioner and presets of the unadjusted chain."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tempered_ebm as te
from tempered_ebm.kernels import preconditioning
from tests.kernels import checks_unadjusted as checks


def one_step(kernel, position):
    """One program instead of one for each operation."""
    return jax.jit(lambda z: kernel.step(jax.random.key(0), kernel.init(z)))(position)


@pytest.mark.statistical
@pytest.mark.parametrize("temperature", [0.25, 3.0])
@pytest.mark.parametrize("argument", ["noise_temperature", "noise_scale"])
def test_noise_at_a_temperature_has_its_stationary_law(argument, temperature):
    checks.temperature_of_the_noise(argument, temperature)


@pytest.mark.statistical
def test_the_step_size_follows_its_schedule():
    checks.schedule_of_the_step_size()


def test_each_chain_follows_the_schedule_on_its_own():
    checks.schedule_of_each_chain()


def test_the_effective_temperature_follows_schedule_and_scale():
    """T = s^2 / (2 h_n), chain by chain where the scale is given chain by chain."""
    scale = jnp.array([0.1, 0.2, 0.4])
    kernel = te.ula(
        lambda z: -0.5 * jnp.sum(z**2, -1),
        optax.linear_schedule(0.1, 0.2, 2),
        noise_scale=scale,
    )
    state, step = jax.jit(kernel.init)(jnp.ones((3, 2))), jax.jit(kernel.step)
    for h in (0.1, 0.15, 0.2, 0.2):
        state, info = step(jax.random.key(0), state)
        np.testing.assert_allclose(info.effective_temperature, scale**2 / (2 * h), rtol=1e-5)


def test_rmsprop_is_that_of_optax():
    checks.rmsprop_is_that_of_optax()


@pytest.mark.statistical
def test_rmsprop_with_a_long_memory_keeps_the_variances():
    checks.rmsprop_keeps_the_variances()


@pytest.mark.slow
@pytest.mark.statistical
def test_a_drift_of_rmsprop_without_its_noise_does_not():
    squares, variance = checks.long_run_variances(None)
    ratio = squares.mean(0) / variance
    assert ratio[0] > 2
    with pytest.raises(AssertionError, match="means are wrong"):
        checks.rmsprop_keeps_the_variances(None)


def test_rmsprop_has_one_memory_per_chain():
    kernel = te.ula(
        lambda z: -0.5 * jnp.sum(z**2, -1), 0.1, inverse_mass_matrix=preconditioning.rmsprop(0.9)
    )
    position = jax.random.normal(jax.random.key(0), (4, 2))
    state, _ = one_step(kernel, position)
    np.testing.assert_allclose(state.metric_state, 0.9 + 0.1 * position**2, rtol=1e-5)


@pytest.mark.parametrize(("argument", "bad"), [("decay", 1.0), ("decay", -0.1), ("damping", 0.0)])
def test_bad_settings_of_rmsprop_are_named(argument, bad):
    with pytest.raises(te.InputError, match=rf"{argument} must be .*got {bad}"):
        preconditioning.rmsprop(**{argument: bad})


@pytest.mark.parametrize("argument", ["noise_scale", "noise_temperature"])
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_noise_is_named(argument, bad):
    with pytest.raises(te.InputError, match=rf"{argument} must be positive and finite, got {bad}"):
        te.ula(lambda z: -jnp.sum(z**2), 0.1, **{argument: bad})


def test_two_noises_are_named():
    with pytest.raises(te.InputError, match=r"both set the noise.* got 0.1 and 2.0"):
        te.ula(lambda z: -jnp.sum(z**2), 0.1, noise_scale=0.1, noise_temperature=2.0)


# ------------------------------------------------------------------------ presets

PRESETS = {
    "pang2020.prior": (te.presets.pang2020.prior, (60, 0.08, None, 0.4, None), 1.0),
    "pang2020.posterior": (te.presets.pang2020.posterior, (20, 0.005, None, 0.1, None), 1.0),
    "igebm": (te.presets.igebm, (60, 10.0, None, 0.005, 0.01), 1.25e-6),
    "jem": (te.presets.jem, (20, 1.0, None, 0.01, None), 5e-5),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_numbers_of_its_paper(name):
    preset, numbers, temperature = PRESETS[name]
    noise_scale = preset.noise_scale or math.sqrt(2 * preset.step_size)
    assert preset._replace(noise_scale=noise_scale)[:5] == pytest.approx(numbers)
    assert not preset.metropolis
    assert preset.effective_temperature == pytest.approx(temperature)


def test_the_likelihood_of_pang():
    assert te.presets.pang2020.likelihood_scale == 0.3


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_hand_written_update(name):
    checks.preset_is_the_hand_written_update(PRESETS[name][0])


def test_decoupled_noise_outlives_a_step_size_of_zero():
    kernel = te.ula(
        lambda z: -0.5 * jnp.sum(z**2, -1), optax.cosine_decay_schedule(0.5, 3), noise_scale=0.1
    )
    _, positions = te.inference.trace(
        jax.random.key(0), kernel, jax.jit(kernel.init)(jnp.ones(2)), 8
    )
    assert np.isfinite(positions).all()
    assert np.all(np.diff(np.asarray(positions[4:, 0])) != 0)


def test_per_chain_noise_matches_the_chains_from_the_left():
    """As the step size does, whether that is a number or a schedule."""
    for step_size in (0.1, optax.constant_schedule(0.1)):
        kernel = te.ula(
            lambda z: -0.5 * jnp.sum(z**2, -1), step_size, noise_scale=[1e-3, 1.0, 10.0]
        )
        _, info = one_step(kernel, jnp.zeros((3, 3, 2)))
        expected = np.square([1e-3, 1.0, 10.0]) / 0.2
        np.testing.assert_allclose(
            info.effective_temperature, np.broadcast_to(expected[:, None], (3, 3)), rtol=1e-5
        )


def test_rmsprop_starts_as_the_identity_where_there_is_no_gradient():
    kernel = te.ula(
        lambda z: -0.5 * jnp.sum(z**2, -1), 0.05, inverse_mass_matrix=preconditioning.rmsprop()
    )
    state, _ = one_step(kernel, jnp.zeros((500, 2)))
    assert 0.25 < float(state.position.std()) < 0.4


@pytest.mark.parametrize("shape", [(4, 2), (2,), (4, 2, 1)])
def test_a_step_size_that_fits_only_the_coordinates_is_named(shape):
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum(z, -1))
    step_size = jnp.full(shape, 0.1)
    for kernel in (te.ula(target.logprior_fn, step_size), te.tempered_ula(target, 0.5, step_size)):
        with pytest.raises(te.InputError, match="step_size has shape"):
            kernel.step(jax.random.key(0), kernel.init(jnp.zeros((4, 2))))


def test_a_uniform_is_never_zero():
    from tempered_ebm.kernels import langevin

    for dtype in ("float32", "bfloat16", "float16"):
        draws = langevin.log_uniform(jax.random.key(0), jnp.zeros(500_000, dtype))
        assert draws.dtype == jnp.float32
        assert float(draws.min()) >= -17
        assert float(draws.max()) <= 0
