"""BlackJAX's adaptive tempered sequential Monte Carlo, with MALA or HMC moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.evidence import cost
from benchmarks.evidence.problem import Problem

_MOST_STEPS = 1_000
_GAIN = 2.0


class Carry(NamedTuple):
    """Particles on their way to the posterior, and the running log-evidence."""

    state: blackjax.smc.tempered.TemperedSMCState
    log_step_size: Array
    log_evidence: Array
    num_steps: Array


@dataclass(frozen=True)
class TemperedSMC:
    """Tempered SMC whose step size follows the acceptance rate of the step before.

    ``log p(x)`` is the sum of the ``log_likelihood_increment`` of all steps (Del Moral, Doucet
    and Jasra 2006). A step evaluates every particle once per gradient of a move, once more
    where its moves begin, and twice without gradient, for the next temperature and the weights.

    Attributes:
        num_moves: Markov moves per particle and temperature.
        target_ess: effective fraction of particles that fixes the next temperature.
        move: "mala", or "hmc" with the particles' covariance as inverse mass matrix.
        leapfrogs: leapfrog steps of an HMC move.
    """

    num_moves: int = 10
    target_ess: float = 0.5
    move: Literal["mala", "hmc"] = "mala"
    leapfrogs: int = 5

    @property
    def name(self) -> str:
        """What the tables call it."""
        kind = self.move if self.move == "mala" else f"hmc({self.leapfrogs})"
        return f"SMC {kind}, {self.num_moves} moves, ESS {self.target_ess}"

    @property
    def gradients_per_step(self) -> int:
        """Gradients of one particle at one temperature."""
        return 1 + self.num_moves * (1 if self.move == "mala" else self.leapfrogs)

    @property
    def _acceptance(self) -> float:
        return 0.574 if self.move == "mala" or self.leapfrogs == 1 else 0.7

    def _algorithm(self, problem: Problem, carry: Carry) -> blackjax.base.SamplingAlgorithm:
        parameters = {"step_size": jnp.exp(carry.log_step_size)[None]}
        module = blackjax.mala if self.move == "mala" else blackjax.hmc
        if self.move == "hmc":
            parameters["inverse_mass_matrix"] = _covariance(carry.state)[None]
            parameters["num_integration_steps"] = jnp.array([self.leapfrogs])
        return blackjax.adaptive_tempered_smc(
            problem.target.logprior_fn,
            problem.target.loglikelihood_fn,
            module.build_kernel(),
            module.init,
            parameters,
            blackjax.smc.resampling.systematic,
            self.target_ess,
            num_mcmc_steps=self.num_moves,
        )

    def run(self, rng_key: Array, problem: Problem, num_particles: int) -> Carry:
        """One run, up to t = 1 or the most steps allowed."""
        prior_key, run_key = jax.random.split(rng_key)
        particles = problem.sample_prior(prior_key, num_particles).astype(jnp.float32)
        state = blackjax.smc.tempered.init(particles)
        state = state._replace(tempering_param=jnp.zeros(()))
        # A unit diffusion time suits MALA on the unit scale; HMC goes by the mass matrix.
        first = 0.0 if self.move == "mala" else -1.0
        carry = Carry(state, jnp.asarray(first), jnp.zeros(()), jnp.zeros((), jnp.int32))

        def step(carry: Carry) -> Carry:
            key = jax.random.fold_in(run_key, carry.num_steps)
            state, info = self._algorithm(problem, carry).step(key, carry.state)
            accepted = jnp.nan_to_num(info.update_info.acceptance_rate).mean()
            return Carry(
                state,
                carry.log_step_size + _GAIN * (accepted - self._acceptance),
                carry.log_evidence + info.log_likelihood_increment,
                carry.num_steps + 1,
            )

        def unfinished(carry: Carry) -> Array:
            return (carry.state.tempering_param < 1) & (carry.num_steps < _MOST_STEPS)

        return jax.lax.while_loop(unfinished, step, carry)

    def _runs(self, seeds: np.ndarray, problem: Problem, num_particles: int) -> cost.Result:
        def run(seed: Array) -> tuple[Array, Array, Array]:
            end = self.run(jax.random.key(seed), problem, num_particles)
            return end.log_evidence, end.num_steps, end.state.tempering_param

        values, steps, reached = _mapped(run)(jnp.asarray(seeds))
        evaluations = num_particles * np.asarray(steps, np.float64)
        return cost.gather(
            values,
            self.gradients_per_step * evaluations,
            2 * evaluations,
            failed=np.asarray(reached) < 1,
        )

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> cost.Result:
        """One run per seed, with as many particles as the budget pays."""
        return cost.at_budget(
            lambda some, size: self._runs(some, problem, size), seeds, budget, 8, 128
        )


def _covariance(state: blackjax.smc.tempered.TemperedSMCState) -> Array:
    """Weighted covariance, shrunk towards its diagonal by the share d / (d + n)."""
    n, d = state.particles.shape
    covariance = jnp.atleast_2d(jnp.cov(state.particles.T, aweights=state.weights, ddof=0))
    diagonal = jnp.diag(jnp.maximum(jnp.diag(covariance), 1e-10))
    share = d / (d + n)
    return (1 - share) * covariance + share * diagonal


def _mapped(run: Callable) -> Callable:
    return jax.jit(lambda seeds: jax.lax.map(run, seeds))


DEFAULT = TemperedSMC()
PRECONDITIONED = TemperedSMC(10, 0.5, "hmc", leapfrogs=1)
"""One leapfrog step is MALA, here with the particles' covariance as preconditioner."""

GRID = (
    *(TemperedSMC(moves, ess) for moves in (3, 10) for ess in (0.5, 0.9)),
    *(TemperedSMC(m, ess, "hmc", leapfrogs=1) for m in (3, 10) for ess in (0.5, 0.9)),
)
