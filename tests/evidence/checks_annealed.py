"""Decisive checks of annealed importance sampling: each raises AssertionError on a wrong one."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_evidence

NUM_CHAINS = 50_000
RUNS = {
    "forward": te.annealed_importance_sampling,
    "reverse": te.reverse_annealed_importance_sampling,
}
JITTED = {
    direction: jax.jit(fn, static_argnums=1, static_argnames="num_steps")
    for direction, fn in RUNS.items()
}
"""One program for each target and shape, in the place of one for each operation."""
annealed_estimate = checks_evidence.compiled(te.evidence, "annealed_estimate", "direction")
SIGN = {"forward": 1.0, "reverse": -1.0}
START = {"forward": 0.0, "reverse": 1.0}


def exact_starts(path, direction: str, n: int, seed: int) -> np.ndarray:
    return path.sample(gt.rng(seed), START[direction], n)


def run(path, direction: str, num: int, *, n=NUM_CHAINS, seed=0, num_steps=1, ladder=None):
    """Annealed chains from exact draws, in float32, with a step size per temperature."""
    ladder = checks_evidence.power_ladder(num) if ladder is None else ladder
    starts = jnp.asarray(exact_starts(path, direction, n, seed), jnp.float32)
    step_size = path.step_size * np.linspace(1.5, 0.5, len(ladder))
    return JITTED[direction](
        gt.key(seed), path.target, starts, jnp.asarray(ladder), step_size, num_steps=num_steps
    )


def weights_are_unbiased(path, direction: str, num_steps: int = 1) -> None:
    """E[exp(w)] is Z, or 1/Z, on a short ladder that one step a temperature does not equilibrate.

    Weighted by exp(w), forward chains end as draws of the posterior. Reverse weights have tails
    that a Gaussian prior's first step must be short for: means of statistics under them need their
    fourth moment.
    """
    num = 9 if direction == "reverse" and path is gt.LINEAR_GAUSSIAN else 5
    result = run(path, direction, num, num_steps=num_steps, seed=3)
    log_weights = np.asarray(result.log_weights, np.float64)
    weights = np.exp(log_weights - SIGN[direction] * path.log_z(1.0))
    gt.assert_expectations(weights, 1.0, f"{direction} weights over their expectation")
    ends = path.statistics(np.asarray(result.state.position, np.float64))
    excess = ends - path.expected(1.0 - START[direction])
    gt.assert_expectations(weights[:, None] * excess, 0.0, f"{direction} chains where they end")


def weights_are_the_sums_they_should_be() -> None:
    """Where all but one of the moves stand still, the weight follows from start and end alone."""
    path, still, moving = gt.SKEWED_GAMMA, 1e-30, 0.8
    # Ladder and step sizes, and the weight on where the chain starts, forward and reverse.
    cases = [
        ([0.0, 0.1, 0.5, 0.6, 1.0], 5 * [still], 1.0, 1.0),
        ([0.0, 1.0], [still, moving], 1.0, 0.0),
        ([0.0, 0.3, 1.0], [moving, moving, still], 0.3, 0.7),
        ([0.0, 0.3, 1.0], [moving, still, moving], 1.0, 0.0),
    ]
    for ladder, step_size, *of_start in cases:
        for (direction, sign), share in zip(SIGN.items(), of_start, strict=True):
            starts = jnp.asarray(exact_starts(path, direction, 100, 0), jnp.float32)
            result = JITTED[direction](
                jax.random.key(0), path.target, starts, np.array(ladder), np.array(step_size)
            )
            begin, end = (
                path.loglikelihood(np.asarray(z, np.float64))
                for z in (starts, result.state.position)
            )
            expected = sign * (share * begin + (1 - share) * end)
            np.testing.assert_allclose(
                result.log_weights, expected, rtol=1e-5, atol=1e-5, err_msg=direction
            )
            has_moved = np.any(np.asarray(result.state.position) != np.asarray(starts))
            assert has_moved == (moving in step_size[1:])


def moves_are_at_their_temperatures() -> None:
    """Chains that start and stay at one law: acceptance at each temperature is that of the law.

    With a constant log-likelihood every q_t is the prior; the step sizes tell the temperatures
    apart. With a likelihood, reverse chains make their first move at t = 1, in equilibrium.
    """
    path = gt.LINEAR_GAUSSIAN
    flat = te.TemperedTarget(path.target.logprior_fn, lambda z: 0.0 * jnp.sum(z))
    ladder, step_size = np.array([0.0, 0.3, 0.7, 1.0]), np.array([9.0, 0.1, 0.3, 0.6])
    for direction in RUNS:
        starts = exact_starts(path, "forward", NUM_CHAINS, 5)
        result = JITTED[direction](gt.key(5), flat, jnp.asarray(starts), ladder, step_size)
        for k, h in enumerate(step_size[1:]):
            expected = gt.langevin_acceptance(path, starts, 0.0, h, gt.rng(6))
            _close_to_mean(float(result.acceptance_rate[k]), expected, f"{direction}, h={h}")
    result = run(path, "reverse", 4, seed=7)
    starts = exact_starts(path, "reverse", NUM_CHAINS, 7)
    h = 0.5 * path.step_size
    expected = gt.langevin_acceptance(path, starts, 1.0, h, gt.rng(8))
    _close_to_mean(float(result.acceptance_rate[-1]), expected, "the first reverse move")


def _close_to_mean(value: float, expected: np.ndarray, label: str) -> None:
    # The library's mean has about the error of the reference: no rate varies more than 1/2.
    error = np.sqrt(2 / len(expected)) * max(expected.std(ddof=1), 0.05)
    z = (value - expected.mean()) / error
    limit = gt.z_threshold(1)
    assert abs(z) < limit, f"{label}: z = {z:.1f} beyond {limit:.1f}"


def bounds_are_on_their_sides_and_close(path) -> None:
    """Bounds from pairs of chains lie on their sides of the truth, nearer on a longer ladder.

    Means over thousands of pairs: the bias of a bound from so few is many standard errors.
    """
    for direction, sign in SIGN.items():
        distance = {}
        for num in (3, 12):
            result = run(path, direction, num, n=20_000, seed=num)
            estimates = _estimates(result.log_weights.reshape(-1, 2), direction)
            gain = sign * np.asarray(estimates.log_evidence - estimates.one_chain_bound)
            assert np.all(gain >= -1e-3), f"{direction}: one by one is {-gain.min()} nearer"
            for name in ("log_evidence", "one_chain_bound"):
                values = np.asarray(getattr(estimates, name), np.float64)
                distance[name, num] = sign * (path.log_z(1.0) - values)
                z = gt.z_scores(distance[name, num], 0.0)
                limit = gt.z_threshold(1, len(values))
                assert z > limit, (
                    f"{direction} {name}, K={num}: z = {z:.1f}, not beyond {limit:.1f}"
                )
        for name in ("log_evidence", "one_chain_bound"):
            z = gt.z_scores(distance[name, 3] - distance[name, 12], 0.0)
            limit = gt.z_threshold(1, len(values))
            assert z > limit, f"{direction} {name} closes: z = {z:.1f} within {limit:.1f}"


def _estimates(groups, direction: str):
    return jax.jit(jax.vmap(lambda w: te.evidence.annealed_estimate(w, direction=direction)))(
        groups
    )


def calibration(path, direction: str) -> None:
    """Standard errors are honest where they can be: on groups of 250 chains that mix well.

    Five steps a temperature; with one, reverse weights have tails of Pareto k above .6, and no
    error from the variance of the weights is honest.
    """
    result = run(path, direction, 16, num_steps=5, seed=11)
    estimates = _estimates(result.log_weights.reshape(200, 250), direction)
    errors = np.asarray(estimates.log_evidence, np.float64) - path.log_z(1.0)
    squares = (errors / np.asarray(estimates.standard_error, np.float64)) ** 2
    low, high = (limit**2 for limit in checks_evidence.HONEST)
    gt.assert_expectations(squares, (high + low) / 2, direction, slack=(high - low) / 2)


def calibration_of_the_formula() -> None:
    """The same on weights that are lognormal with spread 1, 4,000 groups of 1,000."""
    log_weights = gt.rng(13).standard_normal((4_000, 1_000)) - 0.5
    estimates = _estimates(jnp.asarray(log_weights, jnp.float32), "forward")
    squares = np.asarray(estimates.log_evidence / estimates.standard_error, np.float64) ** 2
    gt.assert_expectations(squares, 1.0, "lognormal weights", slack=0.15)


def tails_are_seen() -> None:
    """Pareto weights of known shape are told apart, in either direction."""
    exponential = np.random.default_rng(0).exponential(size=100_000).astype(np.float32)
    for direction in SIGN:
        for shape, low, high in ((0.1, 0.0, 0.3), (1.0, 0.8, 1.2)):
            estimate = annealed_estimate(shape * exponential, direction=direction)
            assert low < estimate.pareto_k < high, (direction, shape, estimate.pareto_k)


def estimate_is_its_formula() -> None:
    """Every field against SciPy and plain sums in float64, some weights zero, shifted by 1e4."""
    rng = np.random.default_rng(0)
    log_weights = np.where(rng.random(1_000) < 0.1, -np.inf, rng.standard_normal(1_000))
    weights = np.exp(log_weights)
    for direction, sign in SIGN.items():
        for shift in (0.0, 1e4, -1e4):
            with jax.enable_x64(True):
                estimate = annealed_estimate(log_weights + shift, direction=direction)
            log_mean = special.logsumexp(log_weights) - np.log(1_000)
            np.testing.assert_allclose(estimate.log_evidence, sign * (log_mean + shift), rtol=1e-12)
            error = weights.std(ddof=1) / weights.mean() / np.sqrt(1_000)
            np.testing.assert_allclose(estimate.standard_error, error, rtol=1e-9)
            size = weights.sum() ** 2 / np.sum(weights**2)
            np.testing.assert_allclose(estimate.effective_sample_size, size, rtol=1e-9)
            assert float(estimate.one_chain_bound) == -sign * np.inf
        finite = log_weights[np.isfinite(log_weights)]
        with jax.enable_x64(True):
            estimate = annealed_estimate(finite, direction=direction)
        np.testing.assert_allclose(estimate.one_chain_bound, sign * finite.mean(), rtol=1e-12)


def counted(path) -> tuple[te.TemperedTarget, Counter]:
    """The path's target, and how often each half was evaluated as the program ran."""
    calls: Counter = Counter()

    def count(name, fn):
        @jax.custom_vjp
        def counted_fn(z):
            jax.debug.callback(lambda _: calls.update([f"{name} alone"]), jnp.ravel(z)[0])
            return fn(z)

        def forward(z):
            jax.debug.callback(lambda _: calls.update([f"{name} value"]), jnp.ravel(z)[0])
            return fn(z), z

        def backward(z, cotangent):
            jax.debug.callback(lambda _: calls.update([f"{name} gradient"]), jnp.ravel(z)[0])
            return jax.vjp(fn, z)[1](cotangent)

        counted_fn.defvjp(forward, backward)
        return counted_fn

    logprior_fn, loglikelihood_fn = path.target
    return te.TemperedTarget(count("prior", logprior_fn), count("l", loglikelihood_fn)), calls


def evaluations_are_one_a_step() -> None:
    """Each half and each gradient once at the start and once a step, per chain, and no more."""
    path, n, num, num_steps = gt.SKEWED_GAMMA, 3, 4, 2
    ladder = checks_evidence.power_ladder(num)
    for direction, annealed in RUNS.items():
        target, calls = counted(path)
        starts = jnp.asarray(exact_starts(path, direction, n, 0), jnp.float32)
        result = annealed(jax.random.key(0), target, starts, ladder, 0.5, num_steps=num_steps)
        jax.block_until_ready(result)
        jax.effects_barrier()
        expected = n * (1 + (num - 1) * num_steps)
        names = ("prior value", "prior gradient", "l value", "l gradient")
        assert calls == dict.fromkeys(names, expected), (direction, calls, expected)


def step_sizes_are_tuned() -> None:
    """Frozen step sizes give about the acceptance they were tuned to, at every temperature."""
    path = gt.LINEAR_GAUSSIAN
    ladder = checks_evidence.power_ladder(6)
    pilot = jnp.asarray(exact_starts(path, "forward", 200, 1), jnp.float32)
    tune = jax.jit(te.annealing_step_sizes, static_argnums=1, static_argnames="num_steps")
    step_size = tune(jax.random.key(0), path.target, pilot, ladder, num_steps=200)
    assert step_size.shape == (6,)
    starts = jnp.asarray(exact_starts(path, "forward", 5_000, 2), jnp.float32)
    result = JITTED["forward"](
        jax.random.key(1), path.target, starts, ladder, step_size, num_steps=10
    )
    np.testing.assert_allclose(result.acceptance_rate, 0.574, atol=0.08)
