"""Estimate along the path from the prior to the posterior."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from tempered_ebm import diagnostics
from tempered_ebm.adaptation import pilot
from tempered_ebm.evidence import _frozen_run as recorder
from tempered_ebm.evidence._frozen_run import EvaluationCount, Journal, RunBudget
from tempered_ebm.kernels import replica_exchange
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

_PILOT_SHARE = 0.4


class PilotPlan(NamedTuple):
    """Settings of the pilot run.

    Attributes:
        num_temperatures: K.
        ladder: rule that spaces the temperatures.
        num_rounds: rounds, each twice as long as the last.
        num_steps: steps of the first round.
    """

    num_temperatures: int
    ladder: pilot.LadderRule
    num_rounds: int
    num_steps: int

    @property
    def evaluations(self) -> int:
        """Return the evaluations of every chain: one at the start, and one a step."""
        return 1 + 2 * (self.num_steps // 2) * (2**self.num_rounds - 1)

    def within(self, budget: float, num_ensembles: int) -> PilotPlan:
        """Return a plan within the budget: of fewer rounds, and then of shorter ones."""
        plan = self
        chains = num_ensembles * self.num_temperatures
        while chains * plan.evaluations > budget and plan.num_rounds > 2:
            plan = plan._replace(num_rounds=plan.num_rounds - 1)
        while chains * plan.evaluations > budget and plan.num_steps > 10:
            plan = plan._replace(num_steps=max(10, plan.num_steps // 2))
        return plan


def run(
    rng_key: PRNGKey,
    target: TemperedTarget,
    position: Float[Array, "N d"],
    plan: PilotPlan,
    budget: RunBudget,
    spent: EvaluationCount,
    journal: Journal,
) -> recorder.Record:
    """Tune a ladder by a pilot, freeze it, and record replica exchange.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        position: initial positions of the ensembles.
        plan: the pilot.
        budget: how long to run.
        spent: what has been spent before.
        journal: where the run is kept, and how far it is.
    """
    pilot_key, run_key = jax.random.split(rng_key)
    num_ensembles = position.shape[0]
    if budget.budget is not None:
        plan = plan.within(_PILOT_SHARE * (budget.budget - spent.units), num_ensembles)
    chains = num_ensembles * plan.num_temperatures
    prepared = spent.plus(EvaluationCount(chains * plan.evaluations, 0))
    per_step = EvaluationCount(chains, 0)
    num_steps, stopping_rule = budget.plan(prepared, per_step)
    journal.say(f"pilot run of {plan.num_rounds} rounds on {plan.num_temperatures} temperatures")
    checkpoint = journal.folder and journal.folder / "pilot.npz"
    tuned = pilot.run(pilot_key, target, position, checkpoint=checkpoint, **plan._asdict())

    def block(rng_key: PRNGKey, state: Any, flow: diagnostics.ReplicaFlow) -> recorder.Block:
        return _advance(rng_key, target, tuned.tuning, state, flow, num_steps)

    start = (tuned.state, tuned.tuning.temperatures)
    return recorder.record(run_key, block, *start, stopping_rule, prepared, per_step, journal)


@functools.partial(jax.jit, static_argnames="num_steps")
def _advance(
    rng_key: PRNGKey,
    target: TemperedTarget,
    tuning: pilot.Tuning,
    state: Any,
    flow: diagnostics.ReplicaFlow,
    num_steps: int,
) -> recorder.Block:
    kernel = replica_exchange.as_top_level_api(target, **tuning._asdict())
    return recorder.advance(rng_key, kernel, state, flow, num_steps)
