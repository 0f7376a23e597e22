import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics


@pytest.fixture(scope="module")
def digits():
    return te.datasets.load_digits()


@pytest.fixture(scope="module")
def classifier(digits):
    return metrics.fit_classifier_features(digits.x_train, digits.y_train, num_steps=600)


def test_classifier_features_are_deterministic(digits):
    first, second = (
        metrics.fit_classifier_features(digits.x_train, digits.y_train, num_steps=40)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.features(digits.x_test), second.features(digits.x_test))


def test_a_classifier_knows_held_out_digits(digits, classifier):
    assert classifier.features(digits.x_test).shape == (len(digits.x_test), 32)
    assert np.mean(classifier.predict(digits.x_test) == digits.y_test) > 0.95


def test_pca_features_keep_the_most_variance_and_centre(digits):
    features = metrics.fit_pca_features(digits.x_train, 5)(digits.x_train)
    flat = digits.x_train.reshape(len(digits.x_train), -1).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1][:5]
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.cov(features, rowvar=False), np.diag(eigenvalues), atol=1e-6)


def test_features_tell_noise_from_digits(digits, classifier):
    features = classifier.features
    reference = features(digits.x_test)
    noise = np.random.default_rng(0).uniform(-1, 1, digits.x_train.shape).astype(np.float32)
    real = metrics.frechet_distance(features(digits.x_train), reference)
    assert real < 0.1 * metrics.frechet_distance(features(noise), reference)


def test_bad_labels_are_named(digits):
    with pytest.raises(te.InputError, match=r"labels must have shape \(1438,\)"):
        metrics.fit_classifier_features(digits.x_train, digits.y_test)
    with pytest.raises(te.InputError, match="at least two classes"):
        metrics.fit_classifier_features(digits.x_train[:3], np.zeros(3, int))
