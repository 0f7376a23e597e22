"""Bugs in the checks of an estimate of the evidence: each would let a wrong one pass in silence."""

import math

import jax.numpy as jnp
import numpy as np

from tempered_ebm.evidence import _coverage as coverage
from tempered_ebm.evidence import _heavy_tails as heavy_tails
from tempered_ebm.evidence import _prior_constant as prior_constant
from tests.evidence import checks_coverage
from tests.mutants.registry import caught_by

BRIDGE = coverage.bridge


@caught_by(checks_coverage.mass_that_no_draw_sees_is_counted)
def a_check_that_never_warns(patch):
    patch.setattr(coverage, "is_missing", lambda nats, error: False)


@caught_by(checks_coverage.nothing_is_missing_where_all_is_covered)
def a_check_that_always_warns(patch):
    patch.setattr(coverage, "is_missing", lambda nats, error: True)


@caught_by(checks_coverage.mass_that_no_draw_sees_is_counted)
def an_estimate_compared_with_itself(patch):
    """Importance sampling from the reference in the place of the bridge."""

    def wrong(draws, particles, ancestors):
        weights = np.exp(draws)
        return coverage.Estimate(
            math.log(weights.mean()), float(weights.std() / len(weights) ** 0.5)
        )

    patch.setattr(coverage, "bridge", wrong)


@caught_by(checks_coverage.errors_count_families)
def particles_as_if_independent(patch):
    patch.setattr(
        coverage,
        "bridge",
        lambda draws, values, ancestors: BRIDGE(draws, values, np.arange(len(values))),
    )


@caught_by(checks_coverage.places_without_any_reference_are_missing)
def particles_dropped_silently(patch):
    def wrong(draws, particles, ancestors):
        finite = np.isfinite(particles)
        return BRIDGE(draws, particles[finite], ancestors[finite])

    patch.setattr(coverage, "bridge", wrong)


@caught_by(checks_coverage.coordinates_keep_integrals)
def coordinates_without_a_jacobian(patch):
    patch.setattr(
        heavy_tails.Coordinates, "log_jacobian", lambda self, u: jnp.zeros(u.shape[:-1], u.dtype)
    )


@caught_by(checks_coverage.constants_of_priors_are_found)
def a_prior_measured_by_the_draws_it_was_fitted_to_alone(patch):
    """The mean of log p - log r over draws of the prior: no integral."""

    def wrong(draws, particles, ancestors):
        return coverage.Estimate(float(particles.mean()) + 0.5, 0.01)

    patch.setattr(prior_constant.coverage, "bridge", wrong)


@caught_by(checks_coverage.a_normalised_prior_is_left_alone)
def a_prior_measured_with_its_likelihood(patch):
    patch.setattr(prior_constant, "_zero", lambda z: z.sum(-1))


@caught_by(checks_coverage.few_draws_in_many_coordinates_say_nothing)
def a_constant_from_draws_that_do_not_overlap(patch):
    patch.setattr(prior_constant, "_LEAST_OVERLAP", -1.0)
