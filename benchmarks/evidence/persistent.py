"""BlackJAX's persistent sampling: sequential Monte Carlo that reweights all earlier particles."""

from __future__ import annotations

from dataclasses import dataclass

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.evidence import cost
from benchmarks.evidence.problem import Problem

_MOST_STEPS = 128
_GAIN = 2.0
_ACCEPTANCE = 0.574


@dataclass(frozen=True)
class Persistent:
    """Persistent sampling (Karamanis and Seljak 2025) with MALA moves of following step size.

    The mixture of all earlier temperatures is the proposal, weighted as in their equations
    14 to 16, which also give ``log Z``. A step costs every particle one gradient per move, one
    where its moves begin, and one value; so does the last step, whose moves no estimate sees.

    Attributes:
        num_moves: Markov moves per particle and temperature.
        target_ess: effective number of all particles so far, in units of those of one step.
    """

    num_moves: int = 10
    target_ess: float = 3.0

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"persistent SMC, {self.num_moves} moves, ESS {self.target_ess:g}"

    def _algorithm(self, problem: Problem, step_size: Array) -> blackjax.base.SamplingAlgorithm:
        return blackjax.adaptive_persistent_sampling_smc(
            problem.target.logprior_fn,
            problem.target.loglikelihood_fn,
            _MOST_STEPS,
            blackjax.mala.build_kernel(),
            blackjax.mala.init,
            {"step_size": step_size[None]},
            blackjax.smc.resampling.systematic,
            target_ess=self.target_ess,
            num_mcmc_steps=self.num_moves,
        )

    def run(self, rng_key: Array, problem: Problem, num_particles: int) -> tuple[Array, ...]:
        """Log-evidence, number of steps and last temperature of one run."""
        prior_key, run_key = jax.random.split(rng_key)
        particles = problem.sample_prior(prior_key, num_particles).astype(jnp.float32)
        start = self._algorithm(problem, jnp.ones(())).init(particles)
        start = jax.tree.map(jnp.asarray, start)

        def step(carry: tuple) -> tuple:
            state, log_step_size = carry
            key = jax.random.fold_in(run_key, state.iteration)
            state, info = self._algorithm(problem, jnp.exp(log_step_size)).step(key, state)
            accepted = jnp.nan_to_num(info.update_info.acceptance_rate).mean()
            return state, log_step_size + _GAIN * (accepted - _ACCEPTANCE)

        def unfinished(carry: tuple) -> Array:
            state, _ = carry
            return (state.tempering_param < 1) & (state.iteration < _MOST_STEPS - 1)

        end, _ = jax.lax.while_loop(unfinished, step, (start, jnp.zeros(())))
        return end.log_Z, end.iteration, end.tempering_param

    def _runs(self, seeds: np.ndarray, problem: Problem, num_particles: int) -> cost.Result:
        values, steps, reached = jax.jit(
            lambda seeds: jax.lax.map(
                lambda seed: self.run(jax.random.key(seed), problem, num_particles), seeds
            )
        )(jnp.asarray(seeds))
        evaluations = num_particles * np.asarray(steps, np.float64)
        return cost.gather(
            values,
            (self.num_moves + 1) * evaluations,
            evaluations + num_particles,
            failed=np.asarray(reached) < 1,
        )

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> cost.Result:
        """One run per seed, with as many particles as the budget pays."""
        return cost.at_budget(
            lambda some, size: self._runs(some, problem, size), seeds, budget, 8, 64
        )


DEFAULT = Persistent()
GRID = tuple(Persistent(moves, ess) for moves in (3, 10) for ess in (1.0, 3.0))
