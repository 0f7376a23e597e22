"""Replica exchange against BlackJAX's adaptive tempered SMC: draws' worth per gradient.

Both get the same number of gradient evaluations: ours pays for its pilot run, the peer for
the evaluation with which every one of its rounds of moves begins. From many independent
runs, the effective sample size of an estimate of ``E f`` is
``Var f / E (estimate - E f)^2``, bias included, and the efficiency is that number per
gradient. Ours has 8 rungs and a pilot shorter than the library's default, both chosen
before the comparison and the same on every problem. The peer moves its particles by our
MALA kernel, with step size and metric tuned for every temperature beforehand, at no charge;
its number of moves and its target ESS are its defaults, or the best of a grid, chosen
afterwards in its favour.

Run with ``python -m benchmarks.tempering``; prints a table and writes JSON.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import tempered_ebm as te
from benchmarks.timing import environment

NUM_RUNS = 128
BUDGET = 100_000
NUM_TEMPERATURES = 8
PILOT = {"num_rounds": 5, "num_steps": 50}
PEER_GRID = tuple(itertools.product((1, 5, 20), (0.5, 0.9)))
PEER_DEFAULT = (10, 0.5)


class Problem(NamedTuple):
    """A tempered path, a statistic of its posterior, and the truth about it."""

    name: str
    target: te.TemperedTarget
    sample_prior: Callable[[Array, int], Array]
    statistic: Callable[[Array], Array]
    mean: float
    variance: float


def two_modes(dimension: int) -> Problem:
    """Two normals of scale .3 around +4 and -4 in every coordinate, with masses .7 and .3."""

    def loglikelihood(z: Array) -> Array:
        squares = [jnp.sum((z - c) ** 2, -1) / 0.09 for c in (4.0, -4.0)]
        return jnp.logaddexp(math.log(0.7) - 0.5 * squares[0], math.log(0.3) - 0.5 * squares[1])

    return Problem(
        f"two modes, d={dimension}: mass of the larger",
        te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1) / 9, loglikelihood),
        lambda key, n: 3 * jax.random.normal(key, (n, dimension)),
        lambda z: 1.0 * (z[..., 0] > 0),
        0.7,
        0.21,
    )


def regression(dimension: int) -> Problem:
    """Bayesian linear regression with correlated covariates: one mode, a closed form."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, dimension)) @ (np.eye(dimension) + 0.5)
    y = X @ rng.normal(size=dimension) + 0.5 * rng.normal(size=50)
    covariance = np.linalg.inv(np.eye(dimension) + X.T @ X / 0.25)
    mean = covariance @ X.T @ y / 0.25
    X32, y32 = jnp.asarray(X, jnp.float32), jnp.asarray(y, jnp.float32)
    return Problem(
        f"regression, d={dimension}: first coefficient",
        te.TemperedTarget(
            lambda z: -0.5 * jnp.sum(z**2, -1),
            lambda z: -0.5 * jnp.sum((y32 - z @ X32.T) ** 2, -1) / 0.25,
        ),
        lambda key, n: jax.random.normal(key, (n, dimension)),
        lambda z: z[..., 0],
        float(mean[0]),
        float(covariance[0, 0]),
    )


def replica_exchange(problem: Problem) -> Callable[[Array], tuple[Array, Array]]:
    """One ladder: pilot run, then the cold rung's mean with whatever budget is left."""
    rounds = sum(PILOT["num_steps"] // 2 * 2 * 2**r for r in range(PILOT["num_rounds"]))
    num_steps = BUDGET // NUM_TEMPERATURES - rounds - 1

    def run(key: Array) -> tuple[Array, Array]:
        prior_key, pilot_key, run_key = jax.random.split(key, 3)
        start = problem.sample_prior(prior_key, 1)[0]
        pilot = te.pilot.run(pilot_key, problem.target, start, NUM_TEMPERATURES, **PILOT)
        kernel = te.replica_exchange(problem.target, **pilot.tuning._asdict())
        _, moments = te.inference.run_with_moments(
            run_key,
            kernel,
            pilot.state,
            num_steps,
            statistic_fn=lambda state, info: problem.statistic(state.position[-1]),
        )
        return moments.mean, jnp.asarray(NUM_TEMPERATURES * (1 + rounds + num_steps))

    return run


@functools.cache
def _tuning(problem: Problem) -> te.pilot.Tuning:
    """Step sizes and metrics on a fine ladder, for the peer, at no charge."""
    start = problem.sample_prior(jax.random.key(2), 64)
    return te.pilot.run(jax.random.key(3), problem.target, start, 16).tuning


def _interpolate(t: Array, ladder: Array, values: Array) -> Array:
    """Linear interpolation along the first axis."""
    k = jnp.clip(jnp.searchsorted(ladder, t, side="right") - 1, 0, ladder.shape[0] - 2)
    weight = (t - ladder[k]) / (ladder[k + 1] - ladder[k])
    return (1 - weight) * values[k] + weight * values[k + 1]


def tempered_smc(
    problem: Problem, num_particles: int, num_moves: int, target_ess: float
) -> Callable[[Array], tuple[Array, Array]]:
    """BlackJAX's particles, until they reach the posterior."""
    tuning = _tuning(problem)

    def algorithm(t: Array) -> blackjax.base.SamplingAlgorithm:
        parameters = {
            name: jnp.exp(_interpolate(t, tuning.temperatures, jnp.log(values)))
            for name, values in tuning._asdict().items()
            if name != "temperatures"
        }
        return blackjax.adaptive_tempered_smc(
            problem.target.logprior_fn,
            problem.target.loglikelihood_fn,
            te.kernels.mala.build_kernel(),
            te.kernels.mala.init,
            blackjax.smc.extend_params(parameters),
            blackjax.smc.resampling.systematic,
            target_ess,
            num_mcmc_steps=num_moves,
        )

    def run(key: Array) -> tuple[Array, Array]:
        prior_key, run_key = jax.random.split(key)
        particles = problem.sample_prior(prior_key, num_particles)
        state = algorithm(jnp.zeros(())).init(particles)

        def step(carry: tuple) -> tuple:
            state, i = carry
            key = jax.random.fold_in(run_key, i)
            return algorithm(state.tempering_param).step(key, state)[0], i + 1

        state, num_steps = jax.lax.while_loop(
            lambda carry: carry[0].tempering_param < 1, step, (state, jnp.zeros((), jnp.int32))
        )
        # A step moves at the old temperature and then weighs for the new one.
        estimate = jnp.sum(state.weights * problem.statistic(state.particles))
        return estimate, num_steps * num_particles * (num_moves + 1)

    return run


class Efficiency(NamedTuple):
    """Effective draws per 1,000 gradients, and what it was computed from."""

    per_thousand_gradients: float
    gradients: float
    estimates: np.ndarray


def measure(problem: Problem, run: Callable) -> Efficiency:
    """Repeat a method on its own keys."""
    keys = jax.random.split(jax.random.key(0), NUM_RUNS)
    estimates, gradients = jax.jit(lambda keys: jax.lax.map(run, keys, batch_size=32))(keys)
    estimates = np.asarray(estimates, np.float64)
    error = np.mean((estimates - problem.mean) ** 2)
    mean_gradients = float(np.mean(gradients))
    return Efficiency(
        float(1e3 * problem.variance / error / mean_gradients), mean_gradients, estimates
    )


def ratio(problem: Problem, ours: Efficiency, theirs: Efficiency) -> tuple[float, float, float]:
    """Ratio of the efficiencies, with a 90 % bootstrap interval over the runs."""
    rng = np.random.default_rng(0)

    def resampled(e: Efficiency) -> np.ndarray:
        squares = (e.estimates - problem.mean) ** 2
        index = rng.integers(0, NUM_RUNS, (4000, NUM_RUNS))
        return 1 / (squares[index].mean(1) * e.gradients)

    low, high = np.quantile(resampled(ours) / resampled(theirs), (0.05, 0.95))
    return float(low), ours.per_thousand_gradients / theirs.per_thousand_gradients, float(high)


def peer_at_budget(problem: Problem, num_moves: int, target_ess: float) -> Efficiency:
    """Give the peer as many particles as the budget pays, found by a run with few."""
    small = 200
    _, gradients = jax.jit(tempered_smc(problem, small, num_moves, target_ess))(jax.random.key(1))
    num_particles = int(BUDGET / (float(gradients) / small))
    return measure(problem, tempered_smc(problem, num_particles, num_moves, target_ess))


def main() -> None:
    """Measure every problem."""
    rows = []
    print(f"{'problem':44}{'method':34}{'ESS/1000 grad':>14}  ours/theirs (90 %)")
    for problem in (two_modes(2), two_modes(10), regression(10)):
        ours = measure(problem, replica_exchange(problem))
        peers = {setting: peer_at_budget(problem, *setting) for setting in PEER_GRID}
        default = peer_at_budget(problem, *PEER_DEFAULT)
        best = max(peers, key=lambda setting: peers[setting].per_thousand_gradients)
        print(f"{problem.name:44}{'replica exchange':34}{ours.per_thousand_gradients:14.3f}")
        for label, setting, peer in (
            ("default", PEER_DEFAULT, default),
            ("best of grid", best, peers[best]),
        ):
            low, median, high = ratio(problem, ours, peer)
            name = f"SMC, {label}: {setting[0]} moves, ESS {setting[1]}"
            print(
                f"{'':44}{name:34}{peer.per_thousand_gradients:14.3f}"
                f"  {median:.2f} [{low:.2f}, {high:.2f}]"
            )
            rows.append(
                {
                    "problem": problem.name,
                    "peer": name,
                    "ours_per_1000_gradients": ours.per_thousand_gradients,
                    "theirs_per_1000_gradients": peer.per_thousand_gradients,
                    "ratio": [low, median, high],
                    "gradients": [ours.gradients, peer.gradients],
                    "runs": NUM_RUNS,
                }
            )
    path = Path(__file__).parent / "results" / f"tempering-{jax.default_backend()}.json"
    path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
