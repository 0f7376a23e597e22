import numpy as np
import pytest
import scipy.linalg

import tempered_ebm as te
from tempered_ebm import metrics
from tests import ground_truths as gt


def correlated(rng, n, d=8):
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_frechet_distance_of_a_set_to_itself_is_zero():
    features = correlated(np.random.default_rng(0), 200)
    assert metrics.frechet_distance(features, features) < 1e-9


def test_frechet_distance_agrees_with_the_matrix_root_of_scipy():
    rng = np.random.default_rng(1)
    a, b = correlated(rng, 300), correlated(rng, 200)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)
    np.testing.assert_allclose(metrics.frechet_distance(a, b), expected, rtol=1e-9)


def test_frechet_distance_of_singular_covariances_is_finite_and_symmetric():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 12)), rng.normal(size=(6, 12)) + 1
    forward, backward = metrics.frechet_distance(a, b), metrics.frechet_distance(b, a)
    assert np.isfinite(forward)
    np.testing.assert_allclose(forward, backward, rtol=1e-8)


def test_kernel_distance_agrees_with_the_double_sum():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within_a = np.mean([kernel(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    within_b = np.mean([kernel(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    between = np.mean([kernel(x, y) for x in a for y in b])
    expected = within_a + within_b - 2 * between
    np.testing.assert_allclose(metrics.kernel_distance(a, b), expected, rtol=1e-10)


@pytest.mark.statistical
def test_kernel_distance_is_unbiased_under_the_null():
    rng = gt.rng(4)
    draws = [
        metrics.kernel_distance(rng.normal(size=(20, 3)), rng.normal(size=(30, 3)))
        for _ in range(2000)
    ]
    z = np.sqrt(len(draws)) * np.mean(draws) / np.std(draws)
    assert abs(z) < gt.z_threshold(1)


@pytest.mark.parametrize("distance", [metrics.frechet_distance, metrics.kernel_distance])
def test_bad_features_are_named(distance):
    good = np.zeros((3, 2))
    with pytest.raises(te.InputError, match=r"features_a must have shape"):
        distance(np.zeros(3), good)
    with pytest.raises(te.InputError, match=r"features_b must be finite"):
        distance(good, np.full((3, 2), np.nan))
    with pytest.raises(te.InputError, match=r"features_b must have 2 columns, got 5"):
        distance(good, np.zeros((3, 5)))
