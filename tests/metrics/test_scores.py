import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tempered_ebm as te
from tempered_ebm import metrics
from tests.metrics import checks_image_metrics as checks


def test_it_agrees_with_the_definition_split_by_split():
    checks.inception_score_agrees_with_the_definition()


@pytest.mark.parametrize("num_classes", [1, 2, 7])
def test_closed_forms(num_classes):
    sure = np.tile(np.eye(num_classes), (6, 1))
    np.testing.assert_allclose(metrics.inception_score(sure, num_splits=6), (num_classes, 0))
    unsure = np.full((30, num_classes), 1 / num_classes)
    np.testing.assert_allclose(metrics.inception_score(unsure), (1, 0), atol=1e-12)


def test_one_class_alone_scores_one():
    np.testing.assert_allclose(metrics.inception_score(np.eye(5)[np.full(20, 3)]), (1, 0))


def test_splits_are_consecutive_and_their_deviation_is_over_their_number():
    """Two splits of scores 2 and 1: mean 1.5, deviation 0.5."""
    rows = np.concatenate([np.tile(np.eye(2), (2, 1)), np.tile(np.eye(2)[:1], (4, 1))])
    np.testing.assert_allclose(metrics.inception_score(rows, num_splits=2), (1.5, 0.5))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.floats(0.05, 5.0), st.integers(0, 10**6))
def test_bounds(num_classes, n, concentration, seed):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(num_classes, concentration), n)
    score = metrics.inception_score(rows, num_splits=1)
    assert 1 - 1e-12 <= score.mean <= num_classes + 1e-9
    assert score.standard_deviation == 0
    classes = rng.permutation(num_classes)
    np.testing.assert_allclose(metrics.inception_score(rows[:, classes], num_splits=1), score)


def test_probabilities_of_a_trained_classifier_are_scored(digits, classifier):
    probabilities = classifier.probabilities(digits.x_test)
    np.testing.assert_array_equal(probabilities.argmax(1), classifier.predict(digits.x_test))
    score = metrics.inception_score(probabilities, num_splits=5)
    noise = np.random.default_rng(0).uniform(-1, 1, digits.x_test.shape).astype(np.float32)
    assert metrics.inception_score(classifier.probabilities(noise), num_splits=5).mean < score.mean
    assert 7 < score.mean <= 10


def test_bad_probabilities_are_named():
    good = np.full((4, 2), 0.5)
    with pytest.raises(te.InputError, match="must sum to 1 in every row, got 2 in row 3"):
        metrics.inception_score(np.where(np.arange(4)[:, None] == 3, 1.0, good), num_splits=1)
    with pytest.raises(te.InputError, match=r"must not be negative, got -0.5 in row 0"):
        metrics.inception_score(np.array([[-0.5, 1.5]]), num_splits=1)
    with pytest.raises(te.InputError, match="must be finite"):
        metrics.inception_score(np.full((4, 2), np.nan), num_splits=1)
    with pytest.raises(te.InputError, match=r"probabilities must have shape .* got \(4,\)"):
        metrics.inception_score(np.ones(4))
    with pytest.raises(te.InputError, match="num_splits must be at most 4, one per image, got 5"):
        metrics.inception_score(good, num_splits=5)
    with pytest.raises(te.InputError, match="num_splits must be an integer >= 1"):
        metrics.inception_score(good, num_splits=0)


def test_the_psnr_is_the_closed_form_image_by_image():
    """MSE of 0.04 and of 0.01 at a dynamic range of 2: 20 dB, and 6.02 more."""
    truth = np.random.default_rng(0).uniform(-1, 1, (2, 5, 4, 3))
    error = np.array([0.2, -0.1]).reshape(2, 1, 1, 1)
    expected = [20.0, 10 * np.log10(400)]
    np.testing.assert_allclose(metrics.psnr(truth + error, truth), expected)
    np.testing.assert_allclose(
        metrics.psnr(truth + error, truth, dynamic_range=1.0), np.array(expected) - 10 * np.log10(4)
    )


def test_only_the_pixels_that_count_count():
    truth, estimate = np.zeros((3, 2, 2, 1)), np.zeros((3, 2, 2, 1))
    estimate[:, 0] = 5.0
    estimate[:, 1] = 0.2
    where = np.zeros(truth.shape, bool)
    where[0, 1] = True
    where[1, 1, 0] = True
    np.testing.assert_allclose(metrics.psnr(estimate, truth, where=where), [20.0, 20.0, np.nan])
    assert np.all(np.isposinf(metrics.psnr(truth, truth)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimate": np.zeros((2, 3))}, r"estimate must have the shape of truth, \(2, 4\)"),
        ({"dynamic_range": 0.0}, "dynamic_range must be positive"),
        ({"where": np.ones((2, 4))}, r"where must be boolean of shape \(2, 4\), got float64"),
    ],
)
def test_bad_images_of_a_psnr_are_named(arguments, message):
    estimate = arguments.pop("estimate", np.zeros((2, 4)))
    with pytest.raises(te.InputError, match=message):
        metrics.psnr(estimate, np.zeros((2, 4)), **arguments)
