"""Time of one evidence estimate within a budget; its error is in ``benchmarks/evidence/``.

The budget is in that package's units: a gradient counts one, a value a third. NumPyro's nested
sampling is a door to a package of its own, and is not among the peers.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from benchmarks.evidence import nested, problems, smc
from benchmarks.evidence.cost import VALUE_UNITS
from benchmarks.evidence.problem import Problem
from benchmarks.work import Prepared, Work, jax_program

_PRIOR_DRAWS = 256
_PILOT = np.arange(2)


def log_evidence(problem: Problem, budget: int) -> Callable[[], Prepared]:
    """The library with its defaults; its programs are compiled by a first call."""

    def prepare() -> Prepared:
        start = problem.sample_prior(jax.random.key(0), _PRIOR_DRAWS).astype(jnp.float32)

        def call() -> float:
            return te.log_evidence(
                jax.random.key(1), problem.target, start, budget=budget
            ).log_evidence

        call()
        return Prepared(call)

    return prepare


def tempered_smc(problem: Problem, budget: int) -> Callable[[], Prepared]:
    """BlackJAX's tempered SMC with as many particles as the budget pays."""

    def prepare() -> Prepared:
        method, few = smc.DEFAULT, 128
        spent = method._runs(_PILOT, problem, few).units.mean()
        particles = max(8, round(few * budget / spent))
        return jax_program(
            lambda key: method.run(key, problem, particles).log_evidence, jax.random.key(0)
        )()

    return prepare


def nested_slice(problem: Problem, budget: int) -> Callable[[], Prepared]:
    """BlackJAX's nested slice sampling with as many live points as the budget pays."""

    def prepare() -> Prepared:
        method, few = nested.DEFAULT, 2 * problem.dimension + 10
        spent = method._runs(_PILOT, problem, few, budget).units.mean()
        live = max(few, round(few * budget / spent))
        most_values = 2 * budget / VALUE_UNITS
        return jax_program(
            lambda key: method.run(key, problem, live, most_values).state.integrator.logZ,
            jax.random.key(0),
        )()

    return prepare


def _work(name: str, budget: int) -> Work:
    problem = problems.make(name)
    return Work(
        f"log evidence, {name}, budget {budget}",
        {
            "tempered_ebm": log_evidence(problem, budget),
            "BlackJAX tempered SMC": tempered_smc(problem, budget),
            "BlackJAX nested slice sampling": nested_slice(problem, budget),
        },
    )


def works(quick: bool) -> list[Work]:
    """One estimate on problems of different kinds.

    Args:
        quick: one problem.
    """
    names = ("linear-gaussian-10", "logistic-regression", "mixture-5")
    return [_work(name, problems.BUDGETS[0]) for name in (names[:1] if quick else names)]
