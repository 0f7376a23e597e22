"""Reports of evidence runs: every estimate, diagnostics, and reliability warnings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm.evidence import _frozen_run as recorder
from tempered_ebm.evidence import integration
from tempered_ebm.evidence._coverage import Estimate, is_missing
from tempered_ebm.evidence.integration import EvidenceEstimate, Rule
from tempered_ebm.evidence.reweighting import bar, mbar, stepping_stone
from tempered_ebm.types import Position

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_METHOD = "mbar"

_LARGE_WEIGHT = 10.0
_FEWEST_FOR_INTEGRATION = 3
_FEW_ROUND_TRIPS = 10
_RARE_SWAPS = 0.1
_HEAVY_TAIL, _INFINITE_MEAN = 0.7, 1.0
_FEW_DRAWS = 100


class Cost(NamedTuple):
    """Cost of an evidence run.

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


@dataclass(frozen=True, eq=False, repr=False)
class EvidenceReport:
    """An estimate of log p(x), every other estimate beside it, and reliability warnings.

    Attributes:
        method: name of the estimator that ``log_evidence`` is from.
        path: where the path to the posterior starts, "reference" or "prior"; "draws" where the
            draws were given, and references fitted to them are its start.
        why: why it starts there.
        estimates: every estimator by name; ``estimates[method]`` is the default. Thermodynamic
            integration is not among them on fewer than three temperatures. Importance sampling
            uses the independent draws of the reference alone, and has NaN for an integrand.
        temperatures: ladder, (K,).
        ensemble_log_evidence: the default estimator on each ensemble alone, (N,).
        swap_acceptance_rate: swaps between neighbours, (K-1,).
        round_trips: round trips of all replicas of all ensembles; none are made by given draws.
        pareto_k: shape of the weights' tail from each temperature to the next, (K-1,); beyond .7
            a mean of weights is not to be trusted. On the path from the prior the worse of the
            two directions; from a reference, whose own draws are most of all, that towards the
            posterior. Zero where no weight is ten times the mean: bounded weights have no tail.
        monotonicity_z: rise of the mean log-likelihood from each temperature to the next,
            in its standard errors, (K-1,); theory says never negative. On the path from a
            reference the log-likelihood is ``log p + ℓ - log r`` throughout.
        warnings: what makes the estimate unreliable, and the remedy, in words.
        stopped: why the run ended.
        cost: evaluations and seconds.
        loglikelihoods: the draws that it is all from, (K, num_draws, N).
        posterior: positions at t = 1, at most 200 of every block of steps: a pytree like one
            position behind axes of ensembles and draws, (N, S, ...).
        second_look: on the path from a reference, the log evidence by bridge sampling between the
            reference and an exploration that it was not fitted to: the mass of modes that the
            reference does not cover is in it.
        prior_constant: with ``normalize_prior``, the log integral of the prior as it was given,
            which has been subtracted; its error is in ``standard_error``.
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
    second_look: Estimate | None = None
    prior_constant: Estimate | None = None

    @property
    def estimate(self) -> EvidenceEstimate:
        """Return the estimate of the default method."""
        return self.estimates[self.method]

    @property
    def log_evidence(self) -> float:
        """Return log p(x) in nats, by the default estimator."""
        return float(self.estimate.log_evidence)

    @property
    def standard_error(self) -> float:
        """Return its Monte Carlo standard error in nats."""
        error = float(self.estimate.standard_error)
        return error if self.prior_constant is None else math.hypot(error, self.prior_constant[1])

    @property
    def between_ensembles_error(self) -> float:
        """Return the standard error from the spread of the ensembles; NaN for a single one."""
        values = self.ensemble_log_evidence
        return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan

    def __repr__(self) -> str:
        return (
            f"EvidenceReport(log_evidence={self.log_evidence:.4f}, "
            f"standard_error={self.standard_error:.4f}, path={self.path!r}, "
            f"{len(self.warnings)} warnings)"
        )

    def __str__(self) -> str:
        best = self.estimate
        beside = {"second exploration": self.second_look, "prior constant": self.prior_constant}
        lines = [
            f"log p(x) = {self.log_evidence:.4f} ± {self.standard_error:.4f} nats ({self.method})",
            f"  path from the {self.path:9}: {self.why}",
            f"  bracket              [{best.lower_bound:.4f}, {best.upper_bound:.4f}]",
            f"  between ensembles    ± {self.between_ensembles_error:.4f} "
            f"({self.ensemble_log_evidence.size} ensembles)",
            *(
                f"  {name:20} {e.log_evidence:.4f} ± {e.standard_error:.4f}"
                for name, e in self.estimates.items()
                if name != self.method
            ),
            *(
                f"  {name:20} {e.log_evidence:.4f} ± {e.standard_error:.4f}"
                for name, e in beside.items()
                if e is not None
            ),
            f"  ladder               {self.temperatures.size} temperatures, swaps "
            f"{self.swap_acceptance_rate.min():.2f} to {self.swap_acceptance_rate.max():.2f}"
            + (f", {self.round_trips} round trips" if self.path != "draws" else ""),
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
        """Return posterior draws, log-likelihoods and estimates as ArviZ's inference data.

        Raises:
            ImportError: if ArviZ is not installed.
        """
        from tempered_ebm import arviz

        return arviz.from_evidence(self)


@jax.jit
def _all_estimates(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_draws N"], extra: Float[Array, "M"]
) -> dict[str, EvidenceEstimate]:
    found = {
        "mbar": mbar(temperatures, draws, prior_loglikelihoods=extra),
        "bar": bar(temperatures, draws),
        "stepping_stone": stepping_stone(temperatures, draws),
        "reverse_stepping": stepping_stone(temperatures, draws, direction="reverse"),
    }
    if extra.size:
        ends = jnp.array([0.0, 1.0], draws.dtype)
        # Its other fields would need draws of the posterior.
        alone = stepping_stone(ends, jnp.stack([extra, extra]))
        rest = {name: jnp.nan * value for name, value in alone._asdict().items()}
        kept = {"log_evidence": alone.log_evidence, "standard_error": alone.standard_error}
        found["importance_sampling"] = EvidenceEstimate(**rest | kept)
    if temperatures.size >= _FEWEST_FOR_INTEGRATION:
        rules: tuple[Rule, ...] = ("corrected_trapezoid", "simpson", "trapezoid")
        for rule in rules:
            found[rule] = integration.thermodynamic_integration(temperatures, draws, rule=rule)
    return found


@jax.jit
def _each_ensemble(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_draws N"], extra: Float[Array, "M"]
) -> Float[Array, "N"]:
    """Return MBAR on each ensemble with its share of the independent draws."""
    num = draws.shape[2]
    shares = extra[: extra.size // num * num].reshape(num, -1)

    def alone(one: tuple[Array, Array]) -> Array:
        return mbar(temperatures, one[0], prior_loglikelihoods=one[1]).log_evidence

    return jax.lax.map(alone, (jnp.moveaxis(draws, 2, 0), shares))


@jax.jit
def _tails(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_draws N"], extra: Float[Array, "M"]
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
    record: recorder.Record,
    path: str,
    why: str,
    unravel: Callable[[Array], Position],
    started: float,
    second_look: Estimate | None = None,
) -> EvidenceReport:
    """Estimate by every method, collect warnings, and return the report.

    Args:
        record: a recorded run.
        path: where its path starts.
        why: why it starts there.
        unravel: vectors to positions.
        started: when the whole job did, by ``time.perf_counter``.
        second_look: the evidence by an exploration that the run does not depend on.
    """
    temperatures = record.temperatures
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
        second_look=second_look,
        warnings=(),
        stopped=record.stopped,
        cost=Cost(
            record.total.gradients,
            record.total.values,
            record.prepared.gradients,
            time.perf_counter() - started,
        ),
        loglikelihoods=np.asarray(draws),
        posterior=jax.tree.map(np.asarray, unravel(jnp.swapaxes(record.positions, 0, 1))),
    )
    return replace(report, warnings=tuple(_reliability_warnings(report, draws)))


def without_parameters(loglikelihood: float) -> EvidenceReport:
    """Return the report of a model without parameters: its log-likelihood, exactly."""
    pair = np.full(2, loglikelihood)
    values = (loglikelihood, 0.0, loglikelihood, loglikelihood, 0.0, pair, np.zeros(2))
    estimate = jax.device_get(EvidenceEstimate(*map(jnp.asarray, values)))
    return EvidenceReport(
        method=DEFAULT_METHOD,
        path="prior",
        why="the model has no parameters",
        estimates={DEFAULT_METHOD: estimate},
        temperatures=np.array([0.0, 1.0]),
        ensemble_log_evidence=pair[:1],
        swap_acceptance_rate=np.ones(1),
        round_trips=0,
        pareto_k=np.zeros(1),
        monotonicity_z=np.zeros(1),
        warnings=(),
        stopped="after the one value that there is",
        cost=Cost(0, 1, 0, 0.0),
        loglikelihoods=pair[:, None, None],
        posterior={},
    )


def _monotonicity(draws: Float[Array, "K num_draws N"]) -> Float[np.ndarray, "K-1"]:
    """Return the rise of the mean from each temperature to the next, in standard errors."""
    with np.errstate(invalid="ignore"):  # Infinite log-likelihoods have a warning of their own.
        rise = np.diff(np.asarray(draws.mean(1), np.float64), axis=0)
    if draws.shape[2] > 1:
        error = rise.std(axis=1, ddof=1) / math.sqrt(draws.shape[2])
    else:
        error = np.asarray(
            jax.vmap(integration.batch_means_standard_error)(jnp.diff(draws, axis=0))
        )
    return rise.mean(1) / np.maximum(error, 1e-12)


def _reliability_warnings(report: EvidenceReport, draws: Array) -> Iterator[str]:
    """Yield warnings that name what makes a report unreliable, and the remedy.

    Args:
        report: what was estimated.
        draws: log-likelihoods it was estimated from, (K, num_draws, N).
    """
    yield from _finiteness_warnings(report)
    yield from _mixing_warnings(report, draws)
    yield from _coverage_warnings(report)
    yield from _overlap_warnings(report)
    yield from _precision_warnings(report, draws)


def _remedy(report: EvidenceReport) -> str:
    """Return advice that brings neighbouring distributions closer."""
    return {
        "prior": "raise num_temperatures",
        "reference": "give more initial positions for a closer reference, or compare with "
        "path='prior'",
        "draws": "make more draws, or compare with tempered_ebm.log_evidence",
    }[report.path]


def _rungs(mask: np.ndarray) -> str:
    return ", ".join(str(k) for k in np.flatnonzero(mask))


def _gap(one: EvidenceEstimate, other: EvidenceEstimate) -> tuple[float, float]:
    """Return the distance between two estimates, and its standard error."""
    error = math.hypot(float(one.standard_error), float(other.standard_error))
    return abs(float(one.log_evidence - other.log_evidence)), error


def _finiteness_warnings(report: EvidenceReport) -> Iterator[str]:
    bad = ~np.isfinite(report.estimate.mean_loglikelihood)
    if not math.isfinite(report.log_evidence):
        yield (
            f"the estimate is {report.log_evidence}: the log-likelihood is not finite on "
            f"temperature index {_rungs(bad)}; check it, or exclude where it is -inf by the prior"
        )
    elif not math.isfinite(report.standard_error):
        yield (
            f"the standard error is {report.standard_error}: the estimate of "
            f"{report.log_evidence:.4g} has no error bar and must not be used; raise "
            "num_samples, and check the log-likelihood for values beyond the range of its dtype"
        )
    elif bad.any() and report.path == "prior":
        yield (
            f"the mean log-likelihood at temperature index {_rungs(bad)} is not finite, so that "
            "thermodynamic integration has no value; only the reweighting estimates count"
        )


def _mixing_warnings(report: EvidenceReport, draws: Array) -> Iterator[str]:
    rare = report.swap_acceptance_rate < _RARE_SWAPS
    if rare.any():
        yield (
            f"neighbours hardly swap from temperature index {_rungs(rare)} (rates down to "
            f"{report.swap_acceptance_rate.min():.3f}): their distributions scarcely overlap; "
            f"{_remedy(report)}"
        )
    if report.path != "draws" and report.round_trips < _FEW_ROUND_TRIPS:
        yield (
            f"replicas made {report.round_trips} round trips in {draws.shape[1]} steps of "
            f"{draws.shape[2]} ensembles: what the posterior is drawn from depends on where the "
            f"chains began; raise num_samples, or {_remedy(report)}"
        )
    between, within = report.between_ensembles_error, report.standard_error
    if between > 3 * within and report.ensemble_log_evidence.size >= 4:
        remedy = "start from draws of the prior and raise num_samples"
        yield (
            f"the ensembles disagree: their spread gives an error of {between:.3g} where their own "
            f"draws give {within:.3g}; they are in different modes, or the run is too short; "
            f"{_remedy(report) if report.path == 'draws' else remedy}"
        )


def _coverage_warnings(report: EvidenceReport) -> Iterator[str]:
    if report.second_look is None:
        return
    nats, error = report.second_look.excess(report.log_evidence, report.standard_error)
    if is_missing(nats, error):
        yield (
            f"modes that the reference does not cover: a second exploration found {nats:.2g} ± "
            f"{error:.1g} nats beyond this estimate; compare with path='prior', or give more "
            "initial positions"
        )


def _overlap_warnings(report: EvidenceReport) -> Iterator[str]:
    # Reverse stones cannot see the mass that a zero likelihood takes away.
    if np.isfinite(report.estimate.mean_loglikelihood).all():
        stones = (report.estimates[name] for name in ("reverse_stepping", "stepping_stone"))
        gap, error = _gap(*stones)
        if gap > max(5 * error, 0.5):
            yield (
                f"forward and reverse stepping stones are {gap:.3g} nats apart, {gap / error:.1f} "
                f"standard errors: the truth lies between; {_remedy(report)}"
            )
    # Bridging with draws of the posterior bounds the weights, but not what no chain has seen.
    heaviest = _INFINITE_MEAN if report.path == "draws" else _HEAVY_TAIL
    heavy = report.pareto_k > heaviest
    if heavy.any():
        yield (
            f"the weights from temperature index {_rungs(heavy)} to the next have a tail of "
            f"Pareto k {report.pareto_k.max():.2f} > {heaviest}: a few draws decide there; "
            f"{_remedy(report)}"
        )
    falls = report.monotonicity_z < -4
    if falls.any():
        yield (
            f"the mean log-likelihood falls after temperature index {_rungs(falls)}, which no path "
            "does: the chains have not reached their distributions; raise num_samples or the pilot"
        )


def _precision_warnings(report: EvidenceReport, draws: Array) -> Iterator[str]:
    if report.path == "prior" and "corrected_trapezoid" in report.estimates:
        gap, error = _gap(report.estimate, report.estimates["corrected_trapezoid"])
        if math.isfinite(gap) and gap > max(5 * error, 0.1):
            yield (
                f"thermodynamic integration is {gap:.3g} nats from the estimate: the ladder is too "
                "coarse for it; read the reweighting estimates, or raise num_temperatures"
            )
    num_draws = draws.shape[1] * draws.shape[2]
    if num_draws < _FEW_DRAWS:
        yield f"{num_draws} draws per temperature are too few for an error bar; raise num_samples"
    weights = np.asarray(integration.trapezoid_weights(jnp.asarray(report.temperatures)))
    # Medians: the mean of a heavy tail says nothing of the draws that decide.
    size = np.nan_to_num(np.abs(np.median(report.loglikelihoods, axis=(1, 2))), posinf=0)
    resolution = float(jnp.finfo(draws.dtype).eps * (weights @ size))
    if resolution > 0.5 * report.standard_error:
        yield (
            f"{draws.dtype} resolves the integral to about {resolution:.2g} nats, no better than "
            "the standard error; set jax.config.update('jax_enable_x64', True)"
        )
