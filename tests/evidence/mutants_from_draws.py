"""Bugs in the evidence from draws: each would let a wrong estimate pass in silence."""

import numpy as np

from tempered_ebm.evidence import from_draws
from tests.evidence import checks_from_draws as checks
from tests.mutants.registry import caught_by

BRIDGE, EVALUATE, MIXING = from_draws._bridge, from_draws._evaluate, from_draws._Mixing.of


@caught_by(checks.halves_are_compared_with_each_other)
def draws_compared_with_their_own_fit(patch):
    def wrong(rng_key, target, references, *rest):
        return BRIDGE(rng_key, target, references[::-1], *rest)

    patch.setattr(from_draws, "_bridge", wrong)


@caught_by(checks.errors_see_autocorrelation)
def draws_as_if_independent(patch):
    def wrong(rng_key, target, references, z, log_joint, spent):
        record = BRIDGE(rng_key, target, references, z, log_joint, spent)
        shape = record.loglikelihoods.shape
        mixed = np.random.default_rng(0).permutation(shape[1] * shape[2])
        flat = record.loglikelihoods.reshape(2, -1)[:, mixed]
        return record._replace(loglikelihoods=flat.reshape(shape))

    patch.setattr(from_draws, "_bridge", wrong)


@caught_by(checks.draws_without_density_are_refused)
def draws_dropped_silently(patch):
    def wrong(target, z):
        return np.nan_to_num(np.asarray(EVALUATE(target, z)), neginf=0.0)

    patch.setattr(from_draws, "_evaluate", wrong)


@caught_by(checks.chains_that_disagree_are_noticed)
def chains_that_always_agree(patch):
    patch.setattr(
        from_draws._Mixing, "of", lambda z, log_joint: MIXING(z, log_joint)._replace(r_hat=1.0)
    )


@caught_by(checks.few_effective_draws_are_noticed)
def every_draw_counted(patch):
    patch.setattr(
        from_draws._Mixing,
        "of",
        lambda z, log_joint: MIXING(z, log_joint)._replace(num_effective=(800.0, 800.0)),
    )


@caught_by(checks.a_mode_without_chains_is_noticed)
def values_that_are_not_compared_with_the_draws(patch):
    patch.setattr(from_draws, "_missing_share", lambda *args: 0.0)
    patch.setattr(from_draws, "_SMALL_GAP", 1e9)


@caught_by(checks.a_far_mode_is_noticed_among_draws_of_the_prior)
def draws_of_the_prior_that_are_not_looked_at(patch):
    elsewhere = from_draws._elsewhere
    patch.setattr(from_draws, "_elsewhere", lambda *args: elsewhere(*args[:3], None))
