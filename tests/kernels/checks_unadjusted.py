"""Decisive checks of temperature, schedule, preconditioner and presets of unadjusted chains."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

import tempered_ebm as te
from tempered_ebm.kernels import preconditioning
from tests import ground_truths as gt
from tests.kernels import checks_kernels as checks
from tests.kernels import checks_metric

PATH, T_LIKELIHOOD = gt.LINEAR_GAUSSIAN, 0.3


def kernel_on_path(step_size, **options):
    return te.ula(lambda z: PATH.target.logdensity(z, T_LIKELIHOOD), step_size, **options)


def run(kernel, start, num_steps: int, seed: int):
    """Last state and stacked infos."""

    def step(state, key):
        return kernel.step(key, state)

    return jax.jit(
        lambda key, z: jax.lax.scan(step, kernel.init(z), jax.random.split(key, num_steps))
    )(gt.key(seed), jnp.asarray(start, jnp.float32))


def hot_stationary_covariance(temperature: float, h: float) -> np.ndarray:
    precision = PATH.precision(T_LIKELIHOOD)
    return temperature * np.linalg.inv(precision) @ np.linalg.inv(np.eye(2) - 0.5 * h * precision)


def temperature_of_the_noise(argument: str, temperature: float) -> None:
    """At temperature T draws from N(m, T S (I - h P / 2)^-1) stay, and the info says T."""
    h = PATH.step_size
    options = {
        "noise_temperature": {"noise_temperature": temperature},
        "noise_scale": {"noise_scale": np.sqrt(2 * h * temperature)},
    }[argument]
    mean, covariance = (
        PATH.moments(T_LIKELIHOOD).mean,
        hot_stationary_covariance(temperature, h),
    )
    start = gt.rng(150).multivariate_normal(mean, covariance, checks.NUM_CHAINS)
    state, info = run(kernel_on_path(h, **options), start, 5, seed=151)
    checks.assert_moments(state.position, mean, covariance, f"{argument}, T={temperature}")
    np.testing.assert_allclose(info.effective_temperature, temperature, rtol=1e-6)


STEP_SIZES = (0.05, 0.12, 0.005, 0.1, 0.02, 0.001, 0.14)


def schedule_of_the_step_size() -> None:
    """The n-th step has the n-th step size: the covariance follows S <- M S M + 2 h_n I.

    The last step is the largest, so that a schedule read one step late or early shows.
    """
    sizes = jnp.array([*STEP_SIZES, 0.03], jnp.float32)
    start = checks.exact_draws(PATH, T_LIKELIHOOD, seed=152)
    state, _ = run(kernel_on_path(lambda n: sizes[n]), start, len(STEP_SIZES), seed=153)
    mean, covariance = PATH.moments(T_LIKELIHOOD)
    precision = PATH.precision(T_LIKELIHOOD)
    expected = checks_metric.gaussian_moments(precision, covariance, STEP_SIZES)
    checks.assert_moments(state.position, mean, expected, "schedule")
    np.testing.assert_array_equal(state.num_steps, np.full(len(start), len(STEP_SIZES)))


def schedule_of_each_chain() -> None:
    """Chains that have made different numbers of steps have different step sizes."""
    kernel = kernel_on_path(lambda n: jnp.where(n < 3, 0.1, 1e-6))
    draws = jnp.asarray(checks.exact_draws(PATH, 0.3, seed=154, n=1_000), jnp.float32)
    state = jax.jit(kernel.init)(draws)
    ages = jnp.arange(1_000) % 6
    moved, _ = jax.jit(kernel.step)(gt.key(155), state._replace(num_steps=ages))
    distance = np.linalg.norm(np.asarray(moved.position - state.position), axis=-1)
    young = np.asarray(ages) < 3
    # Noise of scale .45 in the plane, and one in the plane of scale .0014.
    assert np.median(distance[young]) > 0.2
    assert np.all(distance[~young] < 0.02)
    np.testing.assert_array_equal(moved.num_steps, ages + 1)


def rmsprop_is_that_of_optax() -> None:
    """D times the gradient is the update of optax, for any gradients."""
    decay, damping = 0.9, 1e-3
    ours = preconditioning.rmsprop(decay, damping)
    theirs = optax.scale_by_rms(decay, damping, initial_scale=1.0, eps_in_sqrt=False)
    position = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
    rng = np.random.default_rng(0)
    state, reference = ours.init(position), theirs.init(position)
    for _ in range(6):
        grad = jax.tree.map(lambda leaf: jnp.asarray(5 * rng.normal(size=leaf.shape)), position)
        metric, state = ours.update(grad, state)
        expected, reference = theirs.update(grad, reference)
        got = jax.tree.map(jnp.multiply, metric, grad)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), got, expected)


SCALES = np.array([0.1, 1.0])
H = 0.02


def long_run_variances(decay: float | None, num_steps: int = 300, num_chains: int = 40_000):
    """Squares at the end of a run that starts in the closed-form law of D = 1 / rms(gradient)."""
    # A fixed D gives variance s^2 / (1 - h D / (2 s^2)), and D = s^2 / (standard deviation).
    variance = SCALES**2
    for _ in range(50):
        metric = SCALES**2 / np.sqrt(variance)
        variance = SCALES**2 / (1 - 0.5 * H * metric / SCALES**2)
    square = jnp.asarray(variance / SCALES**4, jnp.float32)
    options = {"drift": optax.scale_by_rms(0.999)}
    if decay is not None:
        options = {"inverse_mass_matrix": preconditioning.rmsprop(decay)}
    kernel = te.ula(lambda z: -0.5 * jnp.sum((z / SCALES) ** 2, -1), H, **options)

    @jax.jit
    def end(key, start):
        state = kernel.init(start)
        squares = jnp.broadcast_to(square, start.shape)
        if decay is None:
            state = state._replace(drift_state=state.drift_state._replace(nu=squares))
        else:
            state = state._replace(metric_state=squares)
        return te.inference.advance(key, kernel, state, num_steps).position

    start = np.sqrt(variance) * gt.rng(160).standard_normal((num_chains, 2))
    return np.asarray(end(gt.key(161), jnp.asarray(start, jnp.float32)), np.float64) ** 2, variance


def rmsprop_keeps_the_variances(decay: float | None = 0.999) -> None:
    """A memory of 1,000 steps follows the chain so little that variances err by at most 3 %."""
    squares, variance = long_run_variances(decay)
    gt.assert_expectations(squares / variance, 1.0, f"decay={decay}", slack=0.03)


def preset_is_the_hand_written_update(preset, chain=None) -> None:
    """x + a clip(grad, c) + s xi, with the noise that the key gives."""
    rng = np.random.default_rng(1)
    start = rng.uniform(-1, 1, (7, 3)).astype(np.float32)
    noise_scale = preset.noise_scale or np.sqrt(2 * preset.step_size)
    kernel = preset.kernel(lambda x: -jnp.sum(0.1 * x**4 + 0.02 * x**2, -1))
    x = start.astype(np.float64)
    keys = jax.random.split(jax.random.key(0), 5)
    state, step = jax.jit(kernel.init)(jnp.asarray(start)), jax.jit(kernel.step)
    for key in keys:
        state, info = step(key, state)
        grad = -0.4 * x**3 - 0.04 * x
        if preset.max_drift is not None:
            grad = np.clip(grad, -preset.max_drift, preset.max_drift)
        noise = np.asarray(jax.random.normal(key, x.shape), np.float64)
        x = x + preset.step_size * grad + noise_scale * noise
        np.testing.assert_allclose(state.position, x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(info.effective_temperature, preset.effective_temperature, rtol=1e-5)
