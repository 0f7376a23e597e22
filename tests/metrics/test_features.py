import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics import classifier as classifiers
from tempered_ebm.metrics import features


def test_classifier_features_follow_from_the_seed_and_the_data(digits):
    changed = digits.x_train.copy()
    changed[:, 0, 0] += 0.5
    first, again, other_seed, other_data = (
        metrics.fit_classifier_features(images, digits.y_train, num_steps=10, seed=seed).features(
            digits.x_test
        )
        for images, seed in (
            (digits.x_train, 0),
            (digits.x_train, 0),
            (digits.x_train, 1),
            (changed, 0),
        )
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other_seed)
    assert not np.array_equal(first, other_data)


def test_a_second_classifier_of_the_same_shapes_is_not_compiled_again(digits):
    sizes = []
    for images, labels in (
        (digits.x_train, digits.y_train),
        (-digits.x_train, digits.y_train[::-1].copy()),
    ):
        metrics.fit_classifier_features(images, labels, num_steps=10).features(digits.x_test)
        sizes.append((classifiers._train._cache_size(), classifiers._outputs._cache_size()))
    assert sizes[0] == sizes[1]


def test_a_classifier_knows_held_out_digits(digits, classifier):
    assert classifier.features(digits.x_test).shape == (len(digits.x_test), 32)
    assert np.mean(classifier.predict(digits.x_test) == digits.y_test) > 0.95


def test_pca_features_keep_the_most_variance_and_centre(digits):
    found = metrics.fit_pca_features(digits.x_train, 5)(digits.x_train)
    flat = digits.x_train.reshape(len(digits.x_train), -1).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1][:5]
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.cov(found, rowvar=False), np.diag(eigenvalues), atol=1e-6)


def test_features_tell_noise_from_digits(digits, classifier):
    of = classifier.features
    reference = of(digits.x_test)
    noise = np.random.default_rng(0).uniform(-1, 1, digits.x_train.shape).astype(np.float32)
    real = metrics.frechet_distance(of(digits.x_train), reference)
    assert real < 0.1 * metrics.frechet_distance(of(noise), reference)


def test_bad_labels_are_named(digits):
    with pytest.raises(te.InputError, match=r"labels must have shape \(1438,\)"):
        metrics.fit_classifier_features(digits.x_train, digits.y_test)
    with pytest.raises(te.InputError, match="at least two classes"):
        metrics.fit_classifier_features(digits.x_train[:3], np.zeros(3, int))
    with pytest.raises(te.InputError, match=r"labels must be integers from 0, .* got -1"):
        metrics.fit_classifier_features(digits.x_train, digits.y_train - 1)
    with pytest.raises(te.InputError, match="num_steps must be an integer >= 1"):
        metrics.fit_classifier_features(digits.x_train, digits.y_train, num_steps=0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), r"images must have shape .* got \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 4), np.float32), r"images must have shape"),
        (np.zeros((0, 8, 8, 3), np.float32), r"images must have shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"floats in \[-1, 1\], got uint8 of shape"),
        (np.full((2, 8, 8, 3), 255.0), r"images must lie in \[-1, 1\], got values from 255"),
        (np.full((2, 8, 8, 3), np.nan), r"images must be finite, .* first in image 0"),
    ],
)
def test_bad_images_are_named(bad, message):
    with pytest.raises(te.InputError, match=message):
        features.check_images(bad, channels=(1, 3))


def test_batches_have_one_shape_and_compile_once():
    traces = []

    @jax.jit
    def apply(factor, x):
        traces.append(x.shape)
        return factor * x.sum(axis=(1, 2, 3))

    images = np.random.default_rng(0).normal(size=(7, 2, 2, 1)).astype(np.float32)
    for number in (7, 6, 3, 5):
        found = features.in_batches(apply, 2.0, images[:number], 3)
        np.testing.assert_allclose(found, 2 * images[:number].sum(axis=(1, 2, 3)), rtol=1e-5)
    assert traces == [(3, 2, 2, 1)]
    with pytest.raises(te.InputError, match="at least one image"):
        features.in_batches(apply, 2.0, images[:0], 3)
