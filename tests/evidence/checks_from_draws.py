"""Decisive checks of the evidence from draws that exist, all of one shape: they compile once."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tests import ground_truths as gt

SHAPE = (4, 400, 2)
"""Chains, draws, coordinates."""


def log_density(z: jax.Array) -> jax.Array:
    """Two modes a distance of 8 apart, with the shares .7 and .3; the integral is e^3."""
    first = -0.5 * jnp.sum(z**2)
    second = -0.5 * jnp.sum((z - 8.0 * jnp.array([1.0, 0.0])) ** 2)
    modes = jnp.array([math.log(0.7) + first, math.log(0.3) + second])
    return 3.0 - math.log(2 * math.pi) + jax.nn.logsumexp(modes)


def chains(seed: int, correlation: float = 0.0, shares: tuple = (0.3, 0.3, 0.3, 0.3)) -> np.ndarray:
    """Autoregressive chains of the normal of either mode, each with its share of the second."""
    rng = gt.rng(seed)
    z = np.empty(SHAPE)
    last = rng.standard_normal((SHAPE[0], SHAPE[2]))
    for i in range(SHAPE[1]):
        noise = rng.standard_normal(last.shape)
        last = correlation * last + math.sqrt(1 - correlation**2) * noise
        z[:, i] = last
    z[..., 0] += 8.0 * (rng.random(SHAPE[:2]) < np.array(shares)[:, None])
    return z


def evidence(seed: int, **how) -> te.EvidenceReport:
    return te.evidence_from_draws(log_density, chains(seed, **how), rng_key=gt.key(seed))


def said(report: te.EvidenceReport) -> str:
    return "\n".join(report.warnings)


def the_integral_is_found() -> None:
    report = evidence(1)
    assert abs(report.log_evidence - 3.0) < gt.z_threshold(1) * report.standard_error
    assert report.standard_error < 0.02
    assert report.warnings == ()


def errors_see_autocorrelation() -> None:
    """An autocorrelation of .9 leaves a nineteenth of the draws, as the reciprocal weights show."""
    errors = [
        float(evidence(2, correlation=c).estimates["reverse_stepping"].standard_error)
        for c in (0.0, 0.9)
    ]
    assert errors[1] > 1.5 * errors[0], errors


def halves_are_compared_with_each_other() -> None:
    """Even chains in one mode and odd ones in the other: neither reference knows the others."""
    report = evidence(3, shares=(0, 1, 0, 1))
    assert report.swap_acceptance_rate.max() < 0.05, report.swap_acceptance_rate
    assert "scarcely overlap" in said(report)


def chains_that_disagree_are_noticed() -> None:
    assert "the chains disagree" in said(evidence(4, shares=(0, 0, 0.6, 0.6)))


def few_effective_draws_are_noticed() -> None:
    assert "independent draws" in said(evidence(5, correlation=0.97))


def a_mode_without_chains_is_noticed() -> None:
    report = evidence(6, shares=(0, 0, 0, 0))
    assert report.log_evidence < 2.95
    assert "mass where no chain has been" in said(report)


def a_far_mode_is_noticed_among_draws_of_the_prior() -> None:
    """Forty standard deviations away, where nothing around the draws comes to."""

    def logprior(z: jax.Array) -> jax.Array:
        return jax.scipy.stats.norm.logpdf(z, 0.0, 30.0).sum()

    def loglikelihood(z: jax.Array) -> jax.Array:
        far = -0.5 * jnp.sum((z - 40.0) ** 2)
        return jnp.logaddexp(-0.5 * jnp.sum(z**2), far) - logprior(z)

    target = te.TemperedTarget(logprior, loglikelihood)
    z = chains(8, shares=(0, 0, 0, 0))
    prior_draws = 30.0 * gt.rng(8).standard_normal((50_000, 2))
    alone, together = (
        te.evidence_from_draws(target, z, prior_draws=given) for given in (None, prior_draws)
    )
    assert alone.warnings == ()
    assert "mass where no chain has been" in said(together)


def draws_without_density_are_refused() -> None:
    z = chains(7)
    z[2, 5, 1] = 5.0
    message = ""
    try:
        te.evidence_from_draws(lambda z: jnp.where(z[1] < 4.9, log_density(z), -jnp.inf), z)
    except te.InputError as error:
        message = str(error)
    assert "draw 5 of chain 2 and at 1 of 1600" in message


ALL = [
    the_integral_is_found,
    errors_see_autocorrelation,
    halves_are_compared_with_each_other,
    chains_that_disagree_are_noticed,
    few_effective_draws_are_noticed,
    a_mode_without_chains_is_noticed,
    a_far_mode_is_noticed_among_draws_of_the_prior,
    draws_without_density_are_refused,
]
