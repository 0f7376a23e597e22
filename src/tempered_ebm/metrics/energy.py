"""The energy distance between two sets of vectors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tempered_ebm.errors import InputError

_BLOCK = 500


def energy_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    r"""Unbiased estimate of the squared energy distance of two laws.

    .. math:: 2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|

    (Székely and Rizzo 2013, equation 5), zero for equal laws and positive for all others with a
    mean. Pairs of a vector with itself are left out, so that an estimate may be negative.

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
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise InputError(
            "x and y must have shapes (n, d) and (m, d) with n and m of at least 2, got "
            f"{x.shape} and {y.shape}"
        )
    n, m = len(x), len(y)
    within = _sum(x, x) / (n * (n - 1)) + _sum(y, y) / (m * (m - 1))
    return float(2 * _sum(x, y) / (n * m) - within)


def _sum(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of the distances of all pairs."""
    total = 0.0
    for i in range(0, len(x), _BLOCK):
        difference = x[i : i + _BLOCK, None] - y
        total += float(np.sqrt(np.sum(difference**2, -1)).sum())
    return total
