"""BlackJAX's nested slice sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.evidence import cost
from benchmarks.evidence.problem import Problem

_MOST_BUDGETS = 2
_ENDS_OF_A_BRACKET = 2


class Carry(NamedTuple):
    """Live points, what they cost, and the posterior mean of the log-likelihood so far."""

    state: blackjax.ns.adaptive.AdaptiveNSState
    values: Array
    mean_loglikelihood: Array
    num_steps: Array


@dataclass(frozen=True)
class NestedSlice:
    """Nested sampling with hit-and-run slice moves (Yallup, Kroupa and Handley 2026).

    A slice move evaluates both ends of its first bracket, and once per expansion and shrinkage.
    The error is Skilling's (2006) ``sqrt(H / n)``, with ``H`` the information gained.

    Attributes:
        moves_per_dimension: slice moves per new point and dimension; at least five moves are
            made, as the library advises with a factor of two.
        remaining: stop when the live points hold less than ``e^remaining`` of the evidence.
        deleted: fraction of live points replaced at once.
    """

    moves_per_dimension: float = 2.0
    remaining: float = -3.0
    deleted: float = 0.1

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"nested slice, {self.moves_per_dimension:g}d moves, stop e^{self.remaining:g}"

    def run(self, rng_key: Array, problem: Problem, num_live: int, most_values: float) -> Carry:
        """One run, until the live points no longer matter or ``most_values`` are evaluated."""
        prior_key, run_key = jax.random.split(rng_key)
        algorithm = blackjax.nss(
            problem.target.logprior_fn,
            problem.target.loglikelihood_fn,
            num_inner_steps=max(5, round(self.moves_per_dimension * problem.dimension)),
            num_delete=max(1, int(self.deleted * num_live)),
        )
        live = problem.sample_prior(prior_key, num_live).astype(jnp.float32)
        start = Carry(
            algorithm.init(live), jnp.asarray(float(num_live)), jnp.zeros(()), jnp.zeros((), int)
        )

        def step(carry: Carry) -> Carry:
            state, info = algorithm.step(jax.random.fold_in(run_key, carry.num_steps), carry.state)
            slices = info.update_info
            new = _ENDS_OF_A_BRACKET + slices.num_expansions + slices.num_shrink
            share = -jnp.expm1(carry.state.integrator.logZ - state.integrator.logZ)
            mean = (1 - share) * carry.mean_loglikelihood
            mean += share * info.particles.loglikelihood.mean()
            return Carry(state, carry.values + jnp.sum(new), mean, carry.num_steps + 1)

        def unfinished(carry: Carry) -> Array:
            integrator = carry.state.integrator
            left = integrator.logZ_live - jnp.logaddexp(integrator.logZ, integrator.logZ_live)
            return (left > self.remaining) & (carry.values < most_values)

        return jax.lax.while_loop(unfinished, step, start)

    def _runs(
        self, seeds: np.ndarray, problem: Problem, num_live: int, budget: float
    ) -> cost.Result:
        most_values = _MOST_BUDGETS * budget / cost.VALUE_UNITS

        def run(seed: Array) -> tuple[Array, ...]:
            end = self.run(jax.random.key(seed), problem, num_live, most_values)
            integrator = end.state.integrator
            value = jnp.logaddexp(integrator.logZ, integrator.logZ_live)
            information = jnp.maximum(end.mean_loglikelihood - integrator.logZ, 0)
            return value, end.values, jnp.sqrt(information / num_live)

        values, evaluations, errors = jax.jit(lambda s: jax.lax.map(run, s))(jnp.asarray(seeds))
        stopped = np.asarray(evaluations) >= most_values
        return cost.gather(values, np.zeros(len(seeds)), evaluations, errors, stopped)

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> cost.Result:
        """One run per seed, with as many live points as the budget pays."""
        smallest = 2 * problem.dimension + 10
        return cost.at_budget(
            lambda some, size: self._runs(some, problem, size, budget),
            seeds,
            budget,
            smallest,
            smallest,
        )


DEFAULT = NestedSlice()
GRID = tuple(NestedSlice(moves) for moves in (1, 2, 4))
