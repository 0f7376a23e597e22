"""Peers that run in Python, one likelihood at a time: dynesty and reddemcee.

Both are optional; where one is not installed the benchmark says so and goes on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import numpy as np

from benchmarks.evidence import cost
from benchmarks.evidence.problem import Problem

_LOWEST = -1e30
_MOST_BUDGETS = 2


class CountedLikelihood:
    """The log-likelihood as NumPy function that counts the points it is asked about."""

    def __init__(self, problem: Problem) -> None:
        self.count = 0
        self._fn = jax.jit(problem.target.loglikelihood_fn)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Values at ``(..., d)`` points; NaN counts as impossible."""
        self.count += z.size // z.shape[-1]
        values = np.asarray(self._fn(z.astype(np.float32)), np.float64)
        return np.maximum(np.nan_to_num(values, nan=_LOWEST, neginf=_LOWEST), _LOWEST)


def _one_by_one(run: Callable[[int], tuple], seeds: Iterable[int]) -> cost.Result:
    rows = []
    for seed in seeds:
        try:
            rows.append(run(int(seed)))
        except (RuntimeError, ValueError, FloatingPointError):
            rows.append((np.nan, np.nan, 0))
    values, errors, evaluations = np.array(rows, float).T
    return cost.gather(values, np.zeros(len(rows)), evaluations, errors)


@dataclass(frozen=True)
class Dynesty:
    """Nested sampling on the unit cube (Speagle 2020), with the library's defaults.

    Attributes:
        dynamic: half of the live points in a first pass, the rest in four batches placed for
            the evidence (``pfrac = 0``; Higson et al. 2019); else all in one pass.
    """

    dynamic: bool = False

    requires = "dynesty"

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"dynesty, {'dynamic' if self.dynamic else 'static'}"

    def _run(
        self, seed: int, problem: Problem, size: int, budget: float
    ) -> tuple[float, float, int]:
        import dynesty

        most_calls = int(_MOST_BUDGETS * budget / cost.VALUE_UNITS)

        loglikelihood = CountedLikelihood(problem)
        arguments = (
            lambda z: float(loglikelihood(z)),
            problem.prior_transform,
            problem.dimension,
        )
        rng = np.random.default_rng(seed)
        if self.dynamic:
            sampler = dynesty.DynamicNestedSampler(*arguments, rstate=rng)
            sampler.run_nested(
                nlive_init=max(size // 2, problem.dimension + 2),
                nlive_batch=max(size // 8, problem.dimension + 2),
                maxbatch=4,
                use_stop=False,
                wt_kwargs={"pfrac": 0.0},
                maxcall=most_calls,
                print_progress=False,
            )
        else:
            sampler = dynesty.NestedSampler(*arguments, nlive=size, rstate=rng)
            sampler.run_nested(maxcall=most_calls, print_progress=False)
        results = sampler.results
        value = results.logz[-1] if loglikelihood.count < most_calls else np.nan
        return value, results.logzerr[-1], loglikelihood.count

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> cost.Result:
        """One run per seed, with as many live points as the budget pays."""
        smallest = 2 * problem.dimension + 4
        return cost.at_budget(
            lambda some, size: _one_by_one(
                lambda seed: self._run(seed, problem, size, budget), some
            ),
            seeds,
            budget,
            smallest,
            4 * smallest,
            pilots=3,
        )


class _Batches:
    """What reddemcee takes for a pool: it evaluates a whole ensemble in one call."""

    def __init__(self, problem: Problem, loglikelihood: CountedLikelihood) -> None:
        self._logprior = jax.jit(problem.target.logprior_fn)
        self._loglikelihood = loglikelihood

    def map(self, fn: Callable, items: Iterable) -> list[tuple[float, float]]:
        """``(log p + β ℓ, ℓ)`` of every ``(position, β)``."""
        del fn
        positions, temperatures = (np.array(x) for x in zip(*items))
        logprior = np.nan_to_num(
            np.asarray(self._logprior(positions.astype(np.float32)), float), nan=_LOWEST
        )
        values = self._loglikelihood(positions)
        return list(zip(logprior + temperatures * values, values))


@dataclass(frozen=True)
class Reddemcee:
    """Adaptive parallel tempering of an affine-invariant ensemble (Peña and Jenkins 2025).

    A third of the steps adapts the ladder and is thrown away; the ladder is then frozen and the
    hybrid of stepping stones and thermodynamic integration estimates.

    Attributes:
        num_temperatures: rungs of the ladder.
    """

    num_temperatures: int = 10

    requires = "reddemcee"

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"reddemcee, {self.num_temperatures} temperatures"

    def _run(self, seed: int, problem: Problem, num_steps: int) -> tuple[float, float, int]:
        import reddemcee

        loglikelihood = CountedLikelihood(problem)
        num_walkers = self._num_walkers(problem)
        sampler = reddemcee.PTSampler(
            num_walkers,
            problem.dimension,
            lambda z: z,
            lambda z: z,
            ntemps=self.num_temperatures,
            pool=_Batches(problem, loglikelihood),
        )
        sampler._random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the library draws from the global generator too
        shape = (self.num_temperatures * num_walkers, problem.dimension)
        uniforms = np.random.default_rng(seed).random(shape)
        start = problem.prior_transform(uniforms).reshape(
            self.num_temperatures, num_walkers, problem.dimension
        )
        burn_in = max(1, num_steps // 3)
        state = sampler.run_mcmc(list(start), nsweeps=burn_in, nsteps=1)
        sampler.reset()
        sampler.select_adjustment("NONE")
        sampler.run_mcmc(state, nsweeps=num_steps - burn_in, nsteps=1)
        value, error = sampler.get_evidence_hybrid()
        return float(value), float(error), loglikelihood.count

    def _num_walkers(self, problem: Problem) -> int:
        return max(16, 2 * problem.dimension + 2)

    def estimate(self, seeds: np.ndarray, problem: Problem, budget: float) -> cost.Result:
        """One run per seed, with as many steps as the budget pays."""
        ensemble = self.num_temperatures * self._num_walkers(problem)
        num_steps = int(budget / (cost.VALUE_UNITS * ensemble)) - 1
        if num_steps < 30:
            return cost.unaffordable(seeds)
        return _one_by_one(lambda seed: self._run(seed, problem, num_steps), seeds)


def installed(method: cost.Method) -> bool:
    """Whether the package of a method can be imported."""
    package = getattr(method, "requires", None)
    return package is None or importlib.util.find_spec(package) is not None
