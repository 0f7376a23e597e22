"""The run that counts: replica exchange with everything frozen, in blocks of one length."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import diagnostics, evidence, inference
from tempered_ebm.evidence import _budget as sizing
from tempered_ebm.evidence._budget import Goal
from tempered_ebm.types import PRNGKey

_KEPT_POSITIONS = 200


class Block(NamedTuple):
    """What a block of steps leaves behind.

    Attributes:
        state: where the chains stand.
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
    """Everything recorded.

    Attributes:
        loglikelihoods: (K, num_draws, N).
        prior_loglikelihoods: of independent draws at t = 0, (M,).
        positions: vectors at t = 1, (S, N, d), evenly spread over the run.
        swap_acceptance_rate: mean over the run, (K-1,).
        flow: journeys of the replicas.
        num_blocks: blocks made.
        stopped: why the run ended.
    """

    loglikelihoods: Float[Array, "K num_draws N"]
    prior_loglikelihoods: Float[Array, "M"]
    positions: Float[Array, "S N d"]
    swap_acceptance_rate: Float[Array, "K-1"]
    flow: diagnostics.ReplicaFlow
    num_blocks: int
    stopped: str


class Outcome(NamedTuple):
    """A recorded run along a path.

    Attributes:
        temperatures: the ladder, frozen, (K,).
        record: what was recorded.
        prepared: evaluations before the run that counts.
        total: evaluations in all.
    """

    temperatures: Float[Array, "K"]
    record: Record
    prepared: sizing.Spent
    total: sizing.Spent


def advance(
    rng_key: PRNGKey, kernel: Any, state: Any, flow: diagnostics.ReplicaFlow, num_steps: int
) -> Block:
    """Make a block of steps; call it inside ``jit``."""

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


def record(
    rng_key: PRNGKey, advance: Advance, state: Any, temperatures: Array, goal: Goal
) -> Record:
    """Record one block, or double the record until the error is small; say why it ended."""
    flow = diagnostics.init_replica_flow(state.replica)
    blocks = [_block(rng_key, 0, advance, state, flow)]
    if goal.target_standard_error is None:
        return _joined(blocks, f"after the requested {_count(goal, 1)}")
    try:
        stopped = None
        while stopped is None:
            error = float(_standard_error(temperatures, *_draws(blocks)))
            stopped = _reason_to_stop(error, len(blocks), goal)
            for _ in range(0 if stopped else min(len(blocks), goal.max_num_blocks - len(blocks))):
                last = blocks[-1]
                blocks.append(_block(rng_key, len(blocks), advance, last.state, last.flow))
    except KeyboardInterrupt:
        stopped = f"interrupted after {_count(goal, len(blocks))}"
    return _joined(blocks, stopped)


def _block(
    rng_key: PRNGKey, i: int, advance: Advance, state: Any, flow: diagnostics.ReplicaFlow
) -> Block:
    return jax.block_until_ready(advance(jax.random.fold_in(rng_key, i), state, flow))


def _count(goal: Goal, num_blocks: int) -> str:
    size, name = goal.unit
    return f"{size * num_blocks:,} {name}"


def _reason_to_stop(error: float, num_blocks: int, goal: Goal) -> str | None:
    wanted = goal.target_standard_error
    if wanted is not None and error <= wanted:
        return f"standard error {error:.3g} at most {wanted:g} as requested"
    if num_blocks >= goal.max_num_blocks:
        return (
            f"budget of {_count(goal, num_blocks)} spent at a standard error of {error:.3g}; "
            f"{wanted:g} was requested"
        )
    return None


def _draws(blocks: list[Block]) -> tuple[Array, Array]:
    loglikelihoods = jnp.swapaxes(jnp.concatenate([b.loglikelihood for b in blocks]), 0, 1)
    return loglikelihoods, jnp.concatenate([b.prior_loglikelihood for b in blocks])


def _joined(blocks: list[Block], stopped: str) -> Record:
    rates = jnp.mean(jnp.stack([b.swap_acceptance_rate for b in blocks]), axis=0)
    positions = jnp.concatenate([b.position for b in blocks])
    return Record(*_draws(blocks), positions, rates, blocks[-1].flow, len(blocks), stopped)


@jax.jit
def _standard_error(temperatures: Array, draws: Array, extra: Array) -> Array:
    error = evidence.mbar(temperatures, draws, prior_loglikelihoods=extra).standard_error
    return jnp.where(jnp.isnan(error), math.inf, error)
