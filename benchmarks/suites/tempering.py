"""Time of tempered samplers per unit of work; what the draws are worth is in ``tempering.py``.

Two normals of scale 0.3 at ±4 in every coordinate, under a prior of scale 3. Replica exchange
against the same ladders of TensorFlow Probability, and against tempered SMC of BlackJAX with as
many particles as make the same number of gradient evaluations.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

import tempered_ebm as te
from benchmarks import tempering
from benchmarks.peers import tfp_exchange
from benchmarks.work import Prepared, Work, jax_program
from tempered_ebm import schedules

NUM_TEMPERATURES = 8
NUM_STEPS = 1_000


def ladder() -> tuple[Array, Array]:
    """Temperatures, and step sizes inverse to the precision of a mode at each."""
    t = schedules.power(NUM_TEMPERATURES, 4.0)
    return t, 1 / (1 / 9 + t / 0.09)


def replica_exchange(
    target: te.TemperedTarget, position: Array, num_steps: int
) -> Callable[[], Prepared]:
    """Our ladders of MALA chains, all starting at ``position``, (N, d); the cold rung is kept."""

    def prepare() -> Prepared:
        kernel = te.replica_exchange(target, *ladder())

        def run(rng_key: Array, position: Array) -> Array:
            start = jnp.broadcast_to(position, (NUM_TEMPERATURES, *position.shape))
            return te.inference.short_run(rng_key, kernel, start, num_steps).position[-1]

        return jax_program(run, jax.random.key(0), position)()

    return prepare


def tempered_smc(problem: tempering.Problem, gradients: int) -> Callable[[], Prepared]:
    """BlackJAX's particles at its defaults, as many of them as the gradient evaluations pay."""

    def prepare() -> Prepared:
        few = 200
        run = jax.jit(tempering.tempered_smc(problem, few, *tempering.PEER_DEFAULT))
        spent = float(run(jax.random.key(1))[1])
        particles = max(few, round(gradients * few / spent))
        method = tempering.tempered_smc(problem, particles, *tempering.PEER_DEFAULT)
        return jax_program(method, jax.random.key(0))()

    return prepare


def _work(dimension: int, num_ladders: int, num_steps: int) -> Work:
    problem = tempering.two_modes(dimension)
    position = problem.sample_prior(jax.random.key(1), num_ladders)
    gradients = NUM_TEMPERATURES * num_ladders * (num_steps + 1)
    return Work(
        f"replica exchange, d={dimension}, K={NUM_TEMPERATURES}, {num_ladders} ladders, "
        f"{num_steps} steps",
        {
            "tempered_ebm": replica_exchange(problem.target, position, num_steps),
            "TFP ReplicaExchangeMC": tfp_exchange.factory(
                problem.target, *ladder(), position, num_steps
            ),
            "BlackJAX tempered SMC, equal gradients": tempered_smc(problem, gradients),
        },
    )


def works(quick: bool) -> list[Work]:
    """Replica exchange in 2 and 16 dimensions.

    Args:
        quick: fewer ladders and steps.
    """
    num_ladders, num_steps = (64, 100) if quick else (256, NUM_STEPS)
    return [_work(dimension, num_ladders, num_steps) for dimension in (2, 16)]
