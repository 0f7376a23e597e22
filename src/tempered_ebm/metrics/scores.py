"""Scores of images: inception score, and peak signal-to-noise ratio."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tempered_ebm import _checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import check_features


class InceptionScore(NamedTuple):
    """Inception score over splits of a set of images.

    Attributes:
        mean: mean of the scores of the splits, between 1 and the number of classes.
        standard_deviation: of the scores of the splits, divided by their number and not by
            one less, as Salimans et al. report it. It is no standard error of the mean.
    """

    mean: float
    standard_deviation: float


def check_probabilities(
    name: str, probabilities: np.ndarray, *, at_least: int = 1
) -> Float[np.ndarray, "n c"]:
    """Return class probabilities in float64 if every row is a distribution.

    Args:
        name: the argument's name in errors.
        probabilities: shape (n, c).
        at_least: the smallest number of rows.

    Raises:
        InputError: if they are not a finite (n, c) array, or a row is negative somewhere or
            does not sum to 1 within 0.001.
    """
    array = check_features(name, probabilities, at_least=at_least)
    if array.min() < 0:
        row = int(np.argmin(array.min(axis=1)))
        raise InputError(f"{name} must not be negative, got {array.min():g} in row {row}")
    totals = array.sum(axis=1)
    worst = int(np.argmax(np.abs(totals - 1)))
    if abs(totals[worst] - 1) > 1e-3:
        raise InputError(f"{name} must sum to 1 in every row, got {totals[worst]:g} in row {worst}")
    return array / totals[:, None]


def score(probabilities: Float[np.ndarray, "n c"]) -> float:
    """Return the exponential of the mean divergence of rows from their mean; 0 log 0 is 0."""
    from scipy.special import rel_entr

    marginal = probabilities.mean(axis=0)
    return float(np.exp(rel_entr(probabilities, marginal).sum() / len(probabilities)))


def inception_score(
    probabilities: Float[np.ndarray, "n c"], *, num_splits: int = 10
) -> InceptionScore:
    r"""Return the inception score, large if a classifier is sure, and of many classes.

    .. math:: \exp\Big(\frac1n\sum_i \mathrm{KL}\big(p(y \mid x_i)\,\|\,p(y)\big)\Big), \qquad
              p(y) = \frac1n\sum_i p(y \mid x_i)

    (Salimans et al. 2016, section 4), of each of ``num_splits`` consecutive parts with a
    marginal of its own, then mean and standard deviation over the parts. The rows should be
    in random order. Each part is biased downwards by the noise of its marginal: compare only
    the same numbers of images and splits, or use ``inception_score_infinity``.

    Args:
        probabilities: class probabilities of n images, (n, c), rows summing to 1, such as those
            of ``ClassifierFeatures.probabilities``.
        num_splits: number of parts, 10 in the paper, of about equal size.

    Returns:
        Mean and standard deviation over the parts.

    Raises:
        InputError: if the rows are no distributions, or ``num_splits`` exceeds n.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> sure_of_four_classes = np.tile(np.eye(4), (25, 1))
        >>> mean, deviation = metrics.inception_score(sure_of_four_classes, num_splits=5)
        >>> round(mean, 9), round(deviation, 9)
        (4.0, 0.0)
    """
    _checks.at_least("num_splits", num_splits, 1)
    rows = check_probabilities("probabilities", probabilities)
    if num_splits > len(rows):
        raise InputError(f"num_splits must be at most {len(rows)}, one per image, got {num_splits}")
    scores = [score(part) for part in np.array_split(rows, num_splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def psnr(
    estimate: Float[np.ndarray, "n ..."],
    truth: Float[np.ndarray, "n ..."],
    *,
    dynamic_range: float = 2.0,
    where: Bool[np.ndarray, "n ..."] | None = None,
) -> Float[np.ndarray, "n"]:
    r"""Return the peak signal-to-noise ratio of every image, in dB.

    .. math:: PSNR = 10 \log_{10} \frac{R^2}{MSE}

    with the mean squared error over the pixels of one image.

    Args:
        estimate: images, in the units of ``dynamic_range``.
        truth: as many, in the same order.
        dynamic_range: R, largest minus smallest value that a pixel can have; 2 for [-1, 1].
        where: pixels that count; all by default.

    Returns:
        One value per image: infinite where the images are equal, NaN where no pixel counts.

    Raises:
        InputError: if shapes differ, ``where`` is not boolean, or R is not positive.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> truth = np.zeros((3, 8, 8, 1))
        >>> metrics.psnr(truth + 0.2, truth).round(6).tolist()
        [20.0, 20.0, 20.0]
    """
    _checks.positive("dynamic_range", dynamic_range)
    estimate = _checks.array("estimate", estimate, "images of real numbers").astype(np.float64)
    truth = _checks.array("truth", truth, "images of real numbers").astype(np.float64)
    if estimate.shape != truth.shape or truth.ndim < 2:
        raise InputError(
            f"estimate must have the shape of truth, {truth.shape}, led by the number of images, "
            f"got {estimate.shape}"
        )
    counts = np.ones(truth.shape, bool)
    if where is not None:
        counts = _checks.array("where", where, f"boolean of shape {truth.shape}")
    if counts.dtype != bool or counts.shape != truth.shape:
        raise InputError(
            f"where must be boolean of shape {truth.shape}, got {counts.dtype} of shape "
            f"{counts.shape}"
        )
    axes = tuple(range(1, truth.ndim))
    squares = np.sum((estimate - truth) ** 2, axes, where=counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(dynamic_range**2 * counts.sum(axes) / squares)
