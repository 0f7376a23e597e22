"""Quality of predictions: calibration of class probabilities, and detection of anomalies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tempered_ebm import _checks
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
    r"""Return the expected calibration error over bins of equal width of the confidence.

    .. math:: ECE = \sum_b \frac{n_b}{n} |\text{accuracy}_b - \text{confidence}_b|

    (Guo et al. 2017, equation 3). Biased upwards where bins hold few examples.

    Args:
        probabilities: predicted, each row a distribution.
        labels: the truth.
        num_bins: number of bins of [0, 1].

    Raises:
        InputError: if labels and probabilities differ in number, are no numbers, or ``num_bins`` is
            below 1.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> sure = np.tile([0.9, 0.1], (10, 1))
        >>> labels = np.array([0] * 9 + [1])
        >>> round(metrics.calibration(sure, labels).expected_error, 6)
        0.0
    """
    _checks.at_least("num_bins", num_bins, 1)
    probabilities = _checks.array("probabilities", probabilities, "real numbers of shape (n, c)")
    labels = _checks.array("labels", labels, "integers, one for each row of probabilities", "iu")
    probabilities = probabilities.astype(np.float64)
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


class Detection(NamedTuple):
    """Areas under the curves of a detector of anomalies.

    Attributes:
        precision_recall: area under the precision-recall curve of the anomalies, as average
            precision. A score without information gets the prevalence.
        roc: area under the receiver operating characteristic: the probability that an anomaly
            scores above a normal example. It does not depend on the prevalence.
        prevalence: fraction of anomalies that ``precision_recall`` is for.
    """

    precision_recall: float
    roc: float
    prevalence: float


def detection(
    normal: Float[np.ndarray, "n"],
    anomalous: Float[np.ndarray, "m"],
    *,
    prevalence: float | None = None,
) -> Detection:
    r"""Return the areas under the precision-recall curve and the receiver operating characteristic.

    With true and false positive rates :math:`T(s), F(s)` at the threshold s and prevalence
    :math:`\pi`, precision is :math:`\pi T / (\pi T + (1 - \pi) F)`. It depends on :math:`\pi`,
    so that values of studies with other mixtures of examples cannot be compared before
    :math:`\pi` is made the same, which needs no other examples.

    Args:
        normal: scores of normal examples.
        anomalous: scores of anomalies; they should be larger. Infinite scores are allowed.
        prevalence: fraction of anomalies; that of the examples by default.

    Raises:
        InputError: if a set is empty or has a NaN, or the prevalence is not between 0 and 1.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> found = metrics.detection(np.array([0.0, 1.0, 2.0]), np.array([1.5, 3.0]))
        >>> round(found.roc, 3), round(found.precision_recall, 3), found.prevalence
        (0.833, 0.833, 0.4)
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = [_check_scores("normal", normal), _check_scores("anomalous", anomalous)]
    n, m = map(len, scores)
    if prevalence is None:
        prevalence = m / (n + m)
    if not isinstance(prevalence, int | float | np.number) or not 0 < prevalence < 1:
        raise InputError(f"prevalence must be between 0 and 1, both excluded, got {prevalence}")
    # Scores may be infinite, which scikit-learn refuses; their ranks have the same curves.
    ranks = np.unique(np.concatenate(scores), return_inverse=True)[1]
    is_anomaly = np.repeat([0, 1], [n, m])
    weights = np.repeat([(1 - prevalence) / n, prevalence / m], [n, m])
    return Detection(
        float(average_precision_score(is_anomaly, ranks, sample_weight=weights)),
        float(roc_auc_score(is_anomaly, ranks)),
        float(prevalence),
    )


def _check_scores(name: str, scores: np.ndarray) -> np.ndarray:
    scores = _checks.array(name, scores, "a vector of scores").astype(np.float64)
    if scores.ndim != 1 or not scores.size or np.isnan(scores).any():
        raise InputError(
            f"{name} must be a non-empty vector of scores without NaN, got shape {scores.shape} "
            f"with {np.isnan(scores).sum()} NaN"
        )
    return scores
