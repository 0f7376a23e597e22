"""Bugs in the estimators of the learning gradient, and in the analysis of their variance."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp

from tempered_ebm import learning
from tempered_ebm.learning import estimators, statistics
from tests.models import checks_models as checks
from tests.mutants.registry import caught_by


def with_objective(patch, name, change):
    """The named estimator with the arguments of its objective changed."""
    correct = getattr(learning, name)

    def mutant():
        estimator = correct()
        return estimator._replace(objective=lambda *a: estimator.objective(*change(*a)))

    patch.setattr(learning, name, mutant)


@caught_by(checks.covariance_gradient_is_that_of_the_integral)
def a_covariance_without_its_temperature(patch):
    """The generator's covariance at t = 1 on every rung."""
    weights = estimators.evidence.trapezoid_weights
    fake = SimpleNamespace(trapezoid_weights=lambda t: weights(t**3))
    patch.setattr(estimators, "evidence", fake)
    with_objective(patch, "covariance", lambda t, *a: (jnp.cbrt(t), *a))


@caught_by(checks.covariance_gradient_is_that_of_the_integral)
def a_covariance_that_frozen_draws_forget(patch):
    patch.setattr(learning, "covariance", lambda: learning.path("frozen_ti"))


@caught_by(checks.learning_gradient, "covariance", batch=60)
def a_covariance_with_the_factor_of_a_biased_variance(patch):
    """Deviations from the mean of two chains are half as large as they should be."""

    def halved(x):
        return x if x.ndim != 3 else x.mean(1, keepdims=True) + (x - x.mean(1, keepdims=True)) / 2

    fake = SimpleNamespace(lax=SimpleNamespace(stop_gradient=lambda x: halved(x)))
    patch.setattr(estimators, "jax", fake)


@caught_by(checks.covariance_gradient_is_that_of_the_integral)
def a_covariance_with_the_energy_for_its_negative(patch):
    with_objective(patch, "covariance", lambda t, ell, f, prior: (t, ell, -f, prior))


@caught_by(checks.pooled_gradient_is_exact_on_a_coarse_ladder)
def all_rungs_weigh_the_same(patch):
    patch.setattr(
        estimators, "posterior_weights", lambda t, ell: jnp.full_like(ell, 1 / ell[..., 0].size)
    )


@caught_by(checks.pooled_gradient_is_exact_on_a_coarse_ladder)
def weights_of_the_wrong_end(patch):
    correct = estimators.evidence.pooled_log_weights
    fake = SimpleNamespace(pooled_log_weights=lambda t, ell: correct(t, ell, 0))
    patch.setattr(estimators, "evidence", fake)


@caught_by(checks.covariance_gradient_is_that_of_the_integral)
def deviations_that_carry_a_gradient(patch):
    patch.setattr(jax.lax, "stop_gradient", lambda x: x)


@caught_by(checks.learning_gradient, "pooled", batch=30)
def weights_shared_by_all_observations(patch):
    correct = estimators.posterior_weights

    def shared(t, ell):
        return jnp.broadcast_to(correct(t, ell).mean(2, keepdims=True), ell.shape)

    patch.setattr(estimators, "posterior_weights", shared)


@caught_by(checks.gradient_statistics_are_unbiased)
def a_squared_bias_with_the_noise_left_in(patch):
    correct = statistics._squared_mean
    patch.setattr(statistics, "_squared_mean", lambda d: (jnp.sum(d.mean(0) ** 2), correct(d)[1]))


@caught_by(checks.gradient_statistics_are_unbiased)
def an_error_of_the_squared_bias_without_the_jackknife_factor(patch):
    correct = statistics._squared_mean

    def mutant(d):
        value, error = correct(d)
        return value, error / (d.shape[0] - 1)

    patch.setattr(statistics, "_squared_mean", mutant)


@caught_by(checks.gradient_statistics_are_unbiased)
def a_minibatch_variance_with_the_chains_left_in(patch):
    correct = statistics._statistics

    def mutant(g, reference):
        got = correct(g, reference)
        extra = got.mcmc_variance / g.shape[1]
        return got._replace(minibatch_variance=got.minibatch_variance + extra)

    patch.setattr(statistics, "_statistics", mutant)
