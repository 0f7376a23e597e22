"""Bugs in the evidence of whole models, and in what is made of several evidences."""

import importlib
import math

import jax.numpy as jnp
import numpy as np

from tempered_ebm.evidence import run
from tempered_ebm.models import latent_evidence
from tempered_ebm.numpyro import evidence as model_evidence
from tests.models import checks_model_evidence as checks
from tests.mutants.registry import caught_by

# The package has a function of that name.
comparison = importlib.import_module("tempered_ebm.evidence.bayes_factors")


@caught_by(checks.counts_with_a_gamma_rate)
def a_prior_without_its_jacobian(patch):
    split = model_evidence.split_with

    def without(*args, **kwargs):
        parts = split(*args, **kwargs)
        logprior_fn = parts.target.logprior_fn
        target = parts.target._replace(logprior_fn=lambda u: logprior_fn(u) - u["rate"])
        return parts._replace(target=target)

    patch.setattr(model_evidence, "split_with", without)


@caught_by(checks.counts_with_a_gamma_rate)
def a_likelihood_without_its_constant(patch):
    split = model_evidence.split_with
    constant = float(np.sum([math.lgamma(count + 1) for count in checks.COUNTS]))

    def without(*args, **kwargs):
        parts = split(*args, **kwargs)
        likelihood_fn = parts.target.loglikelihood_fn
        target = parts.target._replace(loglikelihood_fn=lambda u: likelihood_fn(u) + constant)
        return parts._replace(target=target)

    patch.setattr(model_evidence, "split_with", without)


@caught_by(checks.normalizer_of_linear_energies)
def a_base_of_half_the_variance(patch):
    standard = run.log_standard_normal
    patch.setattr(run, "log_standard_normal", lambda z: 2 * standard(z))


@caught_by(checks.normalizer_of_linear_energies)
def a_base_that_sees_one_leaf(patch):
    standard = run.log_standard_normal
    everywhere = lambda z: standard(z["vector"]) + 0.5 * standard(z["scalar"])  # noqa: E731
    patch.setattr(run, "log_standard_normal", everywhere)


@caught_by(checks.evidence_of_each_observation)
def observations_in_reverse(patch):
    estimate = latent_evidence.estimate_each
    patch.setattr(latent_evidence, "estimate_each", lambda t, draws: estimate(t, draws[..., ::-1]))


@caught_by(checks.evidence_of_each_observation)
def tempered_loglikelihoods_recorded(patch):
    record = latent_evidence.loglikelihood_draws

    def tempered(rng_key, model, params, x, temperatures, *args):
        draws = record(rng_key, model, params, x, temperatures, *args)
        return draws * jnp.sqrt(temperatures)[:, None, None, None]

    patch.setattr(latent_evidence, "loglikelihood_draws", tempered)


@caught_by(checks.evidence_of_each_observation)
def swaps_that_see_other_observations(patch):
    """Draws of one observation are given to its neighbour half of the time."""
    record = latent_evidence.loglikelihood_draws

    def mixed(*args, **kwargs):
        draws = record(*args, **kwargs)
        return draws.at[:, ::2].set(jnp.roll(draws[:, ::2], 1, axis=-1))

    patch.setattr(latent_evidence, "loglikelihood_draws", mixed)


@caught_by(checks.errors_add_in_quadrature)
def errors_of_a_bayes_factor_added_up(patch):
    class Math:
        def __getattr__(self, name):
            return getattr(math, name)

        hypot = staticmethod(lambda a, b: a + b)

    patch.setattr(comparison, "math", Math())


@caught_by(checks.words_of_kass_and_raftery)
def the_scale_applied_to_log_b(patch):
    halves = tuple((2 * bound, words) for bound, words in comparison._SCALE)
    patch.setattr(comparison, "_SCALE", halves)


@caught_by(checks.words_of_kass_and_raftery)
def words_for_the_other_model(patch):
    words = comparison._in_words
    patch.setattr(comparison, "_in_words", lambda twice: words(-twice))


@caught_by(checks.errors_of_probabilities)
def errors_of_probabilities_without_the_others(patch):
    eye = np.eye

    class Numpy:
        def __getattr__(self, name):
            return getattr(np, name)

        eye = staticmethod(lambda n: 2 * eye(n))

    patch.setattr(comparison, "np", Numpy())
