"""Bugs in the likelihood, the EBM and its learning gradient."""

import math

import jax
import jax.numpy as jnp

from tempered_ebm.models import LatentEBM, likelihoods
from tests.models import checks_models
from tests.mutants.registry import caught_by


@caught_by(checks_models.gaussian_log_density)
def a_gaussian_without_its_constant(patch):
    def log_prob(self, x, output, *, event_ndim):
        return -0.5 * jnp.sum(((x - output) / self.sigma) ** 2, tuple(range(-event_ndim, 0)))

    patch.setattr(likelihoods.Gaussian, "log_prob", log_prob)


@caught_by(checks_models.gaussian_log_density)
def a_gaussian_of_variance_sigma(patch):
    correct = likelihoods.Gaussian.log_prob

    def log_prob(self, x, output, *, event_ndim):
        root = likelihoods.Gaussian(math.sqrt(self.sigma))
        return correct(root, x, output, event_ndim=event_ndim)

    patch.setattr(likelihoods.Gaussian, "log_prob", log_prob)


def flipped_objective(self, params, x, draws, estimator):
    z = draws.posterior.position
    return estimator.objective(
        draws.temperatures,
        self.loglikelihood(params, x, z),
        -self.negative_energy(params, z),
        -self.negative_energy(params, draws.prior.position),
    )


@caught_by(checks_models.ascent_raises_the_contrast)
def an_objective_with_the_energy_for_its_negative(patch):
    patch.setattr(LatentEBM, "objective", flipped_objective)


@caught_by(checks_models.prior_follows_the_sign_of_f)
def a_prior_with_the_energy_for_its_negative(patch):
    def logprior(self, params, z):
        return -self.negative_energy(params, z) - 0.5 * jnp.sum(z**2, -1)

    patch.setattr(LatentEBM, "logprior", logprior)


@caught_by(checks_models.prior_follows_the_sign_of_f)
def a_prior_without_its_reference_normal(patch):
    def logprior(self, params, z):
        return self.negative_energy(params, z) - 0.25 * jnp.sum(z**2, -1)

    patch.setattr(LatentEBM, "logprior", logprior)


@caught_by(checks_models.no_gradient_through_samples)
def a_gradient_leaking_through_samples(patch):
    patch.setattr(jax.lax, "stop_gradient", lambda x: x)


@caught_by(checks_models.posterior_gradient_is_exact)
def the_posterior_objective_reads_the_prior_rung(patch):
    correct = checks_models.te.learning.posterior

    def mutant():
        estimator = correct()
        return estimator._replace(
            objective=lambda t, ell, f, prior: estimator.objective(t, ell[::-1], f[::-1], prior)
        )

    patch.setattr(checks_models.te.learning, "posterior", mutant)


@caught_by(checks_models.posterior_chains)
def temperatures_reversed_in_the_posterior_chains(patch):
    correct = LatentEBM.posterior_kernel

    def mutant(self, params, x, temperatures):
        return correct(self, params, x, temperatures[::-1])

    patch.setattr(LatentEBM, "posterior_kernel", mutant)
