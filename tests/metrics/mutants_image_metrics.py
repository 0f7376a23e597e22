"""Bugs in the image metrics."""

import numpy as np

from tempered_ebm.metrics import extrapolation, frechet, kernel, memorization, scores
from tests.metrics import checks_image_metrics as checks
from tests.mutants.registry import caught_by


@caught_by(checks.frechet_distance_agrees_with_scipy)
def covariance_divided_by_n(patch):
    biased = property(lambda self: self.sum_of_products / self.num_vectors)
    patch.setattr(frechet.FeatureMoments, "covariance", biased)


@caught_by(checks.frechet_distance_agrees_with_scipy)
def cross_term_once(patch):
    right = frechet._factor
    patch.setattr(frechet, "_factor", lambda m: right(m) / np.sqrt(2))


@caught_by(checks.streamed_moments_are_those_of_the_whole)
def no_shift_of_means_in_a_merge(patch):
    class NoOuter:
        def __getattr__(self, name):
            return getattr(np, name) if name != "outer" else lambda a, b: 0.0 * np.outer(a, b)

    patch.setattr(frechet, "np", NoOuter())


@caught_by(checks.kernel_distance_agrees_with_the_double_sum)
def diagonal_kept_in_the_kernel_distance(patch):
    right = kernel._kernel_sums
    patch.setattr(kernel, "_kernel_sums", lambda x, y, within: right(x, y, within=False))


@caught_by(checks.kernel_distance_is_unbiased)
def diagonal_kept_seen_as_a_bias(patch):
    diagonal_kept_in_the_kernel_distance(patch)


@caught_by(checks.variance_of_the_kernel_distance_is_unbiased, 0.0)
def variance_without_pairs(patch):
    patch.setattr(kernel, "_interaction_between", lambda sums: 0.0)


@caught_by(checks.variance_of_the_kernel_distance_is_unbiased, 0.0)
def pairs_divided_as_if_nothing_was_fitted(patch):
    right = kernel._interaction_within

    def larger(sums):
        n = len(sums.rows)
        return right(sums) * (n - 3) / (n - 1)

    patch.setattr(kernel, "_interaction_within", larger)


@caught_by(checks.kernel_error_is_calibrated, 0.0)
def error_of_the_kernel_distance_without_pairs(patch):
    right = kernel._sampling_variances
    patch.setattr(kernel, "_sampling_variances", lambda *sums: (right(*sums)[0], 0.0))


@caught_by(checks.inception_score_agrees_with_the_definition)
def marginal_of_all_splits(patch):
    right = scores.check_probabilities
    whole = {}

    def remember(*args, **options):
        whole["mean"] = right(*args, **options).mean(0)
        return right(*args, **options)

    def score(rows):
        return float(np.exp(np.mean(np.sum(rows * np.log(rows / whole["mean"]), axis=1))))

    patch.setattr(scores, "check_probabilities", remember)
    patch.setattr(scores, "score", score)


@caught_by(checks.inception_score_agrees_with_the_definition)
def divergence_the_other_way(patch):
    def score(rows):
        marginal = rows.mean(0)
        return float(np.exp(np.mean(np.sum(marginal * np.log(marginal / rows), axis=1))))

    patch.setattr(scores, "score", score)


def one_size_for_all(patch, change):
    right = extrapolation.extrapolate_to_infinity
    patch.setattr(extrapolation, "extrapolate_to_infinity", lambda *a, **k: change(right(*a, **k)))


@caught_by(checks.frechet_extrapolation_finds_the_truth, 0.0)
def whole_set_instead_of_the_intercept(patch):
    one_size_for_all(patch, lambda line: line._replace(estimate=line.values[0]))


@caught_by(checks.frechet_extrapolation_finds_the_truth, 0.5)
def extrapolation_error_far_too_small(patch):
    one_size_for_all(
        patch, lambda line: line._replace(standard_error=line.standard_error / np.sqrt(10))
    )


@caught_by(checks.inception_score_extrapolation_finds_the_truth, True)
def slope_of_the_wrong_sign(patch):
    one_size_for_all(patch, lambda line: line._replace(estimate=2 * line.values[0] - line.estimate))


@caught_by(checks.memorization_distance_agrees_with_the_double_loop)
def features_not_normalised(patch):
    patch.setattr(memorization, "_unit_rows", lambda name, features: features / 3)


@caught_by(checks.copies_are_multiplied_by_one_over_epsilon)
def copies_not_punished(patch):
    patch.setattr(memorization, "memorization_distance", lambda *args, **options: 1.0)
