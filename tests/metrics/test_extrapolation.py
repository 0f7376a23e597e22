import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tests import ground_truths as gt
from tests.metrics import checks_image_metrics as checks


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_bias_of_the_frechet_distance_is_removed(shift):
    checks.frechet_extrapolation_finds_the_truth(shift)


@pytest.mark.statistical
@pytest.mark.parametrize("certain", [True, False])
def test_the_bias_of_the_inception_score_is_removed(certain):
    checks.inception_score_extrapolation_finds_the_truth(certain)


def test_a_line_in_one_over_n_is_found_exactly():
    line = metrics.extrapolate_to_infinity(
        jax.random.key(0), lambda index: 3.0 - 5.0 / len(index), 600, parts=(1, 2, 4)
    )
    np.testing.assert_allclose(line.estimate, 3.0, rtol=1e-12)
    np.testing.assert_allclose(line.slope, -5.0, rtol=1e-10)
    np.testing.assert_array_equal(line.sizes, [600, 300, 150])
    assert line.standard_error < 1e-12


def test_the_error_of_a_mean_is_that_of_a_mean():
    """Of a statistic without bias, over many keys, and the parts are disjoint and whole."""
    x = np.random.default_rng(0).normal(size=420)
    seen = []

    def mean(index):
        seen.append(index)
        return x[index].mean()

    lines = [metrics.extrapolate_to_infinity(gt.key(i), mean, 420) for i in range(50)]
    squares = np.mean([line.standard_error**2 for line in lines])
    np.testing.assert_allclose(np.sqrt(squares), x.std(ddof=1) / np.sqrt(420), rtol=0.1)
    np.testing.assert_allclose([line.estimate for line in lines], x.mean(), atol=1e-12)
    for first, count in ((0, 1), (1, 2), (3, 3), (6, 5), (11, 10)):
        whole = np.sort(np.concatenate(seen[first : first + count]))
        np.testing.assert_array_equal(whole, np.arange(420))


def test_the_same_key_gives_the_same_line():
    x = np.random.default_rng(0).normal(size=(80, 2))
    first, again, other = (
        metrics.frechet_distance_infinity(jax.random.key(seed), x, x + 1) for seed in (0, 0, 1)
    )
    assert first.estimate == again.estimate != other.estimate


def test_reference_features_and_their_moments_agree():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    a, b = (
        metrics.frechet_distance_infinity(jax.random.key(0), x, reference, parts=(1, 3))
        for reference in (y, metrics.feature_moments(y))
    )
    assert a.estimate == b.estimate
    np.testing.assert_allclose(a.values[0], metrics.frechet_distance(x, y), rtol=1e-10)


@pytest.mark.filterwarnings("ignore:features hold:RuntimeWarning")
def test_bad_arguments_are_named():
    x = np.random.default_rng(0).normal(size=(40, 6))
    key = jax.random.key(0)
    for parts in ((), (3,), (2, 2), (3, 1), (0, 4)):
        with pytest.raises(te.InputError, match="parts must be at least two integers"):
            metrics.frechet_distance_infinity(key, x, x, parts=parts)
    with pytest.raises(te.InputError, match=r"num_samples must be at least 60.* got 40"):
        metrics.frechet_distance_infinity(key, x, x, parts=(1, 30))
    with pytest.raises(te.InputError, match="reference must have 6 columns, got 5"):
        metrics.frechet_distance_infinity(key, x, x[:, :5])
    with pytest.raises(te.InputError, match="features must be finite"):
        metrics.frechet_distance_infinity(key, np.full((40, 6), np.inf), x)
    with pytest.raises(te.InputError, match="rng_key must be one key"):
        metrics.frechet_distance_infinity(7, x, x)
    with pytest.warns(RuntimeWarning, match="the smallest parts hold 4, no more than their dim"):
        metrics.frechet_distance_infinity(key, x, x)
