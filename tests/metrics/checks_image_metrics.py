"""Decisive checks of image metrics: each raises AssertionError on a wrong one."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy import special

from tempered_ebm.metrics import extrapolation, frechet, kernel, memorization, scores
from tests import ground_truths as gt

HONEST = (0.8, 1.25)
"""Where the ratio of true and stated errors may lie."""


def exact_moments(mean: np.ndarray, covariance: np.ndarray) -> frechet.FeatureMoments:
    """Moments as of so many vectors that they are those of the law."""
    num = 10**9
    return frechet.FeatureMoments(num, mean, covariance * (num - 1))


def frechet_distance_agrees_with_scipy() -> None:
    """Few vectors, so that n and n - 1 differ."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(12, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(9, 5)) + 1
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)
    np.testing.assert_allclose(frechet.frechet_distance(a, b), expected, rtol=1e-9)


def streamed_moments_are_those_of_the_whole() -> None:
    """Batches of unequal sizes and unequal means, merged in two ways."""
    rng = np.random.default_rng(2)
    features = 1e3 + np.cumsum(rng.normal(size=(50, 4)), axis=0)
    parts = np.split(features, [1, 8, 30, 31])
    streamed = frechet.feature_moments(iter(parts))
    halves = [frechet.feature_moments(iter(p)) for p in (parts[:2], parts[2:])]
    for found in (streamed, frechet.merge_feature_moments(*halves)):
        assert found.num_vectors == 50
        np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-13)
        np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False), rtol=1e-10)


def kernel_distance_agrees_with_the_double_sum() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))

    def value(x, y):
        return (x @ y / 3 + 1) ** 3

    within_a = np.mean([value(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    within_b = np.mean([value(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    between = np.mean([value(x, y) for x in a for y in b])
    expected = within_a + within_b - 2 * between
    np.testing.assert_allclose(kernel.kernel_distance(a, b), expected, rtol=1e-10)


def kernel_distance_is_unbiased() -> None:
    rng = gt.rng(4)
    draws = [
        kernel.kernel_distance(rng.normal(size=(20, 3)), rng.normal(size=(30, 3)))
        for _ in range(2000)
    ]
    gt.assert_expectations(np.array(draws), 0.0, "kernel distance under the null")


def variance_of_the_kernel_distance_is_unbiased(shift: float) -> None:
    """Half the squared difference of independent estimates has the variance as its mean.

    Without a shift all of it is due to pairs.
    """
    rng = gt.rng(5)

    def estimate() -> tuple[float, float]:
        # Bounded features, whose cubes have no tails.
        sums = kernel._all_sums(rng.uniform(-1, 1, (5, 2)), rng.uniform(-1, 1, (6, 2)) + shift, 4)
        return kernel._estimate(*sums), sum(kernel._sampling_variances(*sums))

    pairs = np.array([(*estimate(), *estimate()) for _ in range(3000)])
    half_square = (pairs[:, 0] - pairs[:, 2]) ** 2 / 2
    excess = (pairs[:, 1] + pairs[:, 3]) / 2 - half_square
    gt.assert_expectations(excess / half_square.mean(), 0.0, "variance of the kernel distance")


def kernel_error_is_calibrated(shift: float) -> None:
    rng = gt.rng(6)
    results = np.array(
        [
            kernel.kernel_distance_with_error(
                rng.normal(size=(60, 4)), rng.normal(size=(80, 4)) + shift
            )
            for _ in range(800)
        ]
    )
    ratio = results[:, 0].std() / np.sqrt(np.mean(results[:, 1] ** 2))
    assert HONEST[0] < ratio < HONEST[1], f"true error over stated error {ratio:.2f}"


def inception_score_agrees_with_the_definition() -> None:
    """Splits of unequal laws, so that a marginal of the whole set would show."""
    rng = np.random.default_rng(7)
    rows = np.concatenate([rng.dirichlet(a, 6) for a in ([1, 1, 1], [5, 1, 0.3], [0.2, 3, 3])])
    values = []
    for part in np.split(rows, 3):
        marginal = part.mean(0)
        values.append(np.exp(np.mean([special.rel_entr(row, marginal).sum() for row in part])))
    found = scores.inception_score(rows, num_splits=3)
    np.testing.assert_allclose(found, (np.mean(values), np.std(values)), rtol=1e-12)


def frechet_extrapolation_finds_the_truth(shift: float) -> None:
    """Normal features against their exact law, moved: the distance is d shift²."""
    dimension, number, runs, rng = 6, 400, 150, gt.rng(8)
    reference = exact_moments(np.full(dimension, shift), np.eye(dimension))
    plain, limits = [], []
    for i in range(runs):
        features = rng.normal(size=(number, dimension))
        limits.append(
            extrapolation.frechet_distance_infinity(gt.key(100 + i), features, reference)[:2]
        )
        plain.append(
            frechet.frechet_distance_from_moments(frechet.feature_moments(features), reference)
        )
    truth = dimension * shift**2
    _extrapolation_is_right(np.array(limits), np.array(plain), truth, slack=0.004)


def inception_score_extrapolation_finds_the_truth(certain: bool) -> None:
    """Certain of balanced classes, c; uniform on the simplex, E KL = log c - (ψ(c + 1) - ψ(2))."""
    classes, number, runs, rng = 10, 400, 150, gt.rng(9)
    truth = classes * np.exp(special.digamma(2) - special.digamma(classes + 1))
    truth = float(classes) if certain else truth
    plain, limits = [], []
    for i in range(runs):
        rows = rng.dirichlet(np.ones(classes), number)
        rows = np.eye(classes)[rng.integers(0, classes, number)] if certain else rows
        limits.append(extrapolation.inception_score_infinity(gt.key(300 + i), rows)[:2])
        plain.append(scores.inception_score(rows, num_splits=1 if certain else 10).mean)
    slack = 0.01 if certain else 1e-3
    _extrapolation_is_right(np.array(limits), np.array(plain), truth, slack)


def _extrapolation_is_right(
    limits: np.ndarray, plain: np.ndarray, truth: float, slack: float
) -> None:
    """No bias is left but of order 1/n², the plain one shows, and the error is no smaller."""
    estimates, errors = limits.T
    gt.assert_expectations(estimates, truth, "extrapolated", slack)
    ratio = np.std(estimates) / np.sqrt(np.mean(errors**2))
    assert ratio < HONEST[1], f"true error over stated error {ratio:.2f}"
    inside = np.mean(np.abs(estimates - truth) < 2 * errors)
    assert inside > 0.8, f"the truth is within two errors in {inside:.0%} of all runs"
    left, bias = abs(estimates.mean() - truth), abs(plain.mean() - truth)
    assert left < bias / 2, f"bias {left:.4f} after, {bias:.4f} before"


def copies_are_multiplied_by_one_over_epsilon() -> None:
    rng = np.random.default_rng(10)
    training, held_out = rng.normal(size=(2, 40, 6))
    # Scaled and turned round, which cosines do not see.
    copies = np.concatenate([2.0 * training[:20], -training[20:]])
    plain = frechet.frechet_distance(copies, held_out)
    found = memorization.memorization_informed_frechet_distance(
        copies, held_out, training, epsilon=1e-3
    )
    np.testing.assert_allclose(found, 1e3 * plain, rtol=1e-9)


def memorization_distance_agrees_with_the_double_loop() -> None:
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(9, 3))
    cosines = [[abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v) for v in y] for u in x]
    expected = np.mean(1 - np.max(cosines, axis=1))
    np.testing.assert_allclose(memorization.memorization_distance(x, y), expected, rtol=1e-12)
