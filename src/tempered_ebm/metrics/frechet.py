"""Moments of features that come in batches, and the Fréchet distance between two sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks, _files
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import check_features, check_same_dimension


class FeatureMoments(NamedTuple):
    """Mean and covariance of feature vectors, from which a Fréchet distance is computed.

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
        """Unbiased covariance matrix of at least two vectors."""
        if self.num_vectors < 2:
            raise InputError(f"a covariance needs at least 2 vectors, got {self.num_vectors}")
        return self.sum_of_products / (self.num_vectors - 1)


def require_moments(name: str, moments: Any) -> FeatureMoments:
    """Return ``moments`` if they are feature moments.

    Raises:
        InputError: if they are not.
    """
    if not isinstance(moments, FeatureMoments):
        raise InputError(f"{name} must be FeatureMoments, got {_checks.describe(moments)}")
    return moments


def init_feature_moments(dimension: int) -> FeatureMoments:
    """Return the moments of no vector.

    Args:
        dimension: number d of features.

    Raises:
        InputError: if it is not a positive integer.

    Example:
        >>> from tempered_ebm import metrics
        >>> metrics.init_feature_moments(3).num_vectors
        0
    """
    _checks.at_least("dimension", dimension, 1)
    return FeatureMoments(0, np.zeros(dimension), np.zeros((dimension, dimension)))


def update_feature_moments(
    moments: FeatureMoments, features: Float[np.ndarray, "n d"]
) -> FeatureMoments:
    """Add a batch of vectors.

    Args:
        moments: those of the vectors before.
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
    require_moments("moments", moments)
    features = check_features("features", features, at_least=1)
    check_same_dimension("features", features.shape[1], len(moments.mean))
    mean = features.mean(axis=0)
    centred = features - mean
    batch = FeatureMoments(len(features), mean, centred.T @ centred)
    return merge_feature_moments(moments, batch)


def merge_feature_moments(first: FeatureMoments, second: FeatureMoments) -> FeatureMoments:
    r"""Return the moments of two sets together, from the moments of each.

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
    require_moments("first", first)
    require_moments("second", second)
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
    """Return the moments of a set of features, or of a stream of batches of them.

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
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise InputError(
            f"features must be an array (n, d) or batches of it, got {_checks.describe(features)}"
        )
    for batch in [features] if isinstance(features, np.ndarray) else features:
        batch = check_features("features", batch, at_least=1)
        moments = init_feature_moments(batch.shape[1]) if moments is None else moments
        moments = update_feature_moments(moments, batch)
    if moments is None:
        raise InputError("features must hold at least one batch, got none")
    return moments


def save_feature_moments(path: Path | str, moments: FeatureMoments) -> None:
    """Write reference statistics to an ``.npz`` file, whole or not at all.

    Args:
        path: the file, whose folder exists.
        moments: the moments.

    Raises:
        InputError: if ``moments`` are no moments.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from tempered_ebm import metrics
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "reference.npz"
        >>> metrics.save_feature_moments(path, metrics.feature_moments(np.eye(3)))
        >>> metrics.load_feature_moments(path).num_vectors
        3
    """
    require_moments("moments", moments)
    with _files.open_atomically(_checks.path("path", path)) as file:
        np.savez(file, **moments._asdict())


def load_feature_moments(path: Path | str) -> FeatureMoments:
    """Load reference statistics that ``save_feature_moments`` wrote.

    Args:
        path: the file.

    Raises:
        InputError: if the file is missing, damaged or pickled, or an array is missing,
            misshapen or not finite. The message names the file and the array.
    """
    arrays = _files.read_npz("reference statistics", _checks.path("path", path))
    for name in FeatureMoments._fields:
        if name not in arrays:
            found = ", ".join(sorted(arrays)) or "nothing"
            raise InputError(f"reference statistics {path} have no array {name}; found {found}")
    count, mean, products = (arrays[name] for name in FeatureMoments._fields)
    if count.shape != () or count.dtype.kind not in "iu" or count < 1:
        raise InputError(f"num_vectors in {path} must be an integer >= 1, got {count}")
    if mean.ndim != 1 or products.shape != 2 * mean.shape:
        raise InputError(
            f"mean and sum_of_products in {path} must have shapes (d,) and (d, d), got "
            f"{mean.shape} and {products.shape}"
        )
    for name, array in zip(FeatureMoments._fields[1:], (mean, products), strict=True):
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise InputError(f"{name} in {path} must be finite float64, got {array.dtype}")
    return FeatureMoments(int(count), mean, products)


def _factor(moments: FeatureMoments) -> Float[np.ndarray, "d r"]:
    """Return a factor L of the covariance, L L' = Σ, without directions that are rounding errors.

    A rounding error e of an eigenvalue is one of sqrt(e) in the distance, and in many
    dimensions there are many. The rank is below the number of vectors, and below what
    double precision resolves.
    """
    values, vectors = np.linalg.eigh(moments.covariance)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    kept[: max(len(values) - (moments.num_vectors - 1), 0)] = False
    return vectors[:, kept] * np.sqrt(values[kept])


def frechet_distance_from_moments(moments_a: FeatureMoments, moments_b: FeatureMoments) -> float:
    r"""Return the squared Fréchet distance between normals of given moments.

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{tr}\,\Sigma_a + \mathrm{tr}\,\Sigma_b
              - 2\,\|L_a^\top L_b\|_*, \qquad \Sigma = L L^\top,

    the formula of Dowson and Landau (1982), for the sum of singular values :math:`\|\cdot\|_*`
    equals :math:`\mathrm{tr}\,(\Sigma_a\Sigma_b)^{1/2}`. No root of a product of matrices is
    taken, so singular covariances lose no digits.

    Args:
        moments_a: mean and covariance of d features, of two vectors at least.
        moments_b: the same of another set.

    Returns:
        The distance, 0 for equal moments, never negative.

    Raises:
        InputError: if the dimensions differ or a set has fewer than two vectors.

    Warns:
        RuntimeWarning: if a set has no more vectors than dimensions: its covariance is
            singular, and the bias of the distance large.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> unit = metrics.FeatureMoments(101, np.zeros(2), 100 * np.eye(2))
        >>> wide = metrics.FeatureMoments(101, np.ones(2), 400 * np.eye(2))
        >>> round(metrics.frechet_distance_from_moments(unit, wide), 9)
        4.0
    """
    for name, moments in (("moments_a", moments_a), ("moments_b", moments_b)):
        if require_moments(name, moments).num_vectors < 2:
            raise InputError(f"{name} must be of at least 2 vectors, got {moments.num_vectors}")
    check_same_dimension("moments_b", len(moments_b.mean), len(moments_a.mean))
    return _distance(moments_a, moments_b, "moments_a", "moments_b")


def _distance(a: FeatureMoments, b: FeatureMoments, name_a: str, name_b: str) -> float:
    for name, moments in ((name_a, a), (name_b, b)):
        if moments.num_vectors <= len(moments.mean):
            warnings.warn(
                f"{name} holds {moments.num_vectors} vectors of dimension {len(moments.mean)}: "
                "the covariance is singular and the distance biased upwards; expected more "
                "vectors than dimensions, and better many more",
                RuntimeWarning,
                stacklevel=3,
            )
    return distance_to(b)(a)


def distance_to(reference: FeatureMoments) -> Callable[[FeatureMoments], float]:
    """Return the distance to one reference as a function of moments; factors it once."""
    factor, spread = _factor(reference), np.trace(reference.covariance)

    def distance(moments: FeatureMoments) -> float:
        difference = moments.mean - reference.mean
        cross = np.linalg.svd(_factor(moments).T @ factor, compute_uv=False).sum()
        trace = np.trace(moments.covariance) + spread - 2 * cross
        return float(max(difference @ difference + trace, 0.0))

    return distance


def frechet_distance(
    features_a: Float[np.ndarray, "n d"], features_b: Float[np.ndarray, "m d"]
) -> float:
    r"""Return the squared Fréchet distance between normals fitted to two feature sets.

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{tr}\,(\Sigma_a + \Sigma_b -
              2\,(\Sigma_a^{1/2}\Sigma_b\Sigma_a^{1/2})^{1/2})

    (Dowson and Landau 1982; Heusel et al. 2017, equation 6), with unbiased covariances, in
    float64 throughout. The estimate is biased upwards, the more so the smaller the sets:
    compare only sets of the same sizes, report the distance of real data to real data
    beside it, or use ``frechet_distance_infinity``.

    Args:
        features_a: shape (n, d).
        features_b: shape (m, d).

    Returns:
        The distance, 0 for equal sets.

    Raises:
        InputError: if a set is not a finite (n >= 2, d) array or the dimensions differ.

    Warns:
        RuntimeWarning: if a set has no more vectors than dimensions.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.metrics import frechet_distance
        >>> a = np.random.default_rng(0).normal(size=(100, 3))
        >>> abs(frechet_distance(a, a + 2.0) - 12.0) < 1e-9
        True
    """
    a, b = check_features("features_a", features_a), check_features("features_b", features_b)
    check_same_dimension("features_b", b.shape[1], a.shape[1])
    return _distance(feature_moments(a), feature_moments(b), "features_a", "features_b")
