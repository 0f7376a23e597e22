"""Bugs in the Metropolis test."""

import math

import jax
import jax.numpy as jnp

from tempered_ebm import _chains as chains
from tempered_ebm.kernels import langevin
from tests.kernels import checks_kernels as checks
from tests.mutants.registry import GAMMA, caught_by


def decision(change):
    """Metropolis with ``change(key, log_ratio) -> is_accepted``."""

    def mutant(rng_key, log_ratio, proposal, state, noise):
        accepted = change(rng_key, log_ratio)
        rate = jnp.exp(jnp.minimum(log_ratio, 0.0))
        return chains.select(accepted, proposal, state), langevin.MetropolisInfo(rate, accepted)

    return mutant


@caught_by(checks.invariance, "mala", GAMMA, (0.3,))
def accept_too_often(patch):
    def almost_always(key, log_ratio):
        return jax.random.uniform(key, log_ratio.shape) < jnp.exp(0.1 * log_ratio)

    patch.setattr(langevin, "metropolis", decision(almost_always))


@caught_by(checks.mala_acceptance, "mala")
def always_accept(patch):
    patch.setattr(langevin, "metropolis", decision(lambda key, r: jnp.ones_like(r, bool)))


@caught_by(checks.mala_acceptance, "tempered_mala")
def accept_when_the_ratio_exceeds_one_half(patch):
    patch.setattr(langevin, "metropolis", decision(lambda key, r: r > math.log(0.5)))


@caught_by(checks.chains_are_independent, "mala")
def decisions_shared_across_chains(patch):
    patch.setattr(
        langevin, "metropolis", decision(lambda key, r: jnp.log(jax.random.uniform(key)) < r)
    )


def pure_metropolis(position, logdensity, grad, new_position, new_logdensity, *rest):
    return new_logdensity - logdensity


@caught_by(checks.invariance, "mala", GAMMA, (0.3,))
def no_proposal_asymmetry(patch):
    patch.setattr(langevin, "log_acceptance_ratio", pure_metropolis)


@caught_by(checks.mala_log_ratio, "tempered_mala")
def no_proposal_asymmetry_in_closed_form(patch):
    patch.setattr(langevin, "log_acceptance_ratio", pure_metropolis)


@caught_by(checks.mean_ratio)
def no_proposal_asymmetry_on_average(patch):
    patch.setattr(langevin, "log_acceptance_ratio", pure_metropolis)


@caught_by(checks.log_ratio_antisymmetry)
def gradient_of_one_end_alone(patch):
    def lopsided(position, logdensity, grad, new_position, new_logdensity, *rest):
        return new_logdensity - logdensity - (new_position - position) * grad

    patch.setattr(langevin, "log_acceptance_ratio", lopsided)


@caught_by(checks.mala_log_ratio, "mala")
def step_size_halved_in_the_ratio(patch):
    correct = langevin.log_acceptance_ratio
    patch.setattr(
        langevin, "log_acceptance_ratio", lambda *args: correct(*args[:6], 0.5 * args[6], *args[7:])
    )


@caught_by(checks.decisions_do_not_reuse_the_noise, "mala")
def accept_key_is_the_noise_key(patch):
    """A uniform from the noise's own bits, as one key for both would give."""
    keys, propose, metropolis = [], langevin.propose, langevin.metropolis

    def remember(rng_key, *args, **metric):
        keys.append(rng_key)
        return propose(rng_key, *args, **metric)

    patch.setattr(langevin, "propose", remember)
    patch.setattr(langevin, "metropolis", lambda key, *args: metropolis(keys[-1], *args))
