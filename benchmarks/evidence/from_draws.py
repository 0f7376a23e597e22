"""How exact ``te.evidence_from_draws`` is, and whether its errors are: four chains of NUTS.

``python -m benchmarks.evidence.from_draws`` prints a row a problem as it comes, and writes all of
them to ``benchmarks/results/from-draws-cpu.json``. Chains start at draws of the prior, 1,000 steps
of warm-up and 1,000 that count.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import jax
import numpy as np
from numpyro.infer import MCMC, NUTS

import tempered_ebm as te
from benchmarks.evidence.problem import Problem
from benchmarks.evidence.problems import MAKERS
from benchmarks.evidence.reliability import measure

_CHAINS, _STEPS, _PRIOR_DRAWS = 4, 1_000, 16_384


class Run(NamedTuple):
    """Evidence from one set of chains."""

    seed: int
    error: float
    standard_error: float
    values: int
    cpu_seconds: float
    warnings: tuple[str, ...]


def runs_of(problem: Problem, seeds: int) -> list[Run]:
    """Sample with all chains of all seeds side by side, and estimate for each seed."""

    def log_joint(z: jax.Array) -> jax.Array:
        return problem.target.logprior_fn(z) + problem.target.loglikelihood_fn(z)

    mcmc = MCMC(
        NUTS(potential_fn=lambda z: -log_joint(z)),
        num_warmup=_STEPS, num_samples=_STEPS, num_chains=seeds * _CHAINS,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    start_key, chain_key, run_key = jax.random.split(jax.random.key(0), 3)
    mcmc.run(chain_key, init_params=problem.sample_prior(start_key, seeds * _CHAINS))
    draws = np.asarray(mcmc.get_samples(group_by_chain=True))

    def run(seed: int, chains: np.ndarray) -> Run:
        began = time.process_time()
        key = jax.random.fold_in(run_key, seed)
        prior_draws = problem.sample_prior(key, _PRIOR_DRAWS)
        report = te.evidence_from_draws(
            problem.target, chains, prior_draws=prior_draws, rng_key=key
        )
        return Run(
            seed,
            report.log_evidence - problem.log_evidence,
            report.standard_error,
            report.cost.value_evaluations,
            time.process_time() - began,
            report.warnings,
        )

    return [run(seed, chains) for seed, chains in enumerate(np.split(draws, seeds))]


def row(name: str, runs: list[Run]) -> str:
    """Return a row of the table; calibration is by the runs without a warning."""
    trusted = np.array([(run.error, run.standard_error) for run in runs if not run.warnings])
    cells = [name, f"{len(runs) - len(trusted)} of {len(runs)}"]
    if len(trusted):
        errors, reported = trusted.T
        cells += [
            f"{errors.mean():+.4f}",
            f"{np.sqrt(np.mean(errors**2)):.4f}",
            f"{np.sqrt(np.mean(reported**2)):.4f}",
            f"{np.sqrt(np.mean((errors / reported) ** 2)):.2f}",
            f"{np.abs(errors / reported).max():.1f}",
        ]
    else:
        cells += [""] * 5
    cells.append(f"{np.median([run.cpu_seconds for run in runs]):.1f}")
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| problem | warned | mean error | RMSE | reported | RMS of error / reported | largest "
    "| CPU s |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Measure in float64."""
    jax.config.update("jax_enable_x64", True)
    measure("benchmarks.evidence.from_draws", __doc__, MAKERS, runs_of, row, HEADER, seeds=50)


if __name__ == "__main__":
    main()
