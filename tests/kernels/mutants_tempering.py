"""Bugs in the place of the temperature."""

import jax.numpy as jnp

from tempered_ebm import _chains as chains
from tempered_ebm import target
from tempered_ebm.kernels import tempered
from tests.kernels import checks_kernels as checks
from tests.mutants.registry import GAMMA, GAUSSIAN, caught_by


def tempering(value_temperature, grad_temperature):
    correct = target.tempered_logdensity

    def mutant(evaluation, t):
        value, _ = correct(evaluation, value_temperature(t))
        _, grad = correct(evaluation, grad_temperature(t))
        return value, grad

    return mutant


@caught_by(checks.mala_acceptance, "tempered_mala")
def no_temperature_in_the_drift_alone(patch):
    """A Metropolis kernel stays valid, and only its proposal's law tells."""
    patch.setattr(tempered, "tempered_logdensity", tempering(lambda t: t, jnp.ones_like))


@caught_by(checks.ula_proposal, "tempered_ula")
def no_temperature_in_the_drift_of_ula(patch):
    patch.setattr(tempered, "tempered_logdensity", tempering(lambda t: t, jnp.ones_like))


@caught_by(checks.invariance, "tempered_mala", GAMMA, (0.3,))
def no_temperature_in_the_ratio_alone(patch):
    patch.setattr(tempered, "tempered_logdensity", tempering(jnp.ones_like, lambda t: t))


@caught_by(checks.invariance, "tempered_mala", GAUSSIAN, (0.3,))
def temperature_on_the_prior(patch):
    def both(t, prior, likelihood):
        return chains.expand(t, likelihood) * (prior + likelihood)

    patch.setattr(target, "temper", both)


@caught_by(checks.invariance, "tempered_mala", GAMMA, (0.3,))
def temperature_squared(patch):
    correct = target.temper
    patch.setattr(target, "temper", lambda t, a, b: correct(jnp.square(t), a, b))


@caught_by(checks.prior_temperature_ignores_the_likelihood, "tempered_mala")
def zero_times_infinity_unguarded(patch):
    def unguarded(t, prior, likelihood):
        return prior + chains.expand(t, likelihood) * likelihood

    patch.setattr(target, "temper", unguarded)


@caught_by(checks.prior_temperature_ignores_the_likelihood, "tempered_ula")
def zero_times_infinity_unguarded_in_ula(patch):
    def unguarded(t, prior, likelihood):
        return prior + chains.expand(t, likelihood) * likelihood

    patch.setattr(target, "temper", unguarded)
