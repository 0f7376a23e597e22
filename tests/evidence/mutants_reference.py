"""Bugs in the reference, in its draws, and in MBAR with more draws of one rung than of others."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from tempered_ebm.evidence import (
    _mixtures as mixtures,
)
from tempered_ebm.evidence import (
    _reference as reference,
)
from tempered_ebm.evidence import (
    _reference_fit as fitting,
)
from tempered_ebm.evidence import (
    _reference_path as reference_path,
)
from tempered_ebm.evidence import reweighting
from tests.evidence import checks_reference
from tests.mutants.registry import caught_by

MEMBERSHIPS = reweighting.log_memberships
SAMPLE = reference.Reference.sample


@caught_by(checks_reference.unequal_numbers_solve_the_equation)
def unequal_numbers_ignored(patch):
    patch.setattr(
        reweighting,
        "log_memberships",
        lambda t, f, log_numbers, draws, rungs: MEMBERSHIPS(t, f, 0 * log_numbers, draws, rungs),
    )


@caught_by(checks_reference.unequal_numbers_solve_the_equation)
def more_draws_of_the_prior_given_to_the_posterior(patch):
    scores = reweighting._Likelihood.scores_and_hessian

    def wrong(self, f):
        block, extra, hessian = scores(self, f)
        own = jnp.eye(f.size, dtype=f.dtype)
        return block, extra + own[0] - own[-1], hessian

    patch.setattr(reweighting._Likelihood, "scores_and_hessian", wrong)


@caught_by(checks_reference.impossible_extra_draws_leave_a_binomial_error)
def more_draws_of_the_prior_without_an_error(patch):
    patched = vars(jnp) | {"var": lambda values, ddof: jnp.zeros(())}
    patch.setattr(reweighting, "jnp", SimpleNamespace(**patched))


@caught_by(checks_reference.extra_draws_keep_errors_honest, 2, 5000)
def the_error_of_the_rungs_not_shared_with_more_draws(patch):
    """The series of the rungs as if they were all draws there are."""
    solve = reweighting.solve

    def wrong(temperatures, draws, extra):
        f, series, extra_series = solve(temperatures, draws, extra)
        return f, series * (draws.size + extra.size) / draws.size, extra_series

    patch.setattr(reweighting, "solve", wrong)


@caught_by(checks_reference.reference_integrates_to_one)
def a_reference_without_its_determinant(patch):
    def diagonal(matrices, **kwargs):
        return jnp.ones_like(jnp.diagonal(matrices, **kwargs))

    patch.setattr(reference, "jnp", SimpleNamespace(**vars(jnp) | {"diagonal": diagonal}))


def sampled_with(patch, name, value):
    """Draws made with another constant than the density has."""

    def sample(self, rng_key, num_samples):
        right = getattr(reference, name)
        setattr(reference, name, value)
        try:
            return SAMPLE(self, rng_key, num_samples)
        finally:
            setattr(reference, name, right)

    patch.setattr(reference.Reference, "sample", sample)


@caught_by(checks_reference.draws_follow_the_density)
def twice_as_many_draws_in_the_tails(patch):
    sampled_with(patch, "TAIL_SHARE", 0.2)


@caught_by(checks_reference.draws_follow_the_density)
def draws_of_one_more_degree_of_freedom(patch):
    sampled_with(patch, "TAIL_FREEDOM", 4)


@caught_by(checks_reference.weights_have_mean_one)
def twice_as_many_draws_in_the_tails_seen_in_the_weights(patch):
    sampled_with(patch, "TAIL_SHARE", 0.2)


@caught_by(checks_reference.reference_integrates_to_one)
def a_student_constant_of_one_more_degree_of_freedom(patch):
    constant = reference._student_constant

    def wrong(dimension):
        patched = reference.TAIL_FREEDOM
        reference.TAIL_FREEDOM = patched + 1
        try:
            return constant(dimension)
        finally:
            reference.TAIL_FREEDOM = patched

    patch.setattr(reference, "_student_constant", wrong)


def transposed(matrices):
    return jnp.swapaxes(matrices, -1, -2)


def whitened_by_the_transpose(patch):
    right = fitting.as_reference

    def wrong(mixture, dtype):
        r = right(mixture, dtype)
        return r._replace(whitenings=transposed(r.whitenings))

    patch.setattr(fitting, "as_reference", wrong)


@caught_by(checks_reference.densities_agree)
def a_whitening_transposed(patch):
    whitened_by_the_transpose(patch)


@caught_by(checks_reference.draws_follow_the_density)
def a_whitening_transposed_seen_in_the_law(patch):
    whitened_by_the_transpose(patch)


@caught_by(checks_reference.weights_have_mean_one)
def draws_spread_by_the_transpose(patch):
    patch.setattr(
        reference.Reference,
        "sample",
        lambda self, key, n: SAMPLE(self._replace(factors=transposed(self.factors)), key, n),
    )


@caught_by(checks_reference.unused_components_change_nothing)
def unused_components_are_drawn(patch):
    def sample(self, rng_key, num_samples):
        weights = jnp.where(jnp.isneginf(self.log_weights), -5.0, self.log_weights)
        return SAMPLE(self._replace(log_weights=weights), rng_key, num_samples)

    patch.setattr(reference.Reference, "sample", sample)


@caught_by(checks_reference.two_components_are_recovered, True)
def a_fit_that_ignores_weights(patch):
    step = mixtures._step

    def wrong(logs, z, weights, num_effective, floor):
        return step(logs, z, np.full_like(weights, 1 / len(weights)), num_effective, floor)

    patch.setattr(mixtures, "_step", wrong)


@caught_by(checks_reference.covariances_shrink_as_documented)
def a_fit_that_does_not_shrink(patch):
    """Its effective number of draws is a million times too large."""
    step = mixtures._step
    patch.setattr(mixtures, "_step", lambda m, z, w, num, floor: step(m, z, w, 1e6 * num, floor))


@caught_by(checks_reference.no_fit_is_singular)
def a_fit_without_a_floor(patch):
    step = mixtures._step
    patch.setattr(mixtures, "_step", lambda m, z, w, num, floor: step(m, z, w, num, 1e-20 * floor))


@caught_by(checks_reference.a_gaussian_posterior_is_fitted, 10)
def a_reference_of_factors_without_correlations(patch):
    right = fitting.as_reference

    def wrong(mixture, dtype):
        diagonals = mixture.covariances * np.eye(mixture.means.shape[1])
        return right(mixture._replace(covariances=diagonals), dtype)

    patch.setattr(fitting, "as_reference", wrong)


@caught_by(checks_reference.a_gaussian_posterior_is_fitted, 2)
def modes_of_no_precision(patch):
    """The Laplace approximations are a hundred times too wide, and keep a large share."""
    right = fitting._laplace

    def wrong(climb, scale):
        found = right(climb, scale)
        return found and found._replace(covariances=100 * found.covariances)

    patch.setattr(fitting, "_laplace", wrong)
    patch.setattr(fitting, "_LAPLACE_SHARE", 0.5)


@caught_by(checks_reference.a_whole_job_is_within_its_error)
def a_job_whose_reference_is_not_normalised(patch):
    right = reference.Reference.log_prob
    patch.setattr(reference.Reference, "log_prob", lambda self, z: right(self, z) + 0.05)


@caught_by(checks_reference.a_whole_job_is_within_its_error)
def a_job_whose_path_forgets_a_share_of_the_reference(patch):
    right = reference_path.path_target

    def wrong(target, start, factor):
        forgetful = right(target, start, factor)
        return forgetful._replace(
            loglikelihood_fn=lambda u: (
                forgetful.loglikelihood_fn(u) + 0.1 * forgetful.logprior_fn(u)
            )
        )

    patch.setattr(reference_path, "path_target", wrong)


@caught_by(checks_reference.a_whole_job_is_within_its_error)
def a_job_whose_weights_leave_the_prior_out(patch):
    right = reference_path.importance_draws

    def wrong(rng_key, target, start, num_samples):
        z, log_weights, log_joint = right(rng_key, target, start, num_samples)
        return z, log_weights - target.logprior_fn(z), log_joint

    patch.setattr(reference_path, "importance_draws", wrong)
