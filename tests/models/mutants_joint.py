"""Bugs that show where model and sampler meet."""

import jax.numpy as jnp

from tempered_ebm.kernels import langevin, replica_exchange, tempered
from tests.kernels.mutants_metropolis import pure_metropolis
from tests.kernels.mutants_tempering import tempering
from tests.models import checks_joint as checks
from tests.mutants.registry import caught_by


@caught_by(checks.geweke, "tempered_mala", num_rounds=4, num_steps=3, n=20_000)
def no_proposal_asymmetry_in_the_joint_law(patch):
    patch.setattr(langevin, "log_acceptance_ratio", pure_metropolis)


@caught_by(checks.geweke, "replica_exchange", num_rounds=2, num_steps=4, n=10_000)
def a_swap_ratio_of_the_wrong_sign_in_the_joint_law(patch):
    right = replica_exchange.log_swap_ratio
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: -right(t, ell))


@caught_by(checks.calibration, "tempered_mala", 5_000)
def a_posterior_at_half_the_temperature(patch):
    half = tempering(lambda t: 0.5 * t, lambda t: 0.5 * t)
    patch.setattr(tempered, "tempered_logdensity", half)


@caught_by(checks.calibration, "tempered_mala", 5_000)
def a_sampler_that_never_rejects_in_the_ranks(patch):
    patch.setattr(langevin, "log_acceptance_ratio", lambda *args: jnp.zeros_like(args[1]))
