"""How well a score tells anomalies from normal data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tempered_ebm.errors import InputError


class Detection(NamedTuple):
    """How well anomalies are told from normal data by a score.

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
    r"""Areas under the precision-recall curve and the receiver operating characteristic.

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

    scores = [_checked("normal", normal), _checked("anomalous", anomalous)]
    n, m = map(len, scores)
    if prevalence is None:
        prevalence = m / (n + m)
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence must be between 0 and 1, both excluded, got {prevalence}")
    # Ranks, because infinite scores are scores.
    ranks = np.unique(np.concatenate(scores), return_inverse=True)[1]
    is_anomaly = np.repeat([0, 1], [n, m])
    weights = np.repeat([(1 - prevalence) / n, prevalence / m], [n, m])
    return Detection(
        float(average_precision_score(is_anomaly, ranks, sample_weight=weights)),
        float(roc_auc_score(is_anomaly, ranks)),
        float(prevalence),
    )


def _checked(name: str, scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not scores.size or np.isnan(scores).any():
        raise InputError(
            f"{name} must be a non-empty vector of scores without NaN, got shape {scores.shape} "
            f"with {np.isnan(scores).sum()} NaN"
        )
    return scores
