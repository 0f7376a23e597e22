"""The library itself: ``te.log_evidence`` with its defaults, given nothing but the budget."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from benchmarks.evidence import cost
from benchmarks.evidence.problem import Problem

_PRIOR_DRAWS = 256


@dataclass(frozen=True)
class LogEvidence:
    """``te.log_evidence(key, target, 256 prior draws, budget=...)``.

    Charged for everything: exploration, Hessians (2d gradients), the fit of the reference, tuning,
    chains, and the values of independent draws. A run fails where the library refuses.
    """

    name: str = "te.log_evidence"

    def _run(self, seed: int, problem: Problem, budget: float) -> te.EvidenceReport:
        start_key, run_key = jax.random.split(jax.random.key(seed))
        start = problem.sample_prior(start_key, _PRIOR_DRAWS).astype(jnp.float32)
        return te.log_evidence(run_key, problem.target, start, budget=int(budget))

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> cost.Result:
        """One run per seed; the library finds out itself how long it may be."""
        rows = []
        for seed in seeds:
            try:
                report = self._run(int(seed), problem, budget)
            except (te.InputError, te.DivergedError):
                rows.append((np.nan, 0, 0, np.nan, True))
                continue
            spent = report.cost
            rows.append(
                (
                    report.log_evidence,
                    spent.gradient_evaluations,
                    spent.value_evaluations,
                    report.standard_error,
                    bool(report.warnings),
                )
            )
        values, gradients, evaluations, errors, warned = np.array(rows, float).T
        return cost.gather(values, gradients, evaluations, errors)._replace(
            warned=warned.astype(bool)
        )


DEFAULT = LogEvidence()
