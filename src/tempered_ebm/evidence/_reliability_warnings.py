"""Reasons to doubt an evidence report, in words that name the cause and the remedy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tempered_ebm import evidence

if TYPE_CHECKING:
    from tempered_ebm.evidence.report import EvidenceReport

_FEW_ROUND_TRIPS = 10
_RARE_SWAPS = 0.1
_HEAVY_TAIL = 0.7
_FEW_DRAWS = 100


def doubts(report: EvidenceReport, draws: Array) -> tuple[str, ...]:
    """Everything that speaks against a report.

    Args:
        report: what was estimated.
        draws: log-likelihoods it was estimated from, (K, num_draws, N).
    """
    found = [
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
    return tuple(doubt for doubt in found if doubt is not None)


def _remedy(report: EvidenceReport) -> str:
    """What brings neighbouring distributions closer."""
    if report.path == "prior":
        return "raise num_temperatures"
    return "give more initial positions for a closer reference, or compare with path='prior'"


def _rungs(mask: np.ndarray) -> str:
    return ", ".join(str(k) for k in np.flatnonzero(mask))


def _not_finite(report: EvidenceReport) -> str | None:
    bad = ~np.isfinite(report.estimate.mean_loglikelihood)
    if not math.isfinite(report.log_evidence):
        return (
            f"the estimate is {report.log_evidence}: the log-likelihood is not finite on "
            f"temperature index {_rungs(bad)}; check it, or exclude where it is -inf by the prior"
        )
    if not math.isfinite(report.standard_error):
        return (
            f"the standard error is {report.standard_error}: the estimate of "
            f"{report.log_evidence:.4g} has no error bar and must not be used; raise "
            "num_samples, and check the log-likelihood for values beyond the range of its dtype"
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
            f"{_remedy(report)}"
        )
    return None


def _not_mixed(report: EvidenceReport, draws: Array) -> str | None:
    if report.round_trips < _FEW_ROUND_TRIPS:
        return (
            f"replicas made {report.round_trips} round trips in {draws.shape[1]} steps of "
            f"{draws.shape[2]} ensembles: what the posterior is drawn from depends on where the "
            f"chains began; raise num_samples, or {_remedy(report)}"
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
    if not np.isfinite(report.estimate.mean_loglikelihood).all():
        return None  # Reverse stones cannot see the mass that a zero likelihood takes away.
    forward, reverse = (report.estimates[name] for name in ("stepping_stone", "reverse_stepping"))
    gap = abs(float(reverse.log_evidence - forward.log_evidence))
    error = math.hypot(float(forward.standard_error), float(reverse.standard_error))
    if gap > max(5 * error, 0.5):
        return (
            f"forward and reverse stepping stones are {gap:.3g} nats apart, {gap / error:.1f} "
            f"standard errors: the truth lies between; {_remedy(report)}"
        )
    return None


def _heavy_tails(report: EvidenceReport) -> str | None:
    heavy = report.pareto_k > _HEAVY_TAIL
    if heavy.any():
        return (
            f"the weights from temperature index {_rungs(heavy)} to the next have a tail of "
            f"Pareto k {report.pareto_k.max():.2f} > {_HEAVY_TAIL}: a few draws decide there; "
            f"{_remedy(report)}"
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
    if report.path != "prior" or "corrected_trapezoid" not in report.estimates:
        return None
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
