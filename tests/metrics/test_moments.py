import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tempered_ebm as te
from tempered_ebm import metrics
from tests.metrics import checks_image_metrics as checks


def test_streamed_moments_are_those_of_the_whole():
    checks.streamed_moments_are_those_of_the_whole()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 10**6))
def test_any_division_gives_the_same_distance(sizes, seed):
    rng = np.random.default_rng(seed)
    features, other = rng.normal(size=(sum(sizes) + 5, 3)) + 5, rng.normal(size=(10, 3))
    parts = np.split(features, np.cumsum(sizes))
    streamed = metrics.feature_moments(iter(parts))
    np.testing.assert_allclose(
        metrics.frechet_distance_from_moments(streamed, metrics.feature_moments(other)),
        metrics.frechet_distance(features, other),
        rtol=1e-9,
    )


def test_no_vectors_are_neutral():
    empty, some = metrics.init_feature_moments(2), metrics.feature_moments(np.eye(2))
    for merged in (
        metrics.merge_feature_moments(empty, some),
        metrics.merge_feature_moments(some, empty),
    ):
        assert merged is some


def test_bad_batches_are_named():
    moments = metrics.init_feature_moments(3)
    with pytest.raises(te.InputError, match="features must have 3 columns, got 2"):
        metrics.update_feature_moments(moments, np.zeros((4, 2)))
    with pytest.raises(te.InputError, match="first in row 1"):
        metrics.update_feature_moments(moments, np.array([[0.0] * 3, [np.inf] * 3]))
    with pytest.raises(te.InputError, match="second must have 3 columns, got 2"):
        metrics.merge_feature_moments(moments, metrics.init_feature_moments(2))
    with pytest.raises(te.InputError, match="at least one batch"):
        metrics.feature_moments(iter(()))
    with pytest.raises(te.InputError, match="at least 2 vectors, got 0"):
        _ = moments.covariance
    with pytest.raises(te.InputError, match="dimension must be an integer >= 1"):
        metrics.init_feature_moments(0)
    one, two = metrics.feature_moments(np.eye(2)[:1]), metrics.feature_moments(np.eye(2))
    with pytest.raises(te.InputError, match="moments_b must be of at least 2 vectors, got 1"):
        metrics.frechet_distance_from_moments(two, one)


def test_reference_statistics_survive_a_file(tmp_path):
    path = tmp_path / "reference.npz"
    moments = metrics.feature_moments(np.random.default_rng(0).normal(size=(9, 4)))
    metrics.save_feature_moments(path, moments)
    loaded = metrics.load_feature_moments(path)
    assert loaded.num_vectors == 9
    np.testing.assert_array_equal(loaded.mean, moments.mean)
    np.testing.assert_array_equal(loaded.sum_of_products, moments.sum_of_products)
    assert [file.name for file in tmp_path.iterdir()] == ["reference.npz"]


def test_damaged_reference_statistics_are_named(tmp_path):
    path = tmp_path / "reference.npz"
    with pytest.raises(te.InputError, match=r"reference.npz does not exist"):
        metrics.load_feature_moments(path)
    metrics.save_feature_moments(path, metrics.feature_moments(np.eye(4)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(te.InputError, match=r"reference.npz cannot be read as an .npz archive"):
        metrics.load_feature_moments(path)
    np.savez(path, mean=np.zeros(2))
    with pytest.raises(te.InputError, match="have no array num_vectors; found mean"):
        metrics.load_feature_moments(path)
    np.savez(path, num_vectors=3, mean=np.zeros(2), sum_of_products=np.zeros((3, 3)))
    with pytest.raises(te.InputError, match=r"shapes \(d,\) and \(d, d\), got \(2,\) and \(3, 3\)"):
        metrics.load_feature_moments(path)
    np.savez(path, num_vectors=3, mean=np.full(2, np.nan), sum_of_products=np.zeros((2, 2)))
    with pytest.raises(te.InputError, match=r"mean in .* must be finite float64"):
        metrics.load_feature_moments(path)
    np.savez(path, num_vectors=2.5, mean=np.zeros(2), sum_of_products=np.zeros((2, 2)))
    with pytest.raises(te.InputError, match=r"num_vectors in .* must be an integer >= 1, got 2.5"):
        metrics.load_feature_moments(path)


def test_pickled_reference_statistics_are_refused(tmp_path):
    path = tmp_path / "reference.npz"
    np.savez(path, num_vectors=np.array([{}], dtype=object))
    with pytest.raises(te.InputError, match="pickled objects, which are never loaded"):
        metrics.load_feature_moments(path)
