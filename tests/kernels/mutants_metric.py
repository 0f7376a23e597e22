"""Bugs in the place of the metric."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp

from tempered_ebm import _chains as chains
from tempered_ebm.kernels import langevin, mala, replica_exchange, tempered, ula
from tests.kernels import checks_metric as checks
from tests.mutants.registry import GAMMA, GAUSSIAN, caught_by


def noise_without_metric(patch):
    right = langevin.propose

    def propose(*args, inverse_mass_matrix=None, **rest):
        return right(*args, **rest)

    patch.setattr(langevin, "propose", propose)


@caught_by(checks.proposal, "ula")
def no_metric_in_the_noise_of_ula(patch):
    noise_without_metric(patch)


@caught_by(checks.invariance, "mala", GAMMA, (0.3,))
def no_metric_in_the_noise(patch):
    noise_without_metric(patch)


def without_scaling(patch, module):
    patch.setattr(
        module, "chains", SimpleNamespace(**vars(chains) | {"scale": lambda metric, tree: tree})
    )


@caught_by(checks.invariance, "mala", GAMMA, (0.3,))
def no_metric_in_the_drift(patch):
    without_scaling(patch, mala)


@caught_by(checks.invariance, "tempered_mala", GAUSSIAN, (0.3,))
def no_metric_in_the_tempered_drift(patch):
    without_scaling(patch, tempered)


@caught_by(checks.ula_covariance, "ula")
def no_metric_in_the_drift_of_ula(patch):
    without_scaling(patch, ula)


def ratio_without_metric(patch):
    right = langevin.log_acceptance_ratio
    patch.setattr(langevin, "log_acceptance_ratio", lambda *args: right(*args[:7]))


@caught_by(checks.invariance, "tempered_mala", GAUSSIAN, (0.3,))
def no_metric_in_the_ratio(patch):
    ratio_without_metric(patch)


@caught_by(checks.acceptance, "mala")
def no_metric_in_the_ratio_seen_in_the_acceptance(patch):
    ratio_without_metric(patch)


def squared_metric(patch):
    right = chains.as_metric

    def squared(*args):
        return jax.tree.map(jnp.square, right(*args))

    patch.setattr(chains, "as_metric", squared)


@caught_by(checks.equal_to_rescaled_coordinates, "mala")
def metric_squared(patch):
    """Valid for its own metric, and so invisible to invariance."""
    squared_metric(patch)


@caught_by(checks.acceptance, "tempered_mala")
def metric_squared_seen_in_the_acceptance(patch):
    squared_metric(patch)


@caught_by(checks.proposal, "tempered_ula")
def metric_in_the_noise_without_its_root(patch):
    right = langevin.propose

    def propose(*args, inverse_mass_matrix=None, **rest):
        squared = jax.tree.map(jnp.square, inverse_mass_matrix)
        return right(*args, inverse_mass_matrix=squared, **rest)

    patch.setattr(langevin, "propose", propose)


@caught_by(checks.every_rung_has_its_own)
def the_metric_of_the_first_rung_on_all(patch):
    right = replica_exchange._rung_by_rung

    def first(parameters, num_rungs):
        return right(jax.tree.map(lambda leaf: leaf[:1], parameters), num_rungs)

    patch.setattr(replica_exchange, "_rung_by_rung", first)


@caught_by(checks.equal_to_rescaled_coordinates, "replica_exchange")
def a_metric_that_replica_exchange_forgets(patch):
    right = replica_exchange._rung_by_rung

    def forget(parameters, num_rungs):
        return right({"step_size": parameters["step_size"]}, num_rungs)

    patch.setattr(replica_exchange, "_rung_by_rung", forget)
