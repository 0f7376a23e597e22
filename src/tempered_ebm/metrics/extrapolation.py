"""Metrics of infinitely many samples, by extrapolation of a line in 1/N."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tempered_ebm import _checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import check_features, check_same_dimension
from tempered_ebm.metrics.frechet import FeatureMoments, distance_to, feature_moments
from tempered_ebm.metrics.scores import check_probabilities, score

PARTS = (1, 2, 3, 5, 10)
"""Numbers of equal parts that a set is divided into, one after another."""


class Extrapolation(NamedTuple):
    """A statistic of infinitely many samples.

    Attributes:
        estimate: intercept of the line, the value at 1/N = 0.
        standard_error: of the estimate, over draws of the whole set.
        slope: of the line in 1/N; slope / N is the bias of the statistic of N samples.
        sizes: mean sizes N of the parts, (k,).
        values: means of the statistic over the parts of each size, (k,).
    """

    estimate: float
    standard_error: float
    slope: float
    sizes: Float[np.ndarray, "k"]
    values: Float[np.ndarray, "k"]


def extrapolate_to_infinity(
    rng_key: Array | PRNGKeyArray,
    statistic: Callable[[Int[np.ndarray, "n"]], float],
    num_samples: int,
    *,
    parts: Sequence[int] = PARTS,
) -> Extrapolation:
    r"""Remove the bias of order 1/N of a statistic of samples.

    Chong and Forsyth (2020) fit :math:`T_N = T_\infty + s / N` by least squares to values of
    random subsets of several sizes. Here the samples are divided at random into b disjoint
    parts, for each b of ``parts``, and the mean over the b parts is the value at
    :math:`N = n / b`. So all samples count at every size, and the error that the samples
    have in common is the same at all of them.

    That error is measured by the parts of the finest division, which are independent:
    the standard error is their standard deviation over :math:`\sqrt{b}`. It has b - 1
    degrees of freedom, and errs on the large side where the statistic is of second order
    in the samples, as between sets of the same distribution.

    Args:
        rng_key: a key of ``jax.random``.
        statistic: indices of samples, (n,), to a number.
        num_samples: how many samples there are.
        parts: numbers of parts, increasing, at least two of them.

    Returns:
        The intercept, its standard error, and the points of the line.

    Raises:
        InputError: if ``parts`` do not increase strictly from 1 or more, there are fewer
            than two, or the finest division would have parts of fewer than two samples.

    Example:
        >>> import jax, numpy as np
        >>> from tempered_ebm import metrics
        >>> x = np.random.default_rng(0).normal(size=1000)
        >>> result = metrics.extrapolate_to_infinity(
        ...     jax.random.key(0), lambda index: np.var(x[index]), 1000
        ... )
        >>> abs(result.estimate - 1.0) < 3 * result.standard_error
        True
    """
    _checks.key("rng_key", rng_key)
    _checks.at_least("num_samples", num_samples, 1)
    numbers = _part_numbers(parts)
    if num_samples < 2 * numbers[-1]:
        raise InputError(
            f"num_samples must be at least {2 * numbers[-1]}, two for each of {numbers[-1]} "
            f"parts, got {num_samples}"
        )
    orders = np.asarray(_permutations(rng_key, len(numbers), num_samples))
    by_part = [
        [float(statistic(index)) for index in np.array_split(order, b)]
        for order, b in zip(orders, numbers, strict=True)
    ]
    sizes = num_samples / np.array(numbers, np.float64)
    values = np.array([np.mean(row) for row in by_part])
    slope, estimate = np.polyfit(1 / sizes, values, 1)
    error = np.std(by_part[-1], ddof=1) / math.sqrt(numbers[-1])
    return Extrapolation(float(estimate), float(error), float(slope), sizes, values)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _permutations(rng_key: Array, number: int, length: int) -> Int[Array, "number length"]:
    return jax.vmap(lambda key: jax.random.permutation(key, length))(
        jax.random.split(rng_key, number)
    )


def _part_numbers(parts: Sequence[int]) -> list[int]:
    try:
        numbers = [int(b) for b in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) < 2 or numbers[0] < 1 or any(b >= c for b, c in itertools.pairwise(numbers)):
        raise InputError(
            f"parts must be at least two integers that increase from 1 or more, got {parts!r}"
        )
    return numbers


def frechet_distance_infinity(
    rng_key: Array | PRNGKeyArray,
    features: Float[np.ndarray, "n d"],
    reference: FeatureMoments | Float[np.ndarray, "m d"],
    *,
    parts: Sequence[int] = PARTS,
) -> Extrapolation:
    """Return the Fréchet distance of infinitely many generated samples to a fixed reference.

    FID∞ of Chong and Forsyth (2020, section 4), fitted by ``extrapolate_to_infinity``. The
    reference is used whole, as in the paper, so that what its own size does to the distance
    remains; that is no bias where the reference statistics are the definition of the task.

    Args:
        rng_key: a key of ``jax.random``.
        features: of generated images, (n, d).
        reference: features of the reference images, or their moments.
        parts: numbers of parts the generated set is divided into.

    Returns:
        The distance, which may be negative within its error, the error, and the line.

    Raises:
        InputError: if features are not finite, or dimensions, sizes or parts do not fit.

    Warns:
        RuntimeWarning: if the smallest parts have no more vectors than dimensions: the bias
            is then no line in 1/N.

    Example:
        >>> import jax, numpy as np
        >>> from tempered_ebm import metrics
        >>> rng = np.random.default_rng(0)
        >>> a, b = rng.normal(size=(600, 4)), rng.normal(size=(20_000, 4))
        >>> limit = metrics.frechet_distance_infinity(jax.random.key(0), a, b)
        >>> bool(limit.estimate < limit.values[0] < limit.values[-1])
        True
    """
    features = check_features("features", features)
    if not isinstance(reference, FeatureMoments):
        reference = feature_moments(check_features("reference", reference))
    check_same_dimension("reference", len(reference.mean), features.shape[1])
    smallest = len(features) // _part_numbers(parts)[-1]
    if 2 <= smallest <= features.shape[1]:
        warnings.warn(
            f"features hold {len(features)} vectors, so the smallest parts hold {smallest}, no "
            f"more than their dimension {features.shape[1]}: the bias is no line in 1/N there; "
            "expected more vectors, or fewer parts",
            RuntimeWarning,
            stacklevel=2,
        )

    distance = distance_to(reference)
    return extrapolate_to_infinity(
        rng_key,
        lambda index: distance(feature_moments(features[index])),
        len(features),
        parts=parts,
    )


def inception_score_infinity(
    rng_key: Array | PRNGKeyArray,
    probabilities: Float[np.ndarray, "n c"],
    *,
    parts: Sequence[int] = PARTS,
) -> Extrapolation:
    """Return the inception score of infinitely many samples, without splits.

    IS∞ of Chong and Forsyth (2020, section 4), fitted by ``extrapolate_to_infinity``.

    Args:
        rng_key: a key of ``jax.random``.
        probabilities: class probabilities of n images, (n, c).
        parts: numbers of parts the set is divided into.

    Returns:
        The score, its standard error, and the line.

    Raises:
        InputError: if the rows are no distributions, or sizes or parts do not fit.

    Example:
        >>> import jax, numpy as np
        >>> from tempered_ebm import metrics
        >>> labels = np.random.default_rng(0).integers(0, 10, 2000)
        >>> limit = metrics.inception_score_infinity(jax.random.key(0), np.eye(10)[labels])
        >>> limit.values[-1] < limit.values[0] < 10 and abs(limit.estimate - 10) < 0.05
        True
    """
    rows = check_probabilities("probabilities", probabilities, at_least=2)
    return extrapolate_to_infinity(
        rng_key, lambda index: score(rows[index]), len(rows), parts=parts
    )
