"""Errors with intervals, and the table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.evidence.cost import Result
from benchmarks.evidence.problem import Problem

_RESAMPLES = 4_000


def rmse_interval(errors: np.ndarray) -> tuple[float, float, float]:
    """Root-mean-square error with a 90 % bootstrap interval: low, value, high."""
    if len(errors) == 0:
        return math.nan, math.nan, math.nan
    index = np.random.default_rng(0).integers(0, len(errors), (_RESAMPLES, len(errors)))
    low, high = np.quantile(np.sqrt(np.mean(errors[index] ** 2, axis=1)), (0.05, 0.95))
    return float(low), float(np.sqrt(np.mean(errors**2))), float(high)


def _calibration(errors: np.ndarray, claimed: np.ndarray) -> float | None:
    """Root mean square of the errors in units of the errors that were claimed."""
    return float(np.sqrt(np.mean((errors / claimed) ** 2))) if len(errors) else None


def row(problem: Problem, method: str, budget: float, result: Result, seconds: float) -> dict:
    """One line of the table, and what it was computed from."""
    done = ~result.failed
    errors = result.log_evidence[done] - problem.log_evidence
    claimed = result.own_standard_error
    return {
        "problem": problem.name,
        "method": method,
        "budget": budget,
        "runs": len(result.failed),
        "failed": int(result.failed.sum()),
        "rmse": rmse_interval(errors),
        "bias": float(errors.mean()) if len(errors) else math.nan,
        "units": float(result.units.mean()),
        "own_standard_error": None
        if claimed is None or len(errors) == 0
        else float(np.sqrt(np.mean(claimed[done] ** 2))),
        "calibration": None if claimed is None else _calibration(errors, claimed[done]),
        "warned": None if result.warned is None else int(result.warned.sum()),
        "truth": problem.log_evidence,
        "truth_error": problem.truth_error,
        "truth_source": problem.truth_source,
        "estimates": [float(v) for v in result.log_evidence],
        "seconds": seconds,
    }


HEADER = (
    f"{'problem':22}{'method':34}{'budget':>8}  {'RMSE [90 %], nats':26}"
    f"{'bias':>9}{'own s.e.':>9}{'units':>9}{'failed':>8}"
)


def line(row: dict[str, Any]) -> str:
    """One line of the printed table."""
    low, rmse, high = row["rmse"]
    claimed = math.nan if row["own_standard_error"] is None else row["own_standard_error"]
    interval = f"{rmse:.3g} [{low:.2g}, {high:.2g}]"
    return (
        f"{row['problem']:22}{row['method']:34}{row['budget']:8.0f}  {interval:26}"
        f"{row['bias']:9.3f}{claimed:9.3f}{row['units']:9.0f}{row['failed']:>4}/{row['runs']}"
    )
