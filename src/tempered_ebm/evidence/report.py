"""What a run on a ladder says about log p(x), and whether to believe it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import evidence
from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.evidence import _frozen_run as recorder
from tempered_ebm.evidence import _reliability_warnings as doubts
from tempered_ebm.types import Position

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_METHOD = "mbar"

_LARGE_WEIGHT = 10.0
_FEWEST_FOR_INTEGRATION = 3


class Cost(NamedTuple):
    """What an evidence run has spent.

    Attributes:
        gradient_evaluations: evaluations of the log prior and the log-likelihood with their
            gradients, one of each, summed over chains, temperatures and preparations; a Hessian
            in d dimensions counts as 2d.
        value_evaluations: evaluations without gradient, in addition.
        pilot_evaluations: gradients that the preparations took: exploration, fit and tuning.
        seconds: wall-clock time, compilation included.
    """

    gradient_evaluations: int
    value_evaluations: int
    pilot_evaluations: int
    seconds: float


@dataclass(frozen=True, eq=False)
class EvidenceReport:
    """An estimate of log p(x), every other estimate beside it, and what speaks against them.

    Attributes:
        method: name of the estimator that ``log_evidence`` is from.
        path: where the path to the posterior starts, "reference" or "prior".
        why: why it starts there.
        estimates: every estimator by name; ``estimates[method]`` is the default. Thermodynamic
            integration is not among them on fewer than three temperatures. Importance sampling
            uses the independent draws of the reference alone.
        temperatures: ladder, (K,).
        ensemble_log_evidence: the default estimator on each ensemble alone, (N,).
        swap_acceptance_rate: swaps between neighbours, (K-1,).
        round_trips: round trips of all replicas of all ensembles.
        pareto_k: shape of the weights' tail from each temperature to the next, (K-1,); beyond .7
            a mean of weights is not to be trusted. On the path from the prior the worse of the
            two directions; from a reference, whose own draws are most of all, that towards the
            posterior. Zero where no weight is ten times the mean: bounded weights have no tail.
        monotonicity_z: rise of the mean log-likelihood from each temperature to the next,
            in its standard errors, (K-1,); theory says never negative. On the path from a
            reference the log-likelihood is ``log p + ℓ - log r`` throughout.
        warnings: what is wrong and what to do, in words.
        stopped: why the run ended.
        cost: what it took.
        loglikelihoods: the draws that it is all from, (K, num_draws, N).
        posterior: positions at t = 1, at most 200 of every block of steps: a pytree like one
            position behind axes of ensembles and draws, (N, S, ...).
    """

    method: str
    path: str
    why: str
    estimates: dict[str, EvidenceEstimate]
    temperatures: Float[np.ndarray, "K"]
    ensemble_log_evidence: Float[np.ndarray, "N"]
    swap_acceptance_rate: Float[np.ndarray, "K-1"]
    round_trips: int
    pareto_k: Float[np.ndarray, "K-1"]
    monotonicity_z: Float[np.ndarray, "K-1"]
    warnings: tuple[str, ...]
    stopped: str
    cost: Cost
    loglikelihoods: Float[np.ndarray, "K num_draws N"] = field(repr=False)
    posterior: Position = field(repr=False)

    @property
    def estimate(self) -> EvidenceEstimate:
        """The default estimate."""
        return self.estimates[self.method]

    @property
    def log_evidence(self) -> float:
        """Evidence log p(x) in nats, by the default estimator."""
        return float(self.estimate.log_evidence)

    @property
    def standard_error(self) -> float:
        """Its Monte Carlo standard error in nats."""
        return float(self.estimate.standard_error)

    @property
    def between_ensembles_error(self) -> float:
        """Standard error from the spread of the ensembles alone; NaN for a single one."""
        values = self.ensemble_log_evidence
        return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan

    def __str__(self) -> str:
        best = self.estimate
        lines = [
            f"log p(x) = {self.log_evidence:.4f} ± {self.standard_error:.4f} nats ({self.method})",
            f"  path                 from the {self.path}: {self.why}",
            f"  bracket              [{best.lower_bound:.4f}, {best.upper_bound:.4f}]",
            f"  between ensembles    ± {self.between_ensembles_error:.4f} "
            f"({self.ensemble_log_evidence.size} ensembles)",
            *(
                f"  {name:20} {e.log_evidence:.4f} ± {e.standard_error:.4f}"
                for name, e in self.estimates.items()
                if name != self.method
            ),
            f"  ladder               {self.temperatures.size} temperatures, swaps "
            f"{self.swap_acceptance_rate.min():.2f} to {self.swap_acceptance_rate.max():.2f}, "
            f"{self.round_trips} round trips",
            f"  weights              Pareto k up to {self.pareto_k.max():.2f}; the mean rises by "
            f"at least {self.monotonicity_z.min():.1f} standard errors a rung",
            f"  cost                 {self.cost.gradient_evaluations:,} gradients "
            f"({self.cost.pilot_evaluations:,} in preparation) and "
            f"{self.cost.value_evaluations:,} values, {self.cost.seconds:.1f} s",
            f"  stopped              {self.stopped}",
        ]
        return "\n".join([*lines, *(f"WARNING: {warning}" for warning in self.warnings)])

    def plot(self) -> Figure:
        """Draw the integrand with error band, bracket and ladder, and every estimate."""
        from tempered_ebm import plotting

        return plotting.evidence(self)

    def to_arviz(self) -> Any:
        """Posterior draws, log-likelihoods along the ladder and the estimates, for ArviZ.

        Raises:
            ImportError: if ArviZ is not installed.
        """
        from tempered_ebm import arviz

        return arviz.from_evidence(self)


@jax.jit
def _all_estimates(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws N"],
    extra: Float[Array, "M"],
) -> dict[str, EvidenceEstimate]:
    found = {
        "mbar": evidence.mbar(temperatures, draws, prior_loglikelihoods=extra),
        "bar": evidence.bar(temperatures, draws),
        "stepping_stone": evidence.stepping_stone(temperatures, draws),
        "reverse_stepping": evidence.stepping_stone(temperatures, draws, direction="reverse"),
    }
    if extra.size:
        ends = jnp.array([0.0, 1.0], draws.dtype)
        found["importance_sampling"] = evidence.stepping_stone(ends, jnp.stack([extra, extra]))
    if temperatures.size >= _FEWEST_FOR_INTEGRATION:
        rules: tuple[evidence.Rule, ...] = ("corrected_trapezoid", "simpson", "trapezoid")
        for rule in rules:
            found[rule] = evidence.thermodynamic_integration(temperatures, draws, rule=rule)
    return found


@jax.jit
def _each_ensemble(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws N"],
    extra: Float[Array, "M"],
) -> Float[Array, "N"]:
    """MBAR on each ensemble with its share of the independent draws."""
    num = draws.shape[2]
    shares = extra[: extra.size // num * num].reshape(num, -1)

    def alone(one: tuple[Array, Array]) -> Array:
        return evidence.mbar(temperatures, one[0], prior_loglikelihoods=one[1]).log_evidence

    return jax.lax.map(alone, (jnp.moveaxis(draws, 2, 0), shares))


@jax.jit
def _tails(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws N"],
    extra: Float[Array, "M"],
) -> Float[Array, "K-1"]:
    from blackjax.diagnostics import psis_weights

    def shape(log_ratios: Array) -> Array:
        size = jnp.log(log_ratios.size) - jax.nn.logsumexp(log_ratios)
        has_tail = jnp.max(log_ratios) + size > math.log(_LARGE_WEIGHT)
        return jnp.where(has_tail, psis_weights(log_ratios)[1], 0.0)

    flat = draws.reshape(draws.shape[0], -1)
    steps = jnp.diff(temperatures)
    up = jax.vmap(shape)(steps[:, None] * flat[:-1])
    if extra.size:
        return up.at[0].set(shape(steps[0] * extra))
    return jnp.maximum(up, jax.vmap(shape)(-steps[:, None] * flat[1:]))


def build(
    outcome: recorder.Outcome,
    path: str,
    why: str,
    unravel: Callable[[Array], Position],
    started: float,
) -> EvidenceReport:
    """Estimate by every method, look for reasons to doubt, and write the report.

    Args:
        outcome: a recorded run.
        path: where its path starts.
        why: why it starts there.
        unravel: vectors to positions.
        started: when the whole job did, by ``time.perf_counter``.
    """
    temperatures, record = outcome.temperatures, outcome.record
    draws, extra = record.loglikelihoods, record.prior_loglikelihoods
    estimates = jax.device_get(_all_estimates(temperatures, draws, extra))
    report = EvidenceReport(
        method=DEFAULT_METHOD,
        path=path,
        why=why,
        estimates=estimates,
        temperatures=np.asarray(temperatures),
        ensemble_log_evidence=np.asarray(_each_ensemble(temperatures, draws, extra), np.float64),
        swap_acceptance_rate=np.asarray(record.swap_acceptance_rate),
        round_trips=int(jnp.sum(record.flow.round_trips)),
        pareto_k=np.asarray(_tails(temperatures, draws, extra)),
        monotonicity_z=_monotonicity(draws),
        warnings=(),
        stopped=record.stopped,
        cost=Cost(
            outcome.total.gradients,
            outcome.total.values,
            outcome.prepared.gradients,
            time.perf_counter() - started,
        ),
        loglikelihoods=np.asarray(draws),
        posterior=jax.tree.map(np.asarray, unravel(jnp.swapaxes(record.positions, 0, 1))),
    )
    return replace(report, warnings=doubts.doubts(report, draws))


def _monotonicity(draws: Float[Array, "K num_draws N"]) -> Float[np.ndarray, "K-1"]:
    """Rise of the mean from each temperature to the next, in its standard errors."""
    rise = np.diff(np.asarray(draws.mean(1), np.float64), axis=0)
    if draws.shape[2] > 1:
        error = rise.std(axis=1, ddof=1) / math.sqrt(draws.shape[2])
    else:
        error = np.asarray(jax.vmap(evidence.batch_means_standard_error)(jnp.diff(draws, axis=0)))
    return rise.mean(1) / np.maximum(error, 1e-12)
