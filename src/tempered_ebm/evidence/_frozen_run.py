"""Run replica exchange with frozen settings, in blocks of one length, within a budget."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import diagnostics, inference
from tempered_ebm.errors import InputError
from tempered_ebm.evidence.reweighting import mbar
from tempered_ebm.types import PRNGKey

VALUE_COST = 1 / 3
"""Cost of a value relative to a value-and-gradient."""

FEWEST_STEPS = 10
_FIRST_SHARE = 0.25
_LARGEST_BLOCK = 1_024
"""Steps after which a run can be interrupted, and resumed."""


class EvaluationCount(NamedTuple):
    """Number of evaluations of the log-likelihood.

    Attributes:
        gradients: with gradient; a Hessian in d dimensions counts as 2d of them.
        values: without.
    """

    gradients: int
    values: int

    @property
    def units(self) -> float:
        """Return their cost, in gradients."""
        return self.gradients + VALUE_COST * self.values

    def plus(self, other: EvaluationCount, times: int = 1) -> EvaluationCount:
        """Return the sum with ``times`` times the other count."""
        return EvaluationCount(
            self.gradients + times * other.gradients, self.values + times * other.values
        )


class StoppingRule(NamedTuple):
    """When a run stops: at a standard error, or at a number of blocks.

    Attributes:
        target_standard_error: go on until the standard error is at most this; None for no more
            than the first blocks.
        num_blocks: blocks to begin with.
        max_num_blocks: blocks that the budget pays, or that were asked for.
        unit: what is counted of a block, such as "steps", and how many of them there are.
    """

    target_standard_error: float | None
    num_blocks: int
    max_num_blocks: int
    unit: tuple[int, str]


class RunBudget(NamedTuple):
    """Length of a run, as the arguments of :func:`tempered_ebm.log_evidence` give it."""

    num_samples: int
    max_num_samples: int
    budget: int | None
    target_standard_error: float | None

    def plan(self, spent: EvaluationCount, per_step: EvaluationCount) -> tuple[int, StoppingRule]:
        """Return the number of steps of a block, and the rule that stops the run.

        Args:
            spent: evaluations of the preparations.
            per_step: evaluations of one step of all ensembles.

        Raises:
            InputError: if the budget is too small.
        """
        wanted = self.target_standard_error
        if self.budget is None:
            block, num_blocks = _in_blocks(self.num_samples)
            most = num_blocks * (self.max_num_samples // self.num_samples)
            return block, StoppingRule(wanted, num_blocks, most, (block, "steps"))
        affordable = int((self.budget - spent.units) / per_step.units)
        if affordable < FEWEST_STEPS:
            least = math.ceil(spent.units + per_step.units * FEWEST_STEPS)
            raise InputError(
                f"budget must be at least {least:,} evaluations here, of which the preparations "
                f"take {math.ceil(spent.units):,}, got {self.budget:,}"
            )
        affordable = _rounded_down(affordable)
        if wanted is None:
            block, num_blocks = _in_blocks(affordable)
            unit = (block, "steps, for which the budget was made")
            return block, StoppingRule(None, num_blocks, num_blocks, unit)
        block, num_blocks = _in_blocks(max(FEWEST_STEPS, int(_FIRST_SHARE * affordable)))
        return block, StoppingRule(wanted, num_blocks, affordable // block, (block, "steps"))


def _in_blocks(num_steps: int) -> tuple[int, int]:
    """Return the size of equal blocks, none of them long, and their number, a power of two."""
    num_blocks = 1 << (-(-num_steps // _LARGEST_BLOCK) - 1).bit_length()
    return -(-num_steps // num_blocks), num_blocks


def _rounded_down(num: int) -> int:
    """Round down to four binary digits: runs of nearly one length share compiled programs.

    At most an eighth of the budget is left unspent.
    """
    shift = max(0, num.bit_length() - 4)
    return num >> shift << shift


_KEPT_POSITIONS = 200


class Block(NamedTuple):
    """Result of a block of steps.

    Attributes:
        state: state of the chains.
        loglikelihood: of every draw, (num_steps, K, N).
        swap_acceptance_rate: mean over the steps, (K-1,).
        flow: journeys of the replicas, with those of earlier blocks.
        prior_loglikelihood: of independent draws at t = 0, (M,); M may be 0.
        position: vectors at t = 1, of at most 200 steps evenly spread, (S, N, d).
    """

    state: Any
    loglikelihood: Float[Array, "num_steps K N"]
    swap_acceptance_rate: Float[Array, "K-1"]
    flow: diagnostics.ReplicaFlow
    prior_loglikelihood: Float[Array, "M"]
    position: Float[Array, "S N d"]


Advance = Callable[[PRNGKey, Any, diagnostics.ReplicaFlow], Block]
"""``(rng_key, state, flow) -> Block``: a block of steps, compiled once."""


class Record(NamedTuple):
    """Draws and statistics of all blocks of a run along a path, and what it cost.

    Attributes:
        temperatures: the ladder, frozen, (K,).
        loglikelihoods: (K, num_draws, N).
        prior_loglikelihoods: of independent draws at t = 0, (M,).
        positions: vectors at t = 1, (S, N, d), evenly spread over the run.
        swap_acceptance_rate: mean over the run, (K-1,).
        flow: journeys of the replicas.
        stopped: why the run ended.
        prepared: evaluations before the run that counts.
        total: evaluations in all.
    """

    temperatures: Float[Array, "K"]
    loglikelihoods: Float[Array, "K num_draws N"]
    prior_loglikelihoods: Float[Array, "M"]
    positions: Float[Array, "S N d"]
    swap_acceptance_rate: Float[Array, "K-1"]
    flow: diagnostics.ReplicaFlow
    stopped: str
    prepared: EvaluationCount
    total: EvaluationCount


def advance(
    rng_key: PRNGKey, kernel: Any, state: Any, flow: diagnostics.ReplicaFlow, num_steps: int
) -> Block:
    """Return the result of a block of steps; call it inside ``jit``."""

    def step(carry: tuple, key: PRNGKey) -> tuple:
        state, flow, rates = carry
        state, info = kernel.step(key, state)
        flow = diagnostics.update_replica_flow(flow, state.replica)
        rates = inference.update_moments(rates, info.swap_acceptance_rate)
        return (state, flow, rates), (state.loglikelihood, state.position[-1])

    draws: Array
    positions: Array
    rates = inference.init_moments(state.loglikelihood[1:, 0])
    keys = jax.random.split(rng_key, num_steps)
    (state, flow, rates), (draws, positions) = jax.lax.scan(step, (state, flow, rates), keys)
    kept = positions[:: -(-num_steps // _KEPT_POSITIONS)]
    return Block(state, draws, rates.mean, flow, jnp.zeros(0, draws.dtype), kept)


class Journal(NamedTuple):
    """Where a run keeps its blocks, and whether it says how far it is.

    Attributes:
        folder: folder of the checkpoints, None for none.
        shows_progress: whether lines go to the standard error.
    """

    folder: Path | None = None
    shows_progress: bool = False

    def within(self, name: str) -> Journal:
        """Return the journal of a part of the run."""
        return self._replace(folder=self.folder and self.folder / name)

    def call(self, name: str, fn: Callable, *args: Any) -> Any:
        """Return ``fn(*args)``, read from its checkpoint if there is one."""
        if self.folder is None:
            return jax.block_until_ready(fn(*args))
        return inference.checkpointed(self.folder / f"{name}.npz", fn, *args)

    def say(self, text: str) -> None:
        """Show a line of progress."""
        if self.shows_progress:
            sys.stderr.write(f"log_evidence: {text}\n")


def record(
    rng_key: PRNGKey,
    advance: Advance,
    state: Any,
    temperatures: Float[Array, "K"],
    stopping_rule: StoppingRule,
    prepared: EvaluationCount,
    per_step: EvaluationCount,
    journal: Journal,
) -> Record:
    """Run some blocks, or double the run until the error is small, and return all draws."""
    blocks: list[Block] = []
    flow = diagnostics.init_replica_flow(state.replica)
    began, stopped, more = time.perf_counter(), None, stopping_rule.num_blocks
    try:
        while stopped is None:
            for _ in range(more):
                i, key = len(blocks), jax.random.fold_in(rng_key, len(blocks))
                blocks.append(journal.call(f"{i:05d}", advance, key, state, flow))
                state, flow = blocks[-1].state, blocks[-1].flow
            error = math.nan
            # A program of its own for every number of draws: not where nobody asks for the error.
            if journal.shows_progress or stopping_rule.target_standard_error is not None:
                error = float(_standard_error(temperatures, *_draws(blocks)))
            stopped = _reason_to_stop(error, len(blocks), stopping_rule)
            journal.say(_progress(error, len(blocks), stopping_rule, time.perf_counter() - began))
            more = min(len(blocks), stopping_rule.max_num_blocks - len(blocks))
    except KeyboardInterrupt:
        if not blocks:
            raise
        stopped = f"interrupted after {_count(stopping_rule, len(blocks))}"
    rates = jnp.mean(jnp.stack([b.swap_acceptance_rate for b in blocks]), axis=0)
    positions = jnp.concatenate([b.position for b in blocks])
    total = prepared.plus(per_step, stopping_rule.unit[0] * len(blocks))
    return Record(temperatures, *_draws(blocks), positions, rates, flow, stopped, prepared, total)


def _progress(error: float, num_blocks: int, rule: StoppingRule, seconds: float) -> str:
    """Return how far a run is, and how long it will take at most."""
    size, _ = rule.unit
    line = (
        f"{size * num_blocks:,} steps of {size * rule.max_num_blocks:,} in {seconds:.1f} s "
        f"({size * num_blocks / seconds:,.0f} a second), standard error {error:.3g}"
    )
    if rule.target_standard_error is None:
        return line
    share = min((error / rule.target_standard_error) ** 2, rule.max_num_blocks / num_blocks)
    left = max(share - 1, 0) * seconds
    return f"{line} of {rule.target_standard_error:g} wanted, about {left:.0f} s left"


def _count(stopping_rule: StoppingRule, num_blocks: int) -> str:
    size, name = stopping_rule.unit
    return f"{size * num_blocks:,} {name}"


def _reason_to_stop(error: float, num_blocks: int, stopping_rule: StoppingRule) -> str | None:
    wanted = stopping_rule.target_standard_error
    if wanted is None:
        return f"after the requested {_count(stopping_rule, num_blocks)}"
    if error <= wanted:
        return f"standard error {error:.3g} at most {wanted:g} as requested"
    if num_blocks >= stopping_rule.max_num_blocks:
        return (
            f"budget of {_count(stopping_rule, num_blocks)} spent at a standard error of "
            f"{error:.3g}; {wanted:g} was requested"
        )
    return None


def _draws(blocks: list[Block]) -> tuple[Array, Array]:
    loglikelihoods = jnp.swapaxes(jnp.concatenate([b.loglikelihood for b in blocks]), 0, 1)
    return loglikelihoods, jnp.concatenate([b.prior_loglikelihood for b in blocks])


@jax.jit
def _standard_error(temperatures: Array, draws: Array, extra: Array) -> Array:
    error = mbar(temperatures, draws, prior_loglikelihoods=extra).standard_error
    return jnp.where(jnp.isnan(error), math.inf, error)
