import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics


def test_it_is_the_closed_form_image_by_image():
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
def test_bad_input_is_named(arguments, message):
    estimate = arguments.pop("estimate", np.zeros((2, 4)))
    with pytest.raises(te.InputError, match=message):
        metrics.psnr(estimate, np.zeros((2, 4)), **arguments)
