"""Decisive checks of the Langevin kernels: each raises AssertionError on a wrong kernel.

Kernels are built and compiled inside the checks, so that a planted bug is traced.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import tempered_ebm as te
from tempered_ebm.kernels import langevin
from tests import ground_truths as gt

TEMPERATURES = (0.0, 0.3, 1.0)
NUM_CHAINS = 100_000


def build(name: str, path, t, step_size):
    """A kernel on ``q_t`` of a reference path, by its public name."""
    if name.startswith("tempered"):
        return getattr(te, name)(path.target, t, step_size)
    return getattr(te, name)(lambda z: path.target.logdensity(z, t), step_size)


def compile_run(name: str, path, num_steps: int) -> Callable:
    """``(key, positions, t, step_size) -> (final state, last info)``, for a batch of chains.

    Compiled once for all checks, and again for every planted bug.
    """
    key = (name, gt.name_of(path), num_steps, jax.config.jax_enable_x64)
    return gt.compiled(key, lambda: _compile_run(name, path, num_steps))


def _compile_run(name: str, path, num_steps: int) -> Callable:
    @jax.jit
    def run(key, positions, t, step_size):
        kernel = build(name, path, t, step_size)

        def step(state, step_key):
            return kernel.step(step_key, state)

        keys = jax.random.split(key, num_steps)
        state, info = jax.lax.scan(step, kernel.init(positions), keys)
        return state, jax.tree.map(lambda leaf: leaf[-1], info)

    return run


def require_sharp(condition: bool, what: str) -> None:
    """A setting that makes a check blunt is an error of the check, not of the kernel."""
    if not condition:
        raise RuntimeError(f"this check cannot fail: {what}")


def exact_draws(path, t: float, seed: int, n: int = NUM_CHAINS) -> np.ndarray:
    return _exact_draws(gt.name_of(path), t, seed, n)


@functools.cache
def _exact_draws(name: str, t: float, seed: int, n: int) -> np.ndarray:
    return gt.REFERENCE_PATHS[name].sample(gt.rng(seed), t, n)


def invariance(name: str, path, temperatures=TEMPERATURES, num_steps: int = 5) -> None:
    """An adjusted kernel maps exact draws to exact draws, at every temperature."""
    run = compile_run(name, path, num_steps)
    for i, t in enumerate(temperatures):
        start = jnp.asarray(exact_draws(path, t, seed=i), jnp.float32)
        state, info = run(gt.key(i), start, t, path.step_size)
        end = np.asarray(state.position, np.float64)
        moved = float(np.mean(np.asarray(info.is_accepted)))
        require_sharp(0.05 < moved < 0.98, f"acceptance {moved}")
        gt.assert_expectations(path.statistics(end), path.expected(t), f"{name}, t={t}")
        path.assert_law(end, t)
        if name.startswith("tempered"):
            expected = path.mean_loglikelihood(t)
            gt.assert_expectations(np.asarray(state.loglikelihood), expected, f"cached l, t={t}")


def ula_covariance(name: str, num_steps: int = 7) -> None:
    """ULA on a Gaussian has mean and covariance in closed form after every number of steps."""
    path = gt.LINEAR_GAUSSIAN
    run = compile_run(name, path, num_steps)
    for i, t in enumerate(TEMPERATURES):
        start = jnp.asarray(exact_draws(path, t, seed=10 + i), jnp.float32)
        state, _ = run(gt.key(i), start, t, path.step_size)
        mean, covariance = path.moments(t)
        stationary = ula_stationary_covariance(path, t)
        contraction = np.eye(2) - path.step_size * path.precision(t)
        power = np.linalg.matrix_power(contraction, num_steps)
        expected = stationary + power @ (covariance - stationary) @ power
        assert_moments(state.position, mean, expected, f"{name}, t={t}")


def ula_stationary_covariance(path, t: float) -> np.ndarray:
    covariance, precision = path.moments(t).covariance, path.precision(t)
    return covariance @ np.linalg.inv(np.eye(2) - 0.5 * path.step_size * precision)


def ula_stationarity(name: str, num_steps: int = 5) -> None:
    """Draws from the biased stationary law of ULA stay there: N(m, S (I - h/2 S^-1)^-1)."""
    path = gt.LINEAR_GAUSSIAN
    run = compile_run(name, path, num_steps)
    for i, t in enumerate(TEMPERATURES):
        mean, stationary = path.moments(t).mean, ula_stationary_covariance(path, t)
        start = gt.rng(20 + i).multivariate_normal(mean, stationary, NUM_CHAINS)
        start = jnp.asarray(start, jnp.float32)
        state, _ = run(gt.key(i), start, t, path.step_size)
        assert_moments(state.position, mean, stationary, f"{name}, t={t}")
        law = stats.norm(mean[0], math.sqrt(stationary[0, 0])).cdf
        gt.assert_law(np.asarray(state.position)[:, 0], law, f"{name}, t={t}")


def assert_moments(z, mean: np.ndarray, covariance: np.ndarray, label: str) -> None:
    d = np.asarray(z, np.float64) - mean
    second = np.einsum("ni,nj->nij", d, d)[:, [0, 0, 1], [0, 1, 1]]
    expected = np.concatenate([np.zeros(2), covariance[[0, 0, 1], [0, 1, 1]]])
    gt.assert_expectations(np.column_stack([d, second]), expected, label)


def ula_proposal(name: str) -> None:
    """One ULA step is z + h grad + sqrt(2h) xi, with xi normal and independent of z."""
    for path in gt.REFERENCE_PATHS.values():
        run = compile_run(name, path, 1)
        for i, t in enumerate(TEMPERATURES):
            h = (0.05, 0.4, 0.8)[i]
            start = jnp.asarray(exact_draws(path, t, seed=30 + i), jnp.float32)
            state, _ = run(gt.key(i), start, t, h)
            z = np.asarray(start, np.float64)
            grad = path.grad(z, t)
            noise = (np.asarray(state.position, np.float64) - z - h * grad) / math.sqrt(2 * h)
            noise, grad = noise.reshape(len(z), -1), grad.reshape(len(z), -1)
            samples = np.column_stack([noise, noise**2, noise * grad])
            d = noise.shape[1]
            expected = np.repeat([0.0, 1.0, 0.0], d)
            gt.assert_expectations(samples, expected, f"{name}, t={t}, h={h}")
            gt.assert_law(noise[:, 0], stats.norm.cdf, f"{name}, t={t}, h={h}")


def mala_acceptance(name: str) -> None:
    """The mean acceptance probability agrees with a reference written from the densities."""
    for path in gt.REFERENCE_PATHS.values():
        run = compile_run(name, path, 1)
        for i, t in enumerate(TEMPERATURES):
            h = 0.7 * path.step_size
            start = jnp.asarray(exact_draws(path, t, seed=40 + i), jnp.float32)
            _, info = run(gt.key(i), start, t, h)
            rng = gt.rng(50 + i)
            z = path.sample(rng, t, NUM_CHAINS)
            reference = gt.langevin_acceptance(path, z, t, h, rng)
            got = np.asarray(info.acceptance_rate, np.float64)
            gt.assert_expectations(got - reference, 0.0, f"{name}, t={t}")
            accepted = np.asarray(info.is_accepted, np.float64)
            gt.assert_expectations(accepted - got, 0.0, f"{name}, decisions, t={t}")


def mala_log_ratio(name: str) -> None:
    """On a Gaussian, every accepted move reports exp(min(0, -(h/4)(|L d'|^2 - |L d|^2)))."""
    path, h = gt.LINEAR_GAUSSIAN, 0.2
    with jax.enable_x64(True):
        run = compile_run(name, path, 1)
        for t in TEMPERATURES:
            start = jnp.asarray(exact_draws(path, t, seed=60, n=2_000))
            state, info = run(gt.key(1), start, t, h)
            before, after = (
                np.sum(path.grad(np.asarray(z), t) ** 2, -1) for z in (start, state.position)
            )
            log_ratio = -0.25 * h * (after - before)
            accepted = np.asarray(info.is_accepted)
            require_sharp(100 < accepted.sum() < 2_000, f"{accepted.sum()} accepted")
            np.testing.assert_allclose(
                np.log(np.asarray(info.acceptance_rate))[accepted],
                np.minimum(log_ratio, 0.0)[accepted],
                rtol=1e-9,
                atol=1e-10,
            )


def log_ratio_antisymmetry() -> None:
    """Exchanging the two ends negates the log ratio, to 1e-10 in float64."""
    path = gt.SKEWED_GAMMA
    with jax.enable_x64(True):
        rng = gt.rng(70)
        ends = [jnp.asarray(path.sample(rng, 1.0, 1_000)) for _ in range(2)]
        left, right = ([z, *reference_value_and_grad(path, z, 1.0)] for z in ends)
        forward = langevin.log_acceptance_ratio(*left, *right, 0.5)
        backward = langevin.log_acceptance_ratio(*right, *left, 0.5)
        scale = np.maximum(1.0, np.abs(forward))
        error = np.max(np.abs(forward + backward) / scale)
        assert error <= 1e-10, f"the ratios of there and back add up to {error:.1e}"
        assert np.std(forward) > 0.1


def reference_value_and_grad(path, z, t):
    z = np.asarray(z, np.float64)
    return jnp.asarray(path.logdensity(z, t)), jnp.asarray(path.grad(z, t))


def mean_ratio() -> None:
    """E[MH ratio] = 1 over exact draws and proposals, before anything is accepted."""
    path, h, t = gt.LINEAR_GAUSSIAN, 0.05, 0.3
    z = exact_draws(path, t, seed=71)
    rng = gt.rng(72)
    new = z + h * path.grad(z, t) + math.sqrt(2 * h) * rng.standard_normal(z.shape)
    with jax.enable_x64(True):
        old, proposal = ([jnp.asarray(p), *reference_value_and_grad(path, p, t)] for p in (z, new))
        ratio = np.exp(np.asarray(langevin.log_acceptance_ratio(*old, *proposal, h)))
    assert ratio.std() > 0.05
    gt.assert_expectations(ratio, 1.0, "E[ratio]")


def caches(name: str, num_steps: int = 20) -> None:
    """Cached values and gradients are those at the position, also after many rejections."""
    adjusted = name.endswith("mala")
    with jax.enable_x64(True):
        for path, scale in ((gt.LINEAR_GAUSSIAN, 10), (gt.SKEWED_GAMMA, 3)):
            t, h = 0.3, (scale if adjusted else 0.1) * path.step_size
            run = compile_run(name, path, num_steps)
            start = jnp.asarray(exact_draws(path, t, seed=80, n=500))
            state, info = run(gt.key(2), start, t, h)
            assert_fresh(state, path, t)
            if adjusted:
                rate = float(np.mean(info.is_accepted))
                require_sharp(0.02 < rate < 0.7, f"acceptance {rate}")


def assert_fresh(state, path, t: float) -> None:
    """Compare a state with formulas; log-densities up to the constant of the formula."""
    z = np.asarray(state.position)
    prior_grad = path.grad(z, 0.0)
    prior, posterior = path.logdensity(z, 0.0), path.logdensity(z, t)
    expected = {
        "logprior": prior,
        "logprior_grad": prior_grad,
        "loglikelihood_grad": path.grad(z, 1.0) - prior_grad,
        "logdensity": posterior,
        "logdensity_grad": path.grad(z, t),
    }
    for field in set(expected) & set(state._fields):
        got, want = np.asarray(getattr(state, field)), expected[field]
        if field in ("logprior", "logdensity"):
            got, want = got - got[0], want - want[0]
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8, err_msg=field)
    if hasattr(state, "loglikelihood"):
        got = np.asarray(state.loglikelihood)
        np.testing.assert_allclose(got, path.loglikelihood(z), rtol=1e-9, err_msg="loglikelihood")


def chains_are_independent(name: str) -> None:
    """Neighbouring chains of one batch share neither noise nor decisions."""
    path, t, runs = gt.SKEWED_GAMMA, 0.3, 100_000
    position = jnp.full((2,), float(path.sample(gt.rng(5), t, 1)[0]))

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def one(key, position):
        kernel = build(name, path, t, 1.5)
        state, info = kernel.step(key, kernel.init(position))
        return state.position - position, getattr(info, "is_accepted", state.position[:0])

    for label, value in zip(
        ("moves", "decisions"), one(jax.random.split(gt.key(6), runs), position), strict=True
    ):
        value = np.asarray(value, np.float64)
        if value.size:
            require_sharp(np.all(value.std(0) > 0), f"constant {label}")
            value = (value - value.mean(0)) / value.std(0)
            gt.assert_expectations(value.prod(1), 0.0, f"{name}: {label} of two chains")


def decisions_do_not_reuse_the_noise(name: str) -> None:
    """Given start and proposal, the move happens with exactly the reported probability.

    A uniform that shares its bits with the noise is a function of the proposal, and so
    correlates the decision with the reported probability.
    """
    path, t = gt.SKEWED_GAMMA, 1.0
    run = compile_run(name, path, 1)
    start = jnp.asarray(exact_draws(path, t, seed=90), jnp.float32)
    _, info = run(gt.key(7), start, t, 1.5)
    rate, accepted = (np.asarray(v, np.float64) for v in (info.acceptance_rate, info.is_accepted))
    residual = accepted - rate
    weights = np.column_stack([np.ones_like(rate), rate, rate**2, np.asarray(start)])
    gt.assert_expectations(residual[:, None] * weights, 0.0, f"{name}: decisions given proposals")


def prior_temperature_ignores_the_likelihood(name: str) -> None:
    """At t = 0 the chain is that of the prior alone, even where l is -inf or NaN."""
    good = gt.LINEAR_GAUSSIAN.target
    start = jax.random.normal(jax.random.key(95), (64, 2))

    def positions(likelihood):
        kernel = getattr(te, name)(te.TemperedTarget(good.logprior_fn, likelihood), 0.0, 0.3)
        return jax.jit(lambda key: te.inference.short_run(key, kernel, start, 10).position)(
            jax.random.key(8)
        )

    expected = np.asarray(positions(lambda z: jnp.zeros(z.shape[:-1])))
    assert np.all(np.isfinite(expected))
    assert not np.allclose(expected, start)
    bad = {
        "finite": good.loglikelihood_fn,
        "-inf": lambda z: jnp.where(z[..., 0] > 0, -jnp.inf, good.loglikelihood_fn(z)),
        "nan": lambda z: jnp.log(z[..., 0]) + jnp.sqrt(z[..., 1]),
    }
    for label, likelihood in bad.items():
        np.testing.assert_array_equal(positions(likelihood), expected, err_msg=label)
