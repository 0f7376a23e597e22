"""Bugs in the lower bound of the variational autoencoder."""

import jax
import jax.numpy as jnp

from tempered_ebm.models import VAE, vae
from tests.models import checks_vae
from tests.mutants.registry import caught_by


@caught_by(checks_vae.lower_bound_has_its_closed_form)
def a_divergence_without_its_half(patch):
    correct = VAE.evidence_terms

    def evidence_terms(self, rng_key, params, x):
        loglikelihood, kl = correct(self, rng_key, params, x)
        return loglikelihood, 2 * kl

    patch.setattr(VAE, "evidence_terms", evidence_terms)


@caught_by(checks_vae.lower_bound_is_tight_at_the_posterior)
def a_log_deviation_read_as_a_log_variance(patch):
    def draw(rng_key, mean, log_sd):
        return mean + jnp.exp(0.5 * log_sd) * jax.random.normal(rng_key, mean.shape)

    patch.setattr(vae, "_draw", draw)


@caught_by(checks_vae.posterior_draws_have_the_encoded_law)
def a_draw_that_is_the_mean(patch):
    patch.setattr(vae, "_draw", lambda rng_key, mean, log_sd: mean)
