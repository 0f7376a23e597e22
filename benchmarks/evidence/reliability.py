"""How often ``te.log_evidence`` is wrong, and whether it says so: default calls on hard problems.

``python -m benchmarks.evidence.reliability`` prints a row a problem as it comes, and writes all
of them to ``benchmarks/results/reliability-cpu.json``. A run misses when off by more than five
of its reported errors and .1 nats; a miss without a warning is silent.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import tempered_ebm as te
from benchmarks.evidence.reliability_problems import MAKERS, Problem
from benchmarks.timing import environment

_RESULTS = Path(__file__).resolve().parents[1] / "results"
_PRIOR_DRAWS = 256
LARGEST_Z, LARGEST_ERROR = 5.0, 0.1


class Run(NamedTuple):
    """One default call."""

    seed: int
    error: float
    standard_error: float
    path: str
    evaluations: int
    cpu_seconds: float
    warnings: tuple[str, ...]

    @property
    def misses(self) -> bool:
        """Return whether the estimate is wrong; one that is not a number is."""
        z = abs(self.error) / self.standard_error
        return not (z <= LARGEST_Z or abs(self.error) <= LARGEST_ERROR)


def run(problem: Problem, seed: int) -> Run:
    """Return a default call in float64 on 256 draws from the prior."""
    with jax.enable_x64(True):
        start_key, run_key = jax.random.split(jax.random.key(seed))
        start = problem.sample_prior(start_key, _PRIOR_DRAWS)
        began = time.process_time()
        report = te.log_evidence(run_key, problem.target, start)
    return Run(
        seed,
        report.log_evidence - problem.log_evidence,
        report.standard_error,
        report.path,
        report.cost.gradient_evaluations + report.cost.value_evaluations // 3,
        time.process_time() - began,
        report.warnings,
    )


def row(name: str, runs: list[Run]) -> str:
    """Return a row of the table."""
    errors = np.array([run.error for run in runs])
    silent = sum(run.misses and not run.warnings for run in runs)
    missed = sum(run.misses and bool(run.warnings) for run in runs)
    warned = sum(not run.misses and bool(run.warnings) for run in runs)
    prior = sum(run.path == "prior" for run in runs)
    cells = (
        name,
        f"{np.sqrt(np.mean(errors**2)):.4f}",
        f"{np.median([run.standard_error for run in runs]):.4f}",
        f"{silent}",
        f"{missed}",
        f"{warned}",
        f"{prior}",
        f"{np.median([run.evaluations for run in runs]):,.0f}",
        f"{np.median([run.cpu_seconds for run in runs]):.1f}",
    )
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| problem | RMSE | reported | silent misses | warned misses | warned, right | from the prior "
    "| evaluations | CPU s |\n|---|---|---|---|---|---|---|---|---|"
)


def measure(
    prog: str,
    doc: str | None,
    makers: Mapping[str, Callable[[], Any]],
    runs_of: Callable[[Any, int], list],
    row: Callable[[str, list], str],
    header: str,
    seeds: int,
) -> None:
    """Measure the problems that the command line names, and write them down row by row.

    Args:
        prog: module of the benchmark.
        doc: what its help says.
        makers: problems by name.
        runs_of: ``(problem, seeds)`` to the runs of a problem, as named tuples.
        row: ``(name, runs)`` to a row of the table.
        header: its header.
        seeds: seeds by default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=doc)
    parser.add_argument("--problems", nargs="*", default=list(makers), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=seeds)
    name = prog.rsplit(".", 1)[-1].replace("_", "-")
    parser.add_argument("--output", type=Path, default=_RESULTS / f"{name}-cpu.json")
    arguments = parser.parse_args()
    print(header)
    results: dict = {}
    for name in arguments.problems:
        runs = runs_of(makers[name](), arguments.seeds)
        results[name] = [one._asdict() for one in runs]
        print(row(name, runs), flush=True)
        text = json.dumps({"environment": environment(), "runs": results}, indent=1)
        arguments.output.write_text(text + "\n")
        jax.clear_caches()


def main() -> None:
    """Measure default calls."""

    def runs_of(problem: Problem, seeds: int) -> list[Run]:
        return [run(problem, seed) for seed in range(seeds)]

    measure("benchmarks.evidence.reliability", __doc__, MAKERS, runs_of, row, HEADER, seeds=10)


if __name__ == "__main__":
    main()
