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
