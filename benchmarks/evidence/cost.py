"""What an estimate says, and what it is charged for.

The unit is one value and gradient of the log-likelihood. A value alone is charged a third of a
unit. In reverse mode a value and gradient costs two to four times the value (Griewank and
Walther 2008, section 3.3), and close to two where matrix products dominate, as in regressions:
a third is on the side of the peers that need no gradient. Log priors are free. Everything a
method evaluates is charged: warm-up, the evaluation with which a move begins, evaluations that
its own implementation makes twice, and whatever it throws away. Only the search for the number
of particles, live points or steps that a budget pays is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.evidence.problem import Problem

VALUE_UNITS = 1 / 3
"""Cost of a value without its gradient."""

_PILOT_SEEDS = np.arange(2) + 1_000_000


class Result(NamedTuple):
    """Estimates of one method on one problem, an entry per seed.

    Attributes:
        log_evidence: the estimates, in nats; NaN where there is none.
        gradient_evaluations: evaluations of the log-likelihood with its gradient.
        likelihood_evaluations: evaluations of the log-likelihood alone.
        own_standard_error: the method's own idea of its error; None if it has none.
        failed: where there is no finite estimate, or the method could not run on the budget.
        warned: where the method itself doubts its estimate; None if it never says so.
    """

    log_evidence: np.ndarray
    gradient_evaluations: np.ndarray
    likelihood_evaluations: np.ndarray
    own_standard_error: np.ndarray | None
    failed: np.ndarray
    warned: np.ndarray | None = None

    @property
    def units(self) -> np.ndarray:
        """What each run is charged."""
        return self.gradient_evaluations + VALUE_UNITS * self.likelihood_evaluations


class Method(Protocol):
    """Anything that estimates an evidence within a budget."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> Result:
        """One independent estimate per seed, each spending about ``budget`` units."""


def gather(
    log_evidence: np.ndarray,
    gradient_evaluations: np.ndarray,
    likelihood_evaluations: np.ndarray,
    own_standard_error: np.ndarray | None = None,
    failed: np.ndarray | bool = False,
) -> Result:
    """Put results into float64 arrays, and call what is not finite a failure."""
    values = np.asarray(log_evidence, np.float64)
    failures = ~np.isfinite(values) | np.asarray(failed, bool)
    return Result(
        np.where(failures, np.nan, values),
        np.broadcast_to(np.asarray(gradient_evaluations, np.float64), values.shape),
        np.broadcast_to(np.asarray(likelihood_evaluations, np.float64), values.shape),
        None if own_standard_error is None else np.asarray(own_standard_error, np.float64),
        failures,
    )


def unaffordable(seeds: np.ndarray) -> Result:
    """A method that the budget does not pay for: nothing spent, every run failed."""
    nothing = np.zeros(len(seeds))
    return gather(nothing, nothing, nothing, failed=True)


def at_budget(
    runs: Callable[[np.ndarray, int], Result],
    seeds: np.ndarray,
    budget: float,
    smallest: int,
    start: int,
    pilots: int = 1,
) -> Result:
    """Run with as many particles, or live points, as the budget pays on average.

    Pilots, the first of them of ``start``, give the cost per particle. Where that of the run
    itself turns out a tenth away from the budget, it is repeated once with the size corrected.

    Args:
        runs: ``(seeds, size)`` to results.
        seeds: one per run; the pilot takes two others.
        budget: units.
        smallest: the least size that makes sense; what costs more than one and a half budgets
            even so counts as failed.
        start: size of the first pilot.
        pilots: pilots at most, where the cost per particle depends on their number.
    """
    size = max(start, smallest)
    for _ in range(pilots):
        units = runs(_PILOT_SEEDS, size).units.mean()
        if smallest * units / size > 1.5 * budget:
            return unaffordable(seeds)
        if abs(units / budget - 1) < 0.1:
            break
        size = max(smallest, int(size * budget / units))
    result = runs(seeds, size)
    if abs(result.units.mean() / budget - 1) < 0.1:
        return result
    return runs(seeds, max(smallest, int(size * budget / result.units.mean())))
