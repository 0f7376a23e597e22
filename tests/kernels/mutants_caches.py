"""Caches that are not those of the position."""

from tempered_ebm import target
from tempered_ebm.kernels import langevin, tempered, ula
from tests.kernels import checks_kernels as checks
from tests.mutants.registry import GAMMA, caught_by


def stale(*fields):
    """A rejected proposal leaves these fields behind."""
    correct = langevin.metropolis

    def mutant(rng_key, log_ratio, proposal, state, noise):
        new, info = correct(rng_key, log_ratio, proposal, state, noise)
        return new._replace(**{f: getattr(proposal, f) for f in fields}), info

    return mutant


@caught_by(checks.caches, "mala")
def stale_gradient_on_reject(patch):
    patch.setattr(langevin, "metropolis", stale("logdensity_grad"))


@caught_by(checks.invariance, "mala", GAMMA, (0.3,))
def stale_gradient_on_reject_seen_in_the_law(patch):
    patch.setattr(langevin, "metropolis", stale("logdensity_grad"))


@caught_by(checks.caches, "tempered_mala")
def stale_likelihood_gradient_on_reject(patch):
    patch.setattr(langevin, "metropolis", stale("loglikelihood_grad"))


@caught_by(checks.invariance, "tempered_mala", GAMMA, (0.3,))
def stale_loglikelihood_on_reject(patch):
    patch.setattr(langevin, "metropolis", stale("loglikelihood"))


@caught_by(checks.caches, "tempered_ula")
def evaluation_beside_the_position(patch):
    evaluate = target.TemperedTarget.evaluate
    patch.setattr(tempered.TemperedTarget, "evaluate", lambda self, z: evaluate(self, z - 1e-3))


@caught_by(checks.ula_covariance, "ula", num_steps=5)
def gradient_scaled_in_the_state_of_ula(patch):
    correct = ula.ULAState

    def scaled(position, logdensity, grad, *rest):
        return correct(position, logdensity, 0.9 * grad, *rest)

    patch.setattr(ula, "ULAState", scaled)
