"""Planted bugs: each one is patched in alone, and a named check must fail.

The checks are those that the other tests call. They build and compile their kernels
afresh, so no trace of the unpatched code survives into a mutant.
"""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from tempered_ebm import chains, evidence, likelihoods, target
from tempered_ebm.kernels import langevin, replica_exchange, tempered, ula
from tempered_ebm.models import LatentEBM
from tests import checks_evidence, checks_models
from tests import checks_kernels as checks
from tests import checks_replica_exchange as exchange_checks
from tests import ground_truths as gt

MUTANTS = {}

GAMMA, GAUSSIAN = gt.SKEWED_GAMMA, gt.LINEAR_GAUSSIAN


def caught_by(check, *args, **kwargs):
    """Register a mutant, a function of monkeypatch, under the check that must fail."""

    def register(plant):
        MUTANTS[plant.__name__] = (plant, lambda: check(*args, **kwargs))
        return plant

    return register


# --------------------------------------------------------------------- the proposal


def proposal(noise_scale=lambda h: jnp.sqrt(2 * h), drift_scale=lambda h: h):
    def propose(rng_key, position, drift, step_size, **metric):
        noise = chains.gaussian_noise(rng_key, position)

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
    patch.setattr(chains, "gaussian_noise", lambda key, like: jnp.ones_like(like))


@caught_by(checks.chains_are_independent, "tempered_mala")
def noise_shared_across_chains(patch):
    def shared(rng_key, like):
        return jnp.broadcast_to(jax.random.normal(rng_key, like.shape[1:], like.dtype), like.shape)

    patch.setattr(chains, "gaussian_noise", shared)


# ------------------------------------------------------------- where t multiplies


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


# ------------------------------------------------------------- the Metropolis test


def decision(change):
    """Metropolis with ``change(key, log_ratio) -> is_accepted``."""

    def mutant(rng_key, log_ratio, proposal, state):
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


# ----------------------------------------------------------------------- the caches


def stale(*fields):
    """A rejected proposal leaves these fields behind."""
    correct = langevin.metropolis

    def mutant(rng_key, log_ratio, proposal, state):
        new, info = correct(rng_key, log_ratio, proposal, state)
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


# --------------------------------------------------------------------- the evidence


def shifted(temperatures):
    """Each interval is given to its lower rung."""
    return jnp.pad(jnp.diff(temperatures), (0, 1))


@caught_by(checks_evidence.rules_are_exact_sums)
def a_ladder_off_by_one(patch):
    patch.setattr(evidence, "trapezoid_weights", shifted)


@caught_by(checks_evidence.ground_truth, GAUSSIAN, 30, "trapezoid", 0.03)
def a_ladder_off_by_one_seen_in_the_estimate(patch):
    patch.setattr(evidence, "trapezoid_weights", shifted)


@caught_by(checks_evidence.ground_truth, GAUSSIAN, 10, "corrected_trapezoid", 0.08)
def a_correction_of_the_wrong_sign(patch):
    correct = evidence._correction_weights
    patch.setattr(evidence, "_correction_weights", lambda t: -correct(t))


@caught_by(checks_evidence.rules_are_exact_sums)
def a_correction_linear_in_the_step(patch):
    correct = evidence._correction_weights
    patch.setattr(evidence, "_correction_weights", lambda t: correct(jnp.sqrt(t)))


@caught_by(checks_evidence.calibration, "across rungs")
def errors_summed_rung_by_rung(patch):
    """Rungs are shifted against each other, so that errors add as if they were independent."""

    def einsum(spec, weights, values):
        if spec != "k,knc->nc":
            return jnp.einsum(spec, weights, values)
        shifts = [jnp.roll(v, 11 * k, axis=0) for k, v in enumerate(values)]
        return jnp.einsum(spec, weights, jnp.stack(shifts))

    patch.setattr(evidence, "jnp", SimpleNamespace(**vars(jnp) | {"einsum": einsum}))


def naive_error(series):
    return jnp.std(series, ddof=1) / jnp.sqrt(series.size)


@caught_by(checks_evidence.calibration, "across draws")
def autocorrelation_ignored(patch):
    patch.setattr(evidence, "batch_means_standard_error", naive_error)


@caught_by(checks_evidence.calibration, "chains")
def autocorrelation_ignored_in_every_chain(patch):
    patch.setattr(evidence, "batch_means_standard_error", naive_error)


# --------------------------------------------------------------- likelihood and EBM


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


# --------------------------------------------------------------- replica exchange


@caught_by(exchange_checks.every_rung_keeps_its_law, GAUSSIAN, 4)
def a_swap_ratio_of_the_wrong_sign(patch):
    right = replica_exchange.log_swap_ratio
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: -right(t, ell))


@caught_by(exchange_checks.swaps_happen_as_often_as_they_should, GAUSSIAN, 4)
def swaps_always_accepted(patch):
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: jnp.zeros_like(ell[1:]))


@caught_by(exchange_checks.every_rung_keeps_its_law, GAMMA, 4)
def a_swap_ratio_without_the_temperature_gap(patch):
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: ell[:-1] - ell[1:])


@caught_by(exchange_checks.every_rung_keeps_its_law, GAUSSIAN, 5)
def a_swap_ratio_from_the_next_gap(patch):
    right = replica_exchange.log_swap_ratio
    patch.setattr(
        replica_exchange,
        "log_swap_ratio",
        lambda t, ell: right(jnp.roll(t, -1).at[-1].set(1.5), ell),
    )


def one_sided(is_swapped):
    moves = is_swapped.astype(jnp.int32)
    up = jnp.concatenate([moves, jnp.zeros_like(moves[:1])])
    return jnp.arange(up.shape[0]).reshape(-1, *(1,) * (up.ndim - 1)) + up


@caught_by(exchange_checks.replicas_are_permuted_and_both_parities_swap, GAUSSIAN, 5)
def a_one_sided_copy(patch):
    patch.setattr(replica_exchange, "swap_permutation", one_sided)


@caught_by(exchange_checks.every_rung_keeps_its_law, GAUSSIAN, 4)
def a_one_sided_copy_spoils_the_law(patch):
    patch.setattr(replica_exchange, "swap_permutation", one_sided)


def keep_unswapped(*names):
    permute = replica_exchange._permute

    def mutant(permutation, tree):
        local, replica = tree
        moved, replica = permute(permutation, (local, replica))
        return moved._replace(**{name: getattr(local, name) for name in names}), replica

    return mutant


@caught_by(exchange_checks.caches_follow_their_positions, GAUSSIAN, 4)
def a_loglikelihood_left_behind_by_a_swap(patch):
    patch.setattr(replica_exchange, "_permute", keep_unswapped("loglikelihood"))


@caught_by(exchange_checks.caches_follow_their_positions, GAUSSIAN, 5)
def gradients_left_behind_by_a_swap(patch):
    patch.setattr(
        replica_exchange, "_permute", keep_unswapped("logprior_grad", "loglikelihood_grad")
    )


@caught_by(exchange_checks.replicas_are_permuted_and_both_parities_swap, GAUSSIAN, 4)
def only_even_pairs_swap(patch):
    divmod_ = jnp.divmod
    patch.setattr(jnp, "divmod", lambda a, b: tuple(0 * part for part in divmod_(a, b)))


@caught_by(exchange_checks.each_ladder_swaps_on_its_own, GAMMA, 4)
def one_uniform_for_all_ladders(patch):
    uniform = jax.random.uniform

    def shared(key, shape=(), dtype=float):
        return jnp.broadcast_to(uniform(key, shape[:1] + (1,) * (len(shape) - 1), dtype), shape)

    patch.setattr(jax.random, "uniform", shared)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_caught(name, monkeypatch):
    plant, check = MUTANTS[name]
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
