"""How far predicted probabilities are from the frequencies of being right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError


class Calibration(NamedTuple):
    """Reliability of the most probable class.

    Attributes:
        expected_error: expected calibration error: the distance of confidence and accuracy,
            averaged over examples, bin by bin.
        confidence: mean confidence in each bin, NaN where it is empty, (num_bins,).
        accuracy: fraction right in each bin, NaN where it is empty, (num_bins,).
        num_examples: in each bin, (num_bins,).
    """

    expected_error: float
    confidence: Float[np.ndarray, "num_bins"]
    accuracy: Float[np.ndarray, "num_bins"]
    num_examples: Int[np.ndarray, "num_bins"]


def calibration(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], *, num_bins: int = 15
) -> Calibration:
    r"""Expected calibration error over bins of equal width of the confidence.

    .. math:: ECE = \sum_b \frac{n_b}{n} |\text{accuracy}_b - \text{confidence}_b|

    (Guo et al. 2017, equation 3). Biased upwards where bins hold few examples.

    Args:
        probabilities: predicted, each row a distribution.
        labels: the truth.
        num_bins: number of bins of [0, 1].

    Raises:
        InputError: if labels and probabilities differ in number, or ``num_bins`` is below 1.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> sure = np.tile([0.9, 0.1], (10, 1))
        >>> labels = np.array([0] * 9 + [1])
        >>> round(metrics.calibration(sure, labels).expected_error, 6)
        0.0
    """
    checks.at_least("num_bins", num_bins, 1)
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not labels.size:
        raise InputError(
            f"labels must have shape {probabilities.shape[:1]}, one for each row of probabilities, "
            f"got {labels.shape}"
        )
    confidence = probabilities.max(1)
    is_right = probabilities.argmax(1) == labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, confidence, num_bins) / count
        accuracy = np.bincount(bins, is_right, num_bins) / count
    gaps = np.nan_to_num(np.abs(accuracy - mean_confidence))
    return Calibration(float(np.sum(count * gaps) / len(labels)), mean_confidence, accuracy, count)
