"""Kernel distance with its standard error, and energy distance, between two sets of vectors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import check_features, check_same_dimension

_ROWS = 256


class KernelDistance(NamedTuple):
    """An estimate of the squared maximum mean discrepancy.

    Attributes:
        estimate: the unbiased estimate, which may be negative.
        standard_error: of the estimate, over draws of both sets.
    """

    estimate: float
    standard_error: float


class _Sums(NamedTuple):
    """Sums over a matrix of kernel values: by row, by column, and of squares."""

    rows: Float[np.ndarray, "n"]
    columns: Float[np.ndarray, "m"]
    squares: float


def _kernel_sums(x: np.ndarray, y: np.ndarray, *, within: bool) -> _Sums:
    """Sum the kernel in blocks of rows, to save memory; within one set, without the diagonal."""
    rows, columns, squares = [], np.zeros(len(y)), 0.0
    for i in range(0, len(x), _ROWS):
        block = (x[i : i + _ROWS] @ y.T / x.shape[1] + 1.0) ** 3
        if within:
            np.fill_diagonal(block[:, i:], 0.0)
        rows.append(block.sum(axis=1))
        columns += block.sum(axis=0)
        squares += float(np.vdot(block, block))
    return _Sums(np.concatenate(rows), columns, squares)


def _interaction_within(sums: _Sums) -> float:
    """Return an unbiased mean square of k(a, a') less what is due to a or to a' alone."""
    n, total = len(sums.rows), sums.rows.sum()
    squares = sums.squares - 2 * sums.rows @ sums.rows / (n - 2)
    return (squares + total**2 / ((n - 1) * (n - 2))) / (n * (n - 3))


def _interaction_between(sums: _Sums) -> float:
    """Return an unbiased mean square of k(a, b) less what is due to a or to b alone."""
    n, m, total = len(sums.rows), len(sums.columns), sums.rows.sum()
    squares = sums.squares - sums.rows @ sums.rows / m - sums.columns @ sums.columns / n
    return (squares + total**2 / (n * m)) / ((n - 1) * (m - 1))


def _sampling_variances(within_a: _Sums, within_b: _Sums, between: _Sums) -> tuple[float, float]:
    """Return unbiased variances: due to single vectors, and due to pairs."""
    n, m = len(between.rows), len(between.columns)
    pairs_a, pairs_b = _interaction_within(within_a), _interaction_within(within_b)
    pairs_ab = _interaction_between(between)
    slopes_a = within_a.rows / (n - 2) - between.rows / m
    slopes_b = within_b.rows / (m - 2) - between.columns / n
    alone_a = slopes_a.var(ddof=1) - pairs_a / (n - 2) - pairs_ab / m
    alone_b = slopes_b.var(ddof=1) - pairs_b / (m - 2) - pairs_ab / n
    pairs = 2 * pairs_a / (n * (n - 1)) + 2 * pairs_b / (m * (m - 1)) + 4 * pairs_ab / (n * m)
    return float(4 * alone_a / n + 4 * alone_b / m), float(pairs)


def _estimate(within_a: _Sums, within_b: _Sums, between: _Sums) -> float:
    n, m = len(between.rows), len(between.columns)
    a, b = within_a.rows.sum() / (n * (n - 1)), within_b.rows.sum() / (m * (m - 1))
    return float(a + b - 2 * between.rows.sum() / (n * m))


def _all_sums(
    features_a: np.ndarray, features_b: np.ndarray, at_least: int
) -> tuple[_Sums, _Sums, _Sums]:
    a = check_features("features_a", features_a, at_least=at_least)
    b = check_features("features_b", features_b, at_least=at_least)
    check_same_dimension("features_b", b.shape[1], a.shape[1])
    return (
        _kernel_sums(a, a, within=True),
        _kernel_sums(b, b, within=True),
        _kernel_sums(a, b, within=False),
    )


def kernel_distance(
    features_a: Float[np.ndarray, "n d"],
    features_b: Float[np.ndarray, "m d"],
) -> float:
    r"""Return the kernel inception distance, an unbiased squared maximum mean discrepancy.

    With the cubic kernel :math:`k(x, y) = (x \cdot y / d + 1)^3` (Bińkowski et al. 2018,
    section 4), estimated by the U-statistic of Gretton et al. (2012, lemma 6)

    .. math:: \frac{\sum_{i\ne j} k(a_i, a_j)}{n(n-1)} + \frac{\sum_{i\ne j} k(b_i, b_j)}{m(m-1)}
              - \frac{2}{nm}\sum_{i,j} k(a_i, b_j).

    Being unbiased it may come out negative for sets of the same distribution.

    Args:
        features_a: shape (n, d).
        features_b: shape (m, d).

    Raises:
        InputError: if a set is not a finite (n >= 2, d) array or the dimensions differ.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.metrics import kernel_distance
        >>> rng = np.random.default_rng(0)
        >>> a, b = rng.normal(size=(500, 3)), rng.normal(size=(500, 3))
        >>> kernel_distance(a, b) < kernel_distance(a, b + 1.0)
        True
    """
    return _estimate(*_all_sums(features_a, features_b, 2))


def kernel_distance_with_error(
    features_a: Float[np.ndarray, "n d"],
    features_b: Float[np.ndarray, "m d"],
) -> KernelDistance:
    r"""Return the kernel inception distance of all features, with its standard error.

    The error is in closed form. Hoeffding (1948) splits the variance of a U-statistic into parts
    due to single vectors and parts due to pairs. With :math:`f(a) = E\,k(a, a') - E\,k(a, b)`,
    :math:`g(b)` likewise, and :math:`\tilde k` the kernel less what is due to one argument alone,

    .. math:: \mathrm{Var} = \frac{4}{n}\mathrm{Var} f + \frac{4}{m}\mathrm{Var} g
              + \frac{2 E\tilde k_{aa}^2}{n(n-1)} + \frac{2 E\tilde k_{bb}^2}{m(m-1)}
              + \frac{4 E\tilde k_{ab}^2}{nm}.

    Each part is estimated without bias from all kernel values, the mean squares of
    :math:`\tilde k` by U-centring (Székely and Rizzo 2014) and by a two-way layout; of
    single vectors or of pairs, a negative estimate counts as 0. Where both sets have the same
    law only the pairs are left, and the error is somewhat large. The scatter over subsets
    that is often reported is that of smaller sets, and not the error of the estimate.

    Args:
        features_a: shape (n >= 4, d).
        features_b: shape (m >= 4, d).

    Returns:
        The same estimate as ``kernel_distance``, and its standard error.

    Raises:
        InputError: if a set is not a finite (n >= 4, d) array or the dimensions differ.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.metrics import kernel_distance_with_error
        >>> rng = np.random.default_rng(0)
        >>> a, b = rng.normal(size=(500, 3)), rng.normal(size=(500, 3))
        >>> distance = kernel_distance_with_error(a, b)
        >>> abs(distance.estimate) < 4 * distance.standard_error
        True
    """
    sums = _all_sums(features_a, features_b, 4)
    alone, pairs = _sampling_variances(*sums)
    return KernelDistance(_estimate(*sums), math.sqrt(max(alone, 0.0) + max(pairs, 0.0)))


def energy_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    r"""Return an unbiased estimate of the squared energy distance of two distributions.

    .. math:: 2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|

    (Székely and Rizzo 2013, equation 5), zero for equal distributions and positive for all
    others with a mean. Pairs of a vector with itself are excluded, so that an estimate may be
    negative.

    Args:
        x: vectors.
        y: other vectors of the same dimension.

    Raises:
        InputError: if a set has fewer than 2 vectors, or their dimensions differ.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> round(metrics.energy_distance(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])), 3)
        -1.0
    """
    from scipy.spatial.distance import cdist, pdist

    x = _checks.array("x", x, "real numbers of shape (n, d)").astype(np.float64)
    y = _checks.array("y", y, "real numbers of shape (m, d)").astype(np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise InputError(
            "x and y must have shapes (n, d) and (m, d) with n and m of at least 2, got "
            f"{x.shape} and {y.shape}"
        )
    return float(2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean())
