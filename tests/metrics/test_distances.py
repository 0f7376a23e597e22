import warnings

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics import kernel
from tests import ground_truths as gt
from tests.metrics import checks_image_metrics as checks

FEW = settings(max_examples=20, deadline=None)
SEEDS = st.integers(0, 2**20)


def correlated(rng, n, d=8):
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def reference_distance(mean_a, cov_a, mean_b, cov_b):
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * root)


def test_frechet_distance_of_a_set_to_itself_is_zero():
    features = correlated(np.random.default_rng(0), 200)
    assert metrics.frechet_distance(features, features) < 1e-9


def test_frechet_distance_agrees_with_the_matrix_root_of_scipy():
    checks.frechet_distance_agrees_with_scipy()


@pytest.mark.parametrize("rank", [1, 3])
def test_frechet_distance_of_features_that_depend_on_one_another(rank):
    rng = np.random.default_rng(rank)
    spans = rng.normal(size=(2, rank, 8))
    a, b = (rng.normal(size=(100, rank)) @ span + rng.normal(size=8) for span in spans)
    expected = reference_distance(
        a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
    )
    np.testing.assert_allclose(metrics.frechet_distance(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(metrics.frechet_distance(a, a), 0.0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:features_b:RuntimeWarning")
def test_frechet_distance_of_fewer_vectors_than_dimensions_loses_no_digits():
    """The truth is that of the same sets in the coordinates of the space they span."""
    rng = np.random.default_rng(2)
    small = [rng.normal(size=(20, 10)), rng.normal(size=(25, 10)) + 1.0]
    basis = np.linalg.qr(rng.normal(size=(300, 10)))[0]
    expected = metrics.frechet_distance(*small)
    with pytest.warns(RuntimeWarning, match=r"features_a holds 20 vectors of dimension 300"):
        found = metrics.frechet_distance(*(x @ basis.T for x in small))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:features_a:RuntimeWarning")
def test_frechet_distance_of_singular_covariances_is_symmetric_and_says_so():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 12)), rng.normal(size=(6, 12)) + 1
    with pytest.warns(RuntimeWarning, match=r"features_b holds 6 vectors .* more vectors than"):
        forward = metrics.frechet_distance(a, b)
    with pytest.warns(RuntimeWarning):
        np.testing.assert_allclose(forward, metrics.frechet_distance(b, a), rtol=1e-10)


def test_enough_vectors_give_no_warning():
    rng = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet_distance(rng.normal(size=(4, 3)), rng.normal(size=(5, 3)))


@FEW
@given(SEEDS, st.integers(2, 40), st.integers(2, 40), st.integers(1, 6))
@pytest.mark.filterwarnings("ignore:features_:RuntimeWarning")
def test_distances_do_not_change_with_axes_or_order(seed, n, m, d):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), 2 * rng.normal(size=(m, d)) + 1
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    shuffled = rng.permutation(n)
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        value = distance(a, b)
        scale = 1e-9 * (1 + abs(value) + np.square(a).mean() ** 3 + np.square(b).mean() ** 3)
        np.testing.assert_allclose(distance(a @ rotation, b @ rotation), value, atol=scale)
        np.testing.assert_allclose(distance(b, a), value, atol=scale)
        np.testing.assert_allclose(distance(a[shuffled], b), value, atol=scale)
    assert metrics.frechet_distance(a, b) >= 0
    assert metrics.frechet_distance(a, a) < 1e-10 * (1 + np.square(a).sum())


@FEW
@given(SEEDS, st.floats(0.1, 10.0))
def test_frechet_distance_scales_as_a_square(seed, factor):
    a, b = np.random.default_rng(seed).normal(size=(2, 20, 3))
    np.testing.assert_allclose(
        metrics.frechet_distance(factor * a, factor * b),
        factor**2 * metrics.frechet_distance(a, b),
        rtol=1e-9,
    )


def test_kernel_distance_agrees_with_the_double_sum():
    checks.kernel_distance_agrees_with_the_double_sum()


@pytest.mark.statistical
def test_kernel_distance_is_unbiased_under_the_null():
    checks.kernel_distance_is_unbiased()


def test_kernel_distance_does_not_depend_on_the_blocks(monkeypatch):
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(23, 3)), rng.normal(size=(17, 3)) + 1
    whole = metrics.kernel_distance_with_error(a, b)
    assert whole.estimate == metrics.kernel_distance(a, b)
    for rows in (1, 4, 17, 22):
        monkeypatch.setattr(kernel, "_ROWS", rows)
        blocked = metrics.kernel_distance_with_error(a, b)
        np.testing.assert_allclose(blocked, whole, rtol=1e-10)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_variance_of_the_kernel_distance_is_unbiased(shift):
    checks.variance_of_the_kernel_distance_is_unbiased(shift)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_standard_error_of_the_kernel_distance_is_calibrated(shift):
    checks.kernel_error_is_calibrated(shift)


@pytest.mark.parametrize(
    "distance",
    [metrics.frechet_distance, metrics.kernel_distance, metrics.kernel_distance_with_error],
)
def test_bad_features_are_named(distance):
    good = np.zeros((4, 2))
    with pytest.raises(te.InputError, match=r"features_a must have shape .* got \(4,\)"):
        distance(np.zeros(4), good)
    with pytest.raises(te.InputError, match=r"features_b must have shape \(n >= \d, d >= 1\)"):
        distance(good, np.zeros((1, 2)))
    with pytest.raises(te.InputError, match=r"features_b must be finite.* first in row 2"):
        distance(good, np.where(np.arange(4)[:, None] < 2, good, np.nan))
    with pytest.raises(te.InputError, match=r"features_b must have 2 columns, got 5"):
        distance(good, np.zeros((4, 5)))
    with pytest.raises(
        te.InputError, match=r"features_a must be real numbers of .*, got complex128 of"
    ):
        distance(good + 1j, good)


def test_an_error_of_the_kernel_distance_asks_for_four_vectors():
    with pytest.raises(te.InputError, match=r"features_a must have shape \(n >= 4"):
        metrics.kernel_distance_with_error(np.zeros((3, 2)), np.zeros((4, 2)))


@pytest.mark.statistical
def test_frechet_distance_has_the_bias_of_its_covariance():
    """E FID of n normal vectors to their own law, to order 1/n, d (d + 1) / (4 n) + d / n."""
    n, d, rng = 400, 3, gt.rng(11)
    truth = metrics.FeatureMoments(10**9, np.zeros(d), np.eye(d) * (10**9 - 1))
    draws = [
        metrics.frechet_distance_from_moments(
            metrics.feature_moments(rng.normal(size=(n, d))), truth
        )
        for _ in range(4000)
    ]
    gt.assert_expectations(np.array(draws), d / n + d * (d + 1) / (4 * n), slack=3e-4)


def test_the_energy_distance_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1
    between = np.mean([np.linalg.norm(a - b) for a in x for b in y])

    def within(z):
        return np.mean([np.linalg.norm(z[i] - z[j]) for i in range(len(z)) for j in range(len(z))
                        if i != j])  # fmt: skip

    expected = 2 * between - within(x) - within(y)
    assert metrics.energy_distance(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.statistical
def test_the_energy_distance_is_unbiased_for_equal_laws():
    """In one dimension, for two normals of the same law, its mean is zero."""
    rng = gt.rng(400)
    values = [
        metrics.energy_distance(rng.normal(size=(20, 1)), rng.normal(size=(20, 1)))
        for _ in range(2000)
    ]
    gt.assert_expectations(np.array(values)[:, None], 0.0, "energy distance")


@pytest.mark.statistical
def test_the_energy_distance_has_its_closed_form_for_shifted_normals():
    """E|N(m, 2)| by the folded normal; E|N(0, 2)| = 2 / sqrt(pi)."""
    from scipy import stats

    rng, shift = gt.rng(401), 1.5
    folded = stats.foldnorm.mean(shift / np.sqrt(2), scale=np.sqrt(2))
    values = [
        metrics.energy_distance(rng.normal(size=(20, 1)), rng.normal(size=(20, 1)) + shift)
        for _ in range(2000)
    ]
    expected = 2 * folded - 4 / np.sqrt(np.pi)
    gt.assert_expectations(np.array(values)[:, None], expected, "energy distance")


@pytest.mark.parametrize("shapes", [((1, 2), (3, 2)), ((3, 2), (3, 1)), ((3,), (3, 1))])
def test_other_shapes_are_named(shapes):
    with pytest.raises(te.InputError, match="x and y must have shapes"):
        metrics.energy_distance(*(np.zeros(shape) for shape in shapes))
