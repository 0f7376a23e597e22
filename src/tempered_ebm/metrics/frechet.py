"""The Fréchet distance between two sets of feature vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from tempered_ebm.errors import InputError
from tempered_ebm.metrics.feature_sets import check_features, check_same_dimension
from tempered_ebm.metrics.moments import FeatureMoments, feature_moments


def _factor(moments: FeatureMoments) -> Float[np.ndarray, "d r"]:
    """A factor L of the covariance, L L' = Σ, without the directions that are rounding errors.

    A rounding error e of an eigenvalue is one of sqrt(e) in the distance, and in many
    dimensions there are many. The rank is below the number of vectors, and below what
    double precision resolves.
    """
    values, vectors = np.linalg.eigh(moments.covariance)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    kept[: max(len(values) - (moments.num_vectors - 1), 0)] = False
    return vectors[:, kept] * np.sqrt(values[kept])


def frechet_distance_from_moments(moments_a: FeatureMoments, moments_b: FeatureMoments) -> float:
    r"""Squared Fréchet distance between normals of given moments.

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
    check_same_dimension("moments_b", len(moments_b.mean), len(moments_a.mean))
    for name, moments in (("moments_a", moments_a), ("moments_b", moments_b)):
        if moments.num_vectors < 2:
            raise InputError(f"{name} must be of at least 2 vectors, got {moments.num_vectors}")
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
    """``frechet_distance_from_moments`` to one reference, factored once; without checks."""
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
    r"""Squared Fréchet distance between normals fitted to two feature sets.

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
