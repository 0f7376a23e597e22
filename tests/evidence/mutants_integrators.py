"""Bugs in Simpson's rule, in quadrature, and in control variates."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tempered_ebm import schedules
from tempered_ebm.evidence import controlled, integration
from tests.evidence import checks_integrators as checks
from tests.mutants.registry import GAMMA, caught_by


@caught_by(checks.simpson_is_that_of_scipy)
def simpson_weights_swapped(patch):
    right = integration.simpson_weights
    patch.setattr(integration, "simpson_weights", lambda t: right(t)[::-1])


@caught_by(checks.simpson_is_that_of_scipy)
def a_last_interval_by_the_trapezoid(patch):
    patch.setattr(
        integration, "_last_interval", lambda a, b: jnp.stack([jnp.zeros_like(b), b / 2, b / 2])
    )


@caught_by(checks.simpson_is_that_of_scipy)
def simpson_weights_of_an_even_ladder(patch):
    right = integration.simpson_weights
    patch.setattr(
        integration, "simpson_weights", lambda t: right(jnp.linspace(0, 1, t.size, dtype=t.dtype))
    )


@caught_by(checks.simpson_is_that_of_scipy)
def a_correction_on_top_of_simpson(patch):
    right = integration.integrate

    def twice(temperatures, rule, mean, variance, *series):
        result = right(temperatures, rule, mean, variance, *series)
        return result._replace(log_evidence=result.log_evidence + result.discretization_error)

    patch.setattr(integration, "integrate", twice)


def rebuilt(patch, change):
    """Quadratures changed as they leave the schedule."""
    right = schedules.gauss_legendre

    def changed(temperatures, variances, K):
        return schedules.Quadrature(*change(*right(temperatures, variances, K), K))

    patch.setattr(schedules, "gauss_legendre", changed)


def legendre(K):
    x, w = np.polynomial.legendre.leggauss(K)
    return (x + 1) / 2, w / 2


@caught_by(checks.quadrature_integrates_whatever_the_pilot)
def weights_without_the_jacobian(patch):
    rebuilt(patch, lambda nodes, weights, K: (nodes, jnp.asarray(legendre(K)[1])))


@caught_by(checks.quadrature_ground_truth, GAMMA, 5)
def weights_without_the_jacobian_seen_in_the_estimate(patch):
    rebuilt(patch, lambda nodes, weights, K: (nodes, jnp.asarray(legendre(K)[1])))


@caught_by(checks.quadrature_integrates_whatever_the_pilot)
def nodes_that_ignore_the_map(patch):
    rebuilt(patch, lambda nodes, weights, K: (jnp.asarray(legendre(K)[0]), weights))


@caught_by(checks.quadrature_integrates_whatever_the_pilot)
def a_jacobian_of_the_pilot_and_not_of_the_map(patch):
    """Weights from the pilot's own speeds, interpolated, in the place of the map's derivative."""
    right = schedules.gauss_legendre

    def inconsistent(temperatures, variances, K):
        nodes, _ = right(temperatures, variances, K)
        weights = legendre(K)[1] / jnp.sqrt(jnp.interp(nodes, temperatures, variances))
        return schedules.Quadrature(nodes, weights / weights.sum())

    patch.setattr(schedules, "gauss_legendre", inconsistent)


@caught_by(checks.quadrature_follows_thermodynamic_length)
def a_map_of_the_inverse_length(patch):
    right = schedules._fit_log_slope
    patch.setattr(schedules, "_fit_log_slope", lambda t, speed: right(t, 1 / speed))


@caught_by(checks.a_constant_is_carried_through)
def weights_that_do_not_add_up(patch):
    rebuilt(patch, lambda nodes, weights, K: (nodes, weights * 1.0001))


def features_by(change):
    """Stein features after a change of what they are made of."""
    right = controlled.stein_features
    return lambda y, g, p: change(right, y, g, p)


@caught_by(checks.nothing_is_left_of_a_gaussian)
def control_variates_without_the_laplacian(patch):
    def change(right, y, g, p):
        d = y.shape[1]
        return right(y, g, p) - jnp.where((jnp.arange(p) >= d) & (jnp.arange(p) < 2 * d), 1.0, 0.0)

    patch.setattr(controlled, "stein_features", features_by(change))


@caught_by(checks.controlled_means_are_unbiased)
def control_variates_without_the_laplacian_on_a_skewed_path(patch):
    control_variates_without_the_laplacian(patch)


@caught_by(checks.nothing_is_left_of_a_gaussian)
def gradients_that_do_not_follow_the_coordinates(patch):
    right = controlled._whiten
    patch.setattr(controlled, "_whiten", lambda y, g, share: (right(y, g, share)[0], g))


@caught_by(checks.chains_are_controlled)
def the_gradient_of_the_likelihood(patch):
    patch.setattr(
        te.target,
        "tempered_logdensity",
        lambda state, t: (state.loglikelihood, state.loglikelihood_grad),
    )


@caught_by(checks.chains_are_controlled)
def the_gradient_of_the_posterior_on_all_rungs(patch):
    right = te.target.tempered_logdensity
    patch.setattr(te.target, "tempered_logdensity", lambda state, t: right(state, jnp.ones_like(t)))


@caught_by(checks.controlled_means_are_unbiased)
def coefficients_from_the_draws_they_control(patch):
    right = controlled._explained
    patch.setattr(
        controlled,
        "_explained",
        lambda values, y, g, training, sizes: right(values, y, g, training | True, sizes),
    )


@caught_by(checks.controlled_gamma_calibration)
def features_centred_on_the_draws(patch):
    """An intercept in what is subtracted takes the correction of the mean away."""
    right = controlled._explained

    def centred(values, y, g, training, sizes):
        fit = right(values, y, g, training, sizes)
        return fit - (fit @ training / training.sum())[:, None]

    patch.setattr(controlled, "_explained", centred)


@caught_by(checks.useless_gradients_change_nothing)
def control_variates_whatever_they_explain(patch):
    right = controlled._r_squared
    patch.setattr(controlled, "_r_squared", lambda *args: jnp.ones_like(right(*args)))


@caught_by(checks.a_bad_rung_falls_back_alone)
def draws_that_are_not_finite_replaced(patch):
    """Where they are bad they become numbers, and nobody hears of it."""
    right = controlled._control

    def control(values, y, g, *rest):
        return right(*(jnp.nan_to_num(x, posinf=0.0, neginf=0.0) for x in (values, y, g)), *rest)

    patch.setattr(controlled, "_control", control)


@caught_by(checks.controlled_gamma_calibration)
def the_error_of_raw_draws(patch):
    right = controlled._integrate

    def raw(temperatures, rule, draws, values):
        error = right(temperatures, rule, draws, draws).standard_error
        return right(temperatures, rule, draws, values)._replace(standard_error=error)

    patch.setattr(controlled, "_integrate", raw)


@caught_by(checks.calibration, "corrected_trapezoid", "across draws")
def autocorrelation_ignored_in_controlled_draws(patch):
    patch.setattr(
        integration,
        "batch_means_standard_error",
        lambda series: jnp.std(series, ddof=1) / jnp.sqrt(series.size),
    )


@caught_by(checks.calibration, "gauss_legendre", "across rungs")
def errors_of_nodes_summed_node_by_node(patch):
    def einsum(spec, weights, values):
        shifts = [jnp.roll(v, 11 * k, axis=0) for k, v in enumerate(values)]
        return jnp.einsum(spec, weights, jnp.stack(shifts))

    patch.setattr(integration, "jnp", SimpleNamespace(**vars(jnp) | {"einsum": einsum}))
