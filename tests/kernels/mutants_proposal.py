"""Bugs in drift and noise."""

import jax
import jax.numpy as jnp

from tempered_ebm import _chains as chains
from tempered_ebm.kernels import _noise as sources
from tempered_ebm.kernels import langevin
from tests.kernels import checks_kernels as checks
from tests.mutants.registry import GAMMA, caught_by


def proposal(noise_scale=lambda h: jnp.sqrt(2 * h), drift_scale=lambda h: h):
    def propose(rng_key, position, drift, step_size, **metric):
        noise = sources.jax_random_noise.like(rng_key, position)

        def move(z, d, xi):
            h = chains.expand(step_size, z)
            return z + drift_scale(h) * d + noise_scale(h) * xi

        return jax.tree.map(move, position, drift, noise)

    return propose


@caught_by(checks.ula_proposal, "ula")
def noise_of_sqrt_h(patch):
    patch.setattr(langevin, "propose", proposal(noise_scale=jnp.sqrt))


@caught_by(checks.invariance, "mala", GAMMA, (0.3,))
def noise_of_sqrt_h_in_mala(patch):
    patch.setattr(langevin, "propose", proposal(noise_scale=jnp.sqrt))


@caught_by(checks.ula_stationarity, "tempered_ula")
def drift_of_the_wrong_sign(patch):
    patch.setattr(langevin, "propose", proposal(drift_scale=lambda h: -h))


@caught_by(checks.mala_acceptance, "mala")
def drift_of_the_wrong_sign_in_mala(patch):
    patch.setattr(langevin, "propose", proposal(drift_scale=lambda h: -h))


@caught_by(checks.ula_covariance, "ula")
def drift_without_the_step_size(patch):
    patch.setattr(langevin, "propose", proposal(drift_scale=jnp.ones_like))


@caught_by(checks.mala_acceptance, "tempered_mala")
def drift_of_half_the_step_size_in_mala(patch):
    patch.setattr(langevin, "propose", proposal(drift_scale=lambda h: h / 2))


@caught_by(checks.ula_proposal, "tempered_ula")
def noise_that_is_constant(patch):
    patch.setattr(sources.NoiseSource, "like", lambda self, key, like: jnp.ones_like(like))


@caught_by(checks.chains_are_independent, "tempered_mala")
def noise_shared_across_chains(patch):
    def shared(self, rng_key, like):
        return jnp.broadcast_to(jax.random.normal(rng_key, like.shape[1:], like.dtype), like.shape)

    patch.setattr(sources.NoiseSource, "like", shared)
