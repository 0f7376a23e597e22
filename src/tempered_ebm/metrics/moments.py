"""Mean and covariance of features that come in batches, in double precision."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.archives import read_archive, write_archive
from tempered_ebm.metrics.feature_sets import check_features, check_same_dimension

_NAMES = ("num_vectors", "mean", "sum_of_products")


class FeatureMoments(NamedTuple):
    """Mean and covariance of feature vectors: all that a Fréchet distance asks of a set.

    Attributes:
        num_vectors: number of vectors seen.
        mean: their mean, (d,), float64.
        sum_of_products: their summed outer products of deviations from the mean, (d, d).
    """

    num_vectors: int
    mean: Float[np.ndarray, "d"]
    sum_of_products: Float[np.ndarray, "d d"]

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Unbiased covariance matrix; asks for two vectors at least."""
        if self.num_vectors < 2:
            raise InputError(f"a covariance asks for at least 2 vectors, got {self.num_vectors}")
        return self.sum_of_products / (self.num_vectors - 1)


def init_feature_moments(dimension: int) -> FeatureMoments:
    """Moments of no vector yet.

    Args:
        dimension: number d of features.

    Raises:
        InputError: if it is not a positive integer.

    Example:
        >>> from tempered_ebm import metrics
        >>> metrics.init_feature_moments(3).num_vectors
        0
    """
    checks.at_least("dimension", dimension, 1)
    return FeatureMoments(0, np.zeros(dimension), np.zeros((dimension, dimension)))


def update_feature_moments(
    moments: FeatureMoments, features: Float[np.ndarray, "n d"]
) -> FeatureMoments:
    """Add a batch of vectors.

    Args:
        moments: what was seen before.
        features: shape (n, d), any n from 1.

    Raises:
        InputError: if the features are not a finite (n >= 1, d) array of the same d.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> moments = metrics.init_feature_moments(1)
        >>> for batch in ([[1.0], [2.0]], [[6.0]]):
        ...     moments = metrics.update_feature_moments(moments, np.array(batch))
        >>> float(moments.mean[0]), float(moments.covariance[0, 0])
        (3.0, 7.0)
    """
    features = check_features("features", features, at_least=1)
    check_same_dimension("features", features.shape[1], len(moments.mean))
    mean = features.mean(axis=0)
    centred = features - mean
    batch = FeatureMoments(len(features), mean, centred.T @ centred)
    return merge_feature_moments(moments, batch)


def merge_feature_moments(first: FeatureMoments, second: FeatureMoments) -> FeatureMoments:
    r"""Moments of two sets together, from the moments of each.

    .. math:: M = M_1 + M_2 + \frac{n_1 n_2}{n_1 + n_2}\,\delta\delta^\top, \qquad
              \delta = \mu_2 - \mu_1

    for summed products :math:`M` (Chan, Golub and LeVeque 1983, equations 2.1). Exact up to
    rounding, whatever the order.

    Raises:
        InputError: if the dimensions differ.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> halves = [metrics.feature_moments(x) for x in (np.eye(2), 3 * np.eye(2))]
        >>> metrics.merge_feature_moments(*halves).mean
        array([1., 1.])
    """
    check_same_dimension("second", len(second.mean), len(first.mean))
    if first.num_vectors == 0 or second.num_vectors == 0:
        return second if first.num_vectors == 0 else first
    num_vectors = first.num_vectors + second.num_vectors
    difference = second.mean - first.mean
    weight = second.num_vectors / num_vectors
    return FeatureMoments(
        num_vectors,
        first.mean + weight * difference,
        first.sum_of_products
        + second.sum_of_products
        + first.num_vectors * weight * np.outer(difference, difference),
    )


def feature_moments(
    features: Float[np.ndarray, "n d"] | Iterable[Float[np.ndarray, "n d"]],
) -> FeatureMoments:
    """Moments of a set of features, or of a stream of batches of them.

    Args:
        features: an array (n, d), or batches of that shape, which are not kept.

    Raises:
        InputError: if a batch is not a finite (n >= 1, d) array or there is none.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> batches = (np.full((4, 2), float(i)) for i in range(3))
        >>> metrics.feature_moments(batches).num_vectors
        12
    """
    moments = None
    for batch in [features] if isinstance(features, np.ndarray) else features:
        batch = check_features("features", batch, at_least=1)
        moments = init_feature_moments(batch.shape[1]) if moments is None else moments
        moments = update_feature_moments(moments, batch)
    if moments is None:
        raise InputError("features must hold at least one batch, got none")
    return moments


def save_feature_moments(path: Path | str, moments: FeatureMoments) -> None:
    """Keep reference statistics in an ``.npz`` file, written whole or not at all.

    Args:
        path: the file, whose folder exists.
        moments: what to write.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from tempered_ebm import metrics
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "reference.npz"
        >>> metrics.save_feature_moments(path, metrics.feature_moments(np.eye(3)))
        >>> metrics.load_feature_moments(path).num_vectors
        3
    """
    arrays = (np.int64(moments.num_vectors), moments.mean, moments.sum_of_products)
    write_archive(path, {k: np.asarray(v) for k, v in zip(_NAMES, arrays, strict=True)})


def load_feature_moments(path: Path | str) -> FeatureMoments:
    """Load reference statistics that ``save_feature_moments`` wrote.

    Args:
        path: the file.

    Raises:
        InputError: if the file is missing, damaged or pickled, or an array is missing,
            misshapen or not finite. The message names the file and the array.
    """
    arrays = read_archive("reference statistics", path)
    for name in _NAMES:
        if name not in arrays:
            found = ", ".join(sorted(arrays)) or "nothing"
            raise InputError(f"reference statistics {path} have no array {name}; found {found}")
    count, mean, products = (arrays[name] for name in _NAMES)
    if count.shape != () or count.dtype.kind not in "iu" or count < 1:
        raise InputError(f"num_vectors in {path} must be an integer >= 1, got {count}")
    if mean.ndim != 1 or products.shape != 2 * mean.shape:
        raise InputError(
            f"mean and sum_of_products in {path} must have shapes (d,) and (d, d), got "
            f"{mean.shape} and {products.shape}"
        )
    for name, array in zip(_NAMES[1:], (mean, products), strict=True):
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise InputError(f"{name} in {path} must be finite float64, got {array.dtype}")
    return FeatureMoments(int(count), mean, products)
