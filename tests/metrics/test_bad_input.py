"""Every public function answers wrong objects with an error that names the argument."""

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics

BYTES = np.zeros((6, 4, 4, 1), np.uint8)
IMAGES = np.zeros((6, 4, 4, 1), np.float32)
RAGGED = [[0.0, 1.0], [2.0]]
GOOD = np.random.default_rng(0).normal(size=(20, 2))
ROWS = np.full((20, 2), 0.5)
KEY = jax.random.key(0)
MOMENTS = metrics.feature_moments(GOOD)
OF_FEATURES = {
    "features_a": lambda x: metrics.frechet_distance(x, GOOD),
    "features_b": lambda x: metrics.kernel_distance(GOOD, x),
    "features_b ": lambda x: metrics.kernel_distance_with_error(GOOD, x),
    "x": lambda x: metrics.energy_distance(x, GOOD),
    "y": lambda x: metrics.energy_distance(GOOD, x),
    "generated": lambda x: metrics.memorization_distance(x, GOOD),
    "training": lambda x: metrics.memorization_informed_frechet_distance(GOOD, GOOD, x),
    "features": lambda x: metrics.update_feature_moments(MOMENTS, x),
    "features ": lambda x: metrics.frechet_distance_infinity(KEY, x, GOOD),
    "reference": lambda x: metrics.frechet_distance_infinity(KEY, GOOD, x),
    "probabilities": lambda x: metrics.inception_score(x),
    "probabilities ": lambda x: metrics.inception_score_infinity(KEY, x),
    "probabilities  ": lambda x: metrics.calibration(x, np.zeros(2, int)),
    "normal": lambda x: metrics.detection(x, GOOD[:, 0]),
    "anomalous": lambda x: metrics.detection(GOOD[:, 0], x),
    "estimate": lambda x: metrics.psnr(x, IMAGES),
    "truth": lambda x: metrics.psnr(IMAGES, x),
}
OF_MOMENTS = {
    "moments_a": lambda x: metrics.frechet_distance_from_moments(x, MOMENTS),
    "moments_b": lambda x: metrics.frechet_distance_from_moments(MOMENTS, x),
    "moments": lambda x: metrics.update_feature_moments(x, GOOD),
    "moments ": lambda x: metrics.save_feature_moments("never.npz", x),
    "first": lambda x: metrics.merge_feature_moments(x, MOMENTS),
    "second": lambda x: metrics.merge_feature_moments(MOMENTS, x),
}


def fit(images, labels=None):
    return metrics.fit_classifier_features(images, np.arange(6) if labels is None else labels)


CASES = [
    *((f, "digits", f"{name.strip()} must be .*'digits'") for name, f in OF_FEATURES.items()),
    *((f, RAGGED, rf"{name.strip()} must be .*\[\[0") for name, f in OF_FEATURES.items()),
    *((f, None, f"{name.strip()} must be .*got") for name, f in OF_FEATURES.items()),
    *((f, GOOD, f"{name.strip()} must be FeatureMoments") for name, f in OF_MOMENTS.items()),
    *(
        (f, "m", f"{name.strip()} must be FeatureMoments, got 'm'")
        for name, f in OF_MOMENTS.items()
    ),
    *(
        (f, bad, r"images must be an array of floats in \[-1, 1\], got " + got)
        for f in (fit, metrics.fit_pca_features)
        for bad, got in ((BYTES, "uint8 of shape"), ("digits", "'digits'"), (RAGGED, r"\[\[0"))
    ),
    (lambda x: fit(IMAGES, x), RAGGED, r"labels must be integers from 0, .* got \[\[0"),
    (lambda x: fit(IMAGES, x), "012345", "labels must be integers from 0, .* got '012345'"),
    (lambda x: fit(IMAGES, x), np.zeros(6), "labels must be integers from 0, .* got float64 of"),
    (metrics.feature_moments, "features", "features must be an array .* got 'features'"),
    (metrics.feature_moments, RAGGED, r"features must have shape .* got \(2,\)"),
    (metrics.feature_moments, 3, "features must be an array .* got 3"),
    (metrics.init_feature_moments, "2", "dimension must be an integer >= 1, got '2'"),
    (metrics.load_feature_moments, 3, "path must be a path or a string, got 3"),
    (lambda x: metrics.save_feature_moments(x, MOMENTS), 3, "path must be a path or a string"),
    (metrics.read_weights, None, "path must be a path or a string, got None"),
    (metrics.inception_v3, BYTES, "weights_file must be a path or a string, got uint8 of shape"),
    (metrics.efficientnet_lite0, 3, "weights_file must be a path or a string, got 3"),
    (lambda x: metrics.calibration(ROWS, x), RAGGED, r"labels must be integers, .* got \[\[0"),
    (lambda x: metrics.calibration(ROWS, x), np.zeros(20), "labels must be integers.* float64"),
    (
        lambda x: metrics.detection(GOOD[:, 0], GOOD[:, 1], prevalence=x),
        "0.1",
        "prevalence must be",
    ),
    (lambda x: metrics.psnr(IMAGES, IMAGES, where=x), RAGGED, r"where must be boolean .*got \[\[0"),
    (lambda x: metrics.frechet_distance_infinity(KEY, GOOD, GOOD, parts=x), 5, "parts must be at"),
    (
        lambda x: metrics.inception_score_infinity(KEY, ROWS, parts=x),
        "ab",
        "parts must be at least",
    ),
    (lambda x: metrics.extrapolate_to_infinity(KEY, len, x), "40", "num_samples must be an int"),
    (lambda x: metrics.extrapolate_to_infinity(x, len, 40), "key", "rng_key must be one key"),
    (lambda x: metrics.inception_score(ROWS, num_splits=x), "2", "num_splits must be an integer"),
]


@pytest.mark.parametrize(("function", "bad", "message"), CASES)
def test_a_wrong_object_is_named_with_what_was_expected(function, bad, message):
    with pytest.raises(te.InputError, match=message):
        function(bad)


def test_features_of_bytes_are_refused(classifier, digits):
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    for features in (*classifier, metrics.fit_pca_features(digits.x_train[:50], 2)):
        with pytest.raises(te.InputError, match=r"images must be an array of floats in .*uint8"):
            features(pixels)
