"""What a run on a ladder says about log p(x), and whether to believe it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import diagnostics, evidence
from tempered_ebm.evidence import EvidenceEstimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_METHOD = "mbar"

_FEW_ROUND_TRIPS = 10
_RARE_SWAPS = 0.1
_HEAVY_TAIL = 0.7
_FEW_DRAWS = 100


class Cost(NamedTuple):
    """What an evidence run has spent.

    Attributes:
        gradient_evaluations: evaluations of the log prior and the log-likelihood with their
            gradients, one of each, summed over chains, temperatures and the pilot.
        pilot_evaluations: those of them that the pilot took.
        seconds: wall-clock time, compilation included.
    """

    gradient_evaluations: int
    pilot_evaluations: int
    seconds: float


@dataclass(frozen=True, eq=False)
class EvidenceReport:
    """An estimate of log p(x), every other estimate beside it, and what speaks against them.

    Attributes:
        method: name of the estimator that ``log_evidence`` is from.
        estimates: every estimator by name; ``estimates[method]`` is the default.
        temperatures: ladder, (K,).
        ensemble_log_evidence: the default estimator on each ensemble alone, (N,).
        swap_acceptance_rate: swaps between neighbours, (K-1,).
        round_trips: round trips of all replicas of all ensembles.
        pareto_k: shape of the weights' tail from each temperature to the next, the worse of
            the two directions, (K-1,); beyond .7 a mean of weights is not to be trusted.
        monotonicity_z: rise of the mean log-likelihood from each temperature to the next,
            in its standard errors, (K-1,); theory says never negative.
        warnings: what is wrong and what to do, in words.
        stopped: why the run ended.
        cost: what it took.
    """

    method: str
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
            f"  weights              Pareto k up to {self.pareto_k.max():.2f}",
            f"  cost                 {self.cost.gradient_evaluations:,} gradients "
            f"({self.cost.pilot_evaluations:,} in the pilot), {self.cost.seconds:.1f} s",
            f"  stopped              {self.stopped}",
        ]
        return "\n".join([*lines, *(f"WARNING: {warning}" for warning in self.warnings)])

    def plot(self) -> Figure:
        """Draw the integrand with its ladder."""
        from tempered_ebm import plotting

        title = f"log p(x) = {self.log_evidence:.3f} ± {self.standard_error:.3f}; the ladder in red"
        return plotting.integrand(self.temperatures, self.estimate, title=title)


@jax.jit
def _all_estimates(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_draws N"]
) -> dict[str, EvidenceEstimate]:
    return {
        "mbar": evidence.mbar(temperatures, draws),
        "bar": evidence.bar(temperatures, draws),
        "stepping_stone": evidence.stepping_stone(temperatures, draws),
        "reverse_stepping": evidence.stepping_stone(temperatures, draws, direction="reverse"),
        "corrected_trapezoid": evidence.thermodynamic_integration(temperatures, draws),
        "trapezoid": evidence.thermodynamic_integration(temperatures, draws, rule="trapezoid"),
    }


@jax.jit
def _each_ensemble(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_draws N"]
) -> Float[Array, "N"]:
    return jax.lax.map(
        lambda one: evidence.mbar(temperatures, one).log_evidence, jnp.moveaxis(draws, 2, 0)
    )


@jax.jit
def _tails(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_draws N"]
) -> Float[Array, "K-1"]:
    from blackjax.diagnostics import psis_weights

    flat = draws.reshape(draws.shape[0], -1)
    steps = jnp.diff(temperatures)[:, None]
    shape = jax.vmap(lambda log_ratios: psis_weights(log_ratios)[1])
    return jnp.maximum(shape(steps * flat[:-1]), shape(-steps * flat[1:]))


def build(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws N"],
    *,
    swap_acceptance_rate: Float[Array, "K-1"],
    flow: diagnostics.ReplicaFlow,
    stopped: str,
    cost: Cost,
) -> EvidenceReport:
    """Estimate by every method, look for reasons to doubt, and write the report.

    Args:
        temperatures: ladder, frozen while the draws were made.
        draws: full log-likelihoods, (K, num_draws, N), of N independent ensembles.
        swap_acceptance_rate: mean over the run.
        flow: journeys of the replicas.
        stopped: why the run ended.
        cost: what it took.
    """
    estimates = jax.device_get(_all_estimates(temperatures, draws))
    mean = draws.mean(1)
    rise = np.diff(np.asarray(mean, np.float64), axis=0)
    if draws.shape[2] > 1:
        error = rise.std(axis=1, ddof=1) / math.sqrt(draws.shape[2])
    else:
        pairs = jnp.diff(draws, axis=0)
        error = np.asarray(jax.vmap(evidence.batch_means_standard_error)(pairs))
    report = EvidenceReport(
        method=DEFAULT_METHOD,
        estimates=estimates,
        temperatures=np.asarray(temperatures),
        ensemble_log_evidence=np.asarray(_each_ensemble(temperatures, draws), np.float64),
        swap_acceptance_rate=np.asarray(swap_acceptance_rate),
        round_trips=int(jnp.sum(flow.round_trips)),
        pareto_k=np.asarray(_tails(temperatures, draws)),
        monotonicity_z=rise.mean(1) / np.maximum(error, 1e-12),
        warnings=(),
        stopped=stopped,
        cost=cost,
    )
    return _with_warnings(report, draws)


def _with_warnings(report: EvidenceReport, draws: Array) -> EvidenceReport:
    found = [w for w in _doubts(report, draws) if w is not None]
    values: dict[str, Any] = {**vars(report), "warnings": tuple(found)}
    return EvidenceReport(**values)


def _doubts(report: EvidenceReport, draws: Array) -> list[str | None]:
    return [
        _not_finite(report),
        _no_overlap(report),
        _not_mixed(report, draws),
        _ensembles_disagree(report),
        _directions_disagree(report),
        _heavy_tails(report),
        _not_monotone(report),
        _coarse_for_integration(report),
        _too_few(draws),
        _imprecise(report, draws),
    ]


def _rungs(mask: np.ndarray) -> str:
    return ", ".join(str(k) for k in np.flatnonzero(mask))


def _not_finite(report: EvidenceReport) -> str | None:
    bad = ~np.isfinite(report.estimate.mean_loglikelihood)
    if not math.isfinite(report.log_evidence):
        return (
            f"the estimate is {report.log_evidence}: the log-likelihood is not finite on "
            f"temperature index {_rungs(bad)}; check it, or exclude where it is -inf by the prior"
        )
    if bad.any():
        return (
            f"the mean log-likelihood at temperature index {_rungs(bad)} is not finite, so that "
            "thermodynamic integration has no value; only the reweighting estimates count"
        )
    return None


def _no_overlap(report: EvidenceReport) -> str | None:
    rare = report.swap_acceptance_rate < _RARE_SWAPS
    if rare.any():
        return (
            f"neighbours hardly swap from temperature index {_rungs(rare)} (rates down to "
            f"{report.swap_acceptance_rate.min():.3f}): their distributions scarcely overlap; "
            "raise num_temperatures"
        )
    return None


def _not_mixed(report: EvidenceReport, draws: Array) -> str | None:
    if report.round_trips < _FEW_ROUND_TRIPS:
        return (
            f"replicas made {report.round_trips} round trips in {draws.shape[1]} steps of "
            f"{draws.shape[2]} ensembles: what the posterior is drawn from depends on where the "
            "chains began; raise num_samples or num_temperatures"
        )
    return None


def _ensembles_disagree(report: EvidenceReport) -> str | None:
    between, within = report.between_ensembles_error, report.standard_error
    if between > 3 * within and report.ensemble_log_evidence.size >= 4:
        return (
            f"the ensembles disagree: their spread gives an error of {between:.3g} where their own "
            f"draws give {within:.3g}; they are in different modes, or the run is too short; "
            "start from draws of the prior and raise num_samples"
        )
    return None


def _directions_disagree(report: EvidenceReport) -> str | None:
    forward, reverse = (report.estimates[name] for name in ("stepping_stone", "reverse_stepping"))
    gap = abs(float(reverse.log_evidence - forward.log_evidence))
    error = math.hypot(float(forward.standard_error), float(reverse.standard_error))
    if gap > max(5 * error, 0.5):
        return (
            f"forward and reverse stepping stones are {gap:.3g} nats apart, {gap / error:.1f} "
            "standard errors: the truth lies between; raise num_temperatures"
        )
    return None


def _heavy_tails(report: EvidenceReport) -> str | None:
    heavy = report.pareto_k > _HEAVY_TAIL
    if heavy.any():
        return (
            f"the weights from temperature index {_rungs(heavy)} to the next have a tail of "
            f"Pareto k {report.pareto_k.max():.2f} > {_HEAVY_TAIL}: a few draws decide there; "
            "raise num_temperatures"
        )
    return None


def _not_monotone(report: EvidenceReport) -> str | None:
    falls = report.monotonicity_z < -4
    if falls.any():
        return (
            f"the mean log-likelihood falls after temperature index {_rungs(falls)}, which no path "
            "does: the chains have not reached their distributions; raise num_samples or the pilot"
        )
    return None


def _coarse_for_integration(report: EvidenceReport) -> str | None:
    best, trapezoid = report.estimate, report.estimates["corrected_trapezoid"]
    gap = abs(float(trapezoid.log_evidence - best.log_evidence))
    error = math.hypot(float(trapezoid.standard_error), float(best.standard_error))
    if math.isfinite(gap) and gap > max(5 * error, 0.1):
        return (
            f"thermodynamic integration is {gap:.3g} nats from the estimate: the ladder is too "
            "coarse for it; read the reweighting estimates, or raise num_temperatures"
        )
    return None


def _too_few(draws: Array) -> str | None:
    if draws.shape[1] * draws.shape[2] < _FEW_DRAWS:
        return (
            f"{draws.shape[1] * draws.shape[2]} draws per temperature are too few for an error "
            "bar; raise num_samples"
        )
    return None


def _imprecise(report: EvidenceReport, draws: Array) -> str | None:
    weights = np.asarray(evidence.trapezoid_weights(jnp.asarray(report.temperatures)))
    mean = np.nan_to_num(report.estimate.mean_loglikelihood, posinf=0, neginf=0)
    resolution = float(jnp.finfo(draws.dtype).eps * (weights @ np.abs(mean)))
    if resolution > 0.5 * report.standard_error:
        return (
            f"{draws.dtype} resolves the integral to about {resolution:.2g} nats, no better than "
            "the standard error; set jax.config.update('jax_enable_x64', True)"
        )
    return None
