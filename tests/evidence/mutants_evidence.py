"""Bugs in the estimate of the evidence and of its error."""

from types import SimpleNamespace

import jax.numpy as jnp

from tempered_ebm.evidence import integration
from tests.evidence import checks_evidence
from tests.mutants.registry import GAUSSIAN, caught_by


def shifted(temperatures):
    """Each interval is given to its lower rung."""
    return jnp.pad(jnp.diff(temperatures), (0, 1))


@caught_by(checks_evidence.rules_are_exact_sums)
def a_ladder_off_by_one(patch):
    patch.setattr(integration, "trapezoid_weights", shifted)


@caught_by(checks_evidence.ground_truth, GAUSSIAN, 30, "trapezoid", 0.03)
def a_ladder_off_by_one_seen_in_the_estimate(patch):
    patch.setattr(integration, "trapezoid_weights", shifted)


@caught_by(checks_evidence.ground_truth, GAUSSIAN, 10, "corrected_trapezoid", 0.08)
def a_correction_of_the_wrong_sign(patch):
    correct = integration._correction_weights
    patch.setattr(integration, "_correction_weights", lambda t: -correct(t))


@caught_by(checks_evidence.rules_are_exact_sums)
def a_correction_linear_in_the_step(patch):
    correct = integration._correction_weights
    patch.setattr(integration, "_correction_weights", lambda t: correct(jnp.sqrt(t)))


@caught_by(checks_evidence.calibration, "across rungs")
def errors_summed_rung_by_rung(patch):
    """Rungs are shifted against each other, so that errors add as if they were independent."""

    def einsum(spec, weights, values):
        if spec != "k,knc->nc":
            return jnp.einsum(spec, weights, values)
        shifts = [jnp.roll(v, 11 * k, axis=0) for k, v in enumerate(values)]
        return jnp.einsum(spec, weights, jnp.stack(shifts))

    patch.setattr(integration, "jnp", SimpleNamespace(**vars(jnp) | {"einsum": einsum}))


def naive_error(series):
    return jnp.std(series, ddof=1) / jnp.sqrt(series.size)


@caught_by(checks_evidence.calibration, "across draws")
def autocorrelation_ignored(patch):
    patch.setattr(integration, "batch_means_standard_error", naive_error)


@caught_by(checks_evidence.calibration, "chains")
def autocorrelation_ignored_in_every_chain(patch):
    patch.setattr(integration, "batch_means_standard_error", naive_error)
