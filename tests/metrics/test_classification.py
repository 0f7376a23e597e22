import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics


def test_the_error_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 300)
    labels = rng.integers(0, 4, 300)
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1)
        if inside.any():
            gap = abs(is_right[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    found = metrics.calibration(probabilities, labels, num_bins=10)
    assert found.expected_error == pytest.approx(expected)
    assert found.num_examples.sum() == 300


def test_labels_drawn_from_the_probabilities_are_calibrated():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(3), 100_000)
    labels = (rng.uniform(size=(100_000, 1)) > probabilities.cumsum(1)).sum(1)
    assert metrics.calibration(probabilities, labels).expected_error < 0.01
    sharper = probabilities**3 / (probabilities**3).sum(1, keepdims=True)
    assert metrics.calibration(sharper, labels).expected_error > 0.1


def test_certainty_falls_into_the_last_bin():
    found = metrics.calibration(np.eye(2), np.array([0, 0]), num_bins=4)
    assert found.num_examples.tolist() == [0, 0, 0, 2]
    assert found.expected_error == 0.5
    assert np.isnan(found.accuracy[0])


def test_labels_of_another_number_are_named():
    with pytest.raises(te.InputError, match=r"labels must have shape \(2,\)"):
        metrics.calibration(np.eye(2), np.array([0]))


def by_definition(normal, anomalous, prevalence):
    """Sums over thresholds, from the highest score down."""
    area, recall = 0.0, 0.0
    for threshold in np.unique(np.concatenate([normal, anomalous]))[::-1]:
        true, false = np.mean(anomalous >= threshold), np.mean(normal >= threshold)
        precision = prevalence * true / (prevalence * true + (1 - prevalence) * false)
        area, recall = area + (true - recall) * precision, true
    pairs = anomalous[:, None] - normal
    return area, np.mean((pairs > 0) + 0.5 * (pairs == 0))


@pytest.mark.parametrize("prevalence", [None, 0.1, 0.7])
def test_the_areas_are_those_of_their_definitions(prevalence):
    rng = np.random.default_rng(0)
    normal, anomalous = rng.normal(size=80).round(1), rng.normal(0.7, 1, 30).round(1)
    got = metrics.detection(normal, anomalous, prevalence=prevalence)
    expected = by_definition(normal, anomalous, prevalence or 30 / 110)
    np.testing.assert_allclose([got.precision_recall, got.roc], expected, rtol=1e-12)
    assert got.prevalence == pytest.approx(prevalence or 30 / 110)


def test_another_prevalence_is_that_of_repeated_examples():
    rng = np.random.default_rng(1)
    normal, anomalous = rng.normal(size=40), rng.normal(1, 1, 40)
    repeated = metrics.detection(np.tile(normal, 9), anomalous)
    asked = metrics.detection(normal, anomalous, prevalence=0.1)
    np.testing.assert_allclose(repeated, asked, rtol=1e-12)


def test_a_perfect_score_and_its_opposite():
    low, high = np.arange(5.0), np.arange(10.0, 13.0)
    assert metrics.detection(low, high)[:2] == (1.0, 1.0)
    assert metrics.detection(high, low).roc == 0.0


def test_infinite_scores_rank_last_and_first():
    normal, anomalous = np.array([0.0, -np.inf]), np.array([np.inf, 1.0])
    assert metrics.detection(normal, anomalous).roc == 1.0


@pytest.mark.parametrize(
    ("normal", "anomalous", "prevalence", "message"),
    [
        ([], [1.0], None, "normal must be a non-empty vector of scores"),
        ([1.0], [np.nan], None, "anomalous must be a non-empty vector .* with 1 NaN"),
        ([[1.0]], [1.0], None, r"normal must be .* got shape \(1, 1\)"),
        ([1.0], [2.0], 1.0, "prevalence must be between 0 and 1, both excluded, got 1.0"),
    ],
)
def test_bad_scores_are_named(normal, anomalous, prevalence, message):
    with pytest.raises(te.InputError, match=message):
        metrics.detection(np.array(normal), np.array(anomalous), prevalence=prevalence)
