"""Decisive checks of the diagonal metric: each raises AssertionError on a wrong kernel."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import tempered_ebm as te
from tests import ground_truths as gt
from tests.kernels import checks_kernels as checks

METRIC = {gt.LINEAR_GAUSSIAN: np.array([3.0, 0.2]), gt.SKEWED_GAMMA: np.array(2.5)}
"""Far from the identity, and from what would suit the target."""

LADDER = np.array([0.0, 0.3, 1.0])
KERNELS = ("ula", "mala", "tempered_ula", "tempered_mala", "replica_exchange")


def build(name: str, path, t, step_size, metric=None, scale=1.0):
    """A kernel on ``q_t`` with a metric, or on the law of ``z / scale`` without one."""
    options = {} if metric is None else {"inverse_mass_matrix": metric}
    target = te.TemperedTarget(
        lambda y: path.target.logprior_fn(scale * y),
        lambda y: path.target.loglikelihood_fn(scale * y),
    )
    if name == "replica_exchange":
        return te.replica_exchange(target, t, step_size, **options)
    if name.startswith("tempered"):
        return getattr(te, name)(target, t, step_size, **options)
    return getattr(te, name)(lambda z: target.logdensity(z, t), step_size, **options)


def equal_to_rescaled_coordinates(name: str) -> None:
    """With D = A^2 the chain is A times the plain chain on the law of A^-1 z, noise for noise."""
    is_ladder = name == "replica_exchange"

    def run(kernel, start):
        return jax.jit(lambda z: te.inference.short_run(gt.key(2), kernel, z, 6).position)(start)

    with jax.enable_x64(True):
        for path, metric in METRIC.items():
            h, scale = 0.3 * path.step_size, np.sqrt(metric)
            t = LADDER if is_ladder else 0.4
            rungs = [path.sample(gt.rng(1), one, 200) for one in np.atleast_1d(t)]
            start = np.stack(rungs) if is_ladder else rungs[0]
            diagonal = jnp.asarray(metric[None] if is_ladder else metric)
            with_metric = run(build(name, path, t, h, diagonal), start)
            rescaled = run(build(name, path, t, h, scale=scale), start / scale)
            np.testing.assert_allclose(with_metric, scale * rescaled, rtol=1e-8, atol=1e-9)
            assert np.mean(np.asarray(with_metric) != start) > 0.5


def every_rung_has_its_own() -> None:
    """Where nothing pulls, the moves of a rung have variance 2 h D of that rung."""
    h, metric = 0.5, np.array([[1.0, 4.0], [9.0, 0.25], [0.01, 100.0], [30.0, 2.0]])
    flat = te.TemperedTarget(lambda z: 0.0 * z.sum(-1), lambda z: 0.0 * z.sum(-1))
    kernel = te.replica_exchange(
        flat, te.schedules.uniform(4), h, inverse_mass_matrix=jnp.asarray(metric, jnp.float32)
    )
    state = jax.jit(kernel.init)(jnp.zeros((4, 20_000, 2)))
    state, _ = jax.jit(kernel.step)(gt.key(5), state)
    moved_on = np.asarray(state.replica)[:, 0]
    for k, rung in enumerate(moved_on):
        squares = np.asarray(state.position[k], np.float64) ** 2
        gt.assert_expectations(squares, 2 * h * metric[rung], f"rung {rung}")


def invariance(name: str, path, temperatures=checks.TEMPERATURES, num_steps: int = 5) -> None:
    """An adjusted kernel with a metric maps exact draws to exact draws."""
    metric = jnp.asarray(METRIC[path], jnp.float32)

    @jax.jit
    def run(key, start, t):
        kernel = build(name, path, t, path.step_size, metric)

        def step(state, key):
            return kernel.step(key, state)

        return jax.lax.scan(step, kernel.init(start), jax.random.split(key, num_steps))

    for i, t in enumerate(temperatures):
        start = jnp.asarray(checks.exact_draws(path, t, seed=110 + i), jnp.float32)
        state, info = run(gt.key(i), start, t)
        moved = float(info.is_accepted.mean())
        checks.require_sharp(0.05 < moved < 0.95, f"acceptance {moved}")
        end = np.asarray(state.position, np.float64)
        gt.assert_expectations(path.statistics(end), path.expected(t), f"{name}, t={t}")
        path.assert_law(end, t)


def proposal(name: str) -> None:
    """One unadjusted step is z + h D grad + sqrt(2hD) xi, with xi normal and independent of z."""
    for path, metric in METRIC.items():
        h, t = 0.2 * path.step_size, 0.3
        kernel = build(name, path, t, h, jnp.asarray(metric, jnp.float32))
        z = checks.exact_draws(path, t, seed=120)
        step = jax.jit(lambda key, z, kernel=kernel: kernel.step(key, kernel.init(z))[0].position)
        new = np.asarray(step(gt.key(3), jnp.asarray(z, jnp.float32)), np.float64)
        grad = path.grad(z, t)
        noise = (new - z - h * metric * grad) / np.sqrt(2 * h * metric)
        noise, grad = noise.reshape(len(z), -1), grad.reshape(len(z), -1)
        samples = np.column_stack([noise, noise**2, noise * grad])
        expected = np.repeat([0.0, 1.0, 0.0], noise.shape[1])
        gt.assert_expectations(samples, expected, f"{name}, D={metric}")
        gt.assert_law(noise[:, 0], stats.norm.cdf, f"{name}, D={metric}")


def acceptance(name: str) -> None:
    """The mean acceptance probability agrees with one from the two proposal densities."""
    for path, metric in METRIC.items():
        h, t = 0.7 * path.step_size, 0.3
        kernel = build(name, path, t, h, jnp.asarray(metric, jnp.float32))
        start = jnp.asarray(checks.exact_draws(path, t, seed=130), jnp.float32)
        step = jax.jit(lambda key, z, kernel=kernel: kernel.step(key, kernel.init(z))[1])
        got = np.asarray(step(gt.key(4), start).acceptance_rate, np.float64)
        rng = gt.rng(131)
        z = path.sample(rng, t, checks.NUM_CHAINS)
        reference = gt.langevin_acceptance(path, z, t, h, rng, metric)
        gt.assert_expectations(got - reference, 0.0, f"{name}, D={metric}")


def gaussian_moments(precision, covariance, steps, metric=1.0, temperature=1.0) -> np.ndarray:
    """Covariance of z' = z - h D P z + sqrt(2hTD) xi after each step size in ``steps``."""
    D = np.diag(np.broadcast_to(metric, len(precision)))
    for h in steps:
        M = np.eye(len(precision)) - h * D @ precision
        covariance = M @ covariance @ M.T + 2 * h * temperature * D
    return covariance


def ula_covariance(name: str, num_steps: int = 7) -> None:
    """ULA with a metric on a Gaussian has its covariance in closed form."""
    path = gt.LINEAR_GAUSSIAN
    metric, h = METRIC[path], 0.8 * path.step_size

    @jax.jit
    def run(key, start, t):
        kernel = build(name, path, t, h, jnp.asarray(metric, jnp.float32))
        return te.inference.short_run(key, kernel, start, num_steps).position

    for i, t in enumerate(checks.TEMPERATURES):
        start = jnp.asarray(checks.exact_draws(path, t, seed=140 + i), jnp.float32)
        end = run(gt.key(i), start, t)
        mean, covariance = path.moments(t)
        expected = gaussian_moments(path.precision(t), covariance, [h] * num_steps, metric)
        checks.assert_moments(end, mean, expected, f"{name}, t={t}")
        assert math.hypot(*(expected - covariance).ravel()) > 0.02
