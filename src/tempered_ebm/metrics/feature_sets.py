"""What a metric asks of the features it is given."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tempered_ebm.errors import InputError


def check_features(
    name: str, features: np.ndarray, *, at_least: int = 2
) -> Float[np.ndarray, "n d"]:
    """Return features in float64 if they are a finite (n, d) array with enough rows.

    Args:
        name: what an error calls them.
        features: the features, real numbers of any type.
        at_least: the smallest number of rows.

    Raises:
        InputError: if they are not.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.metrics.feature_sets import check_features
        >>> check_features("features", np.zeros((2, 3), np.float32)).dtype
        dtype('float64')
    """
    array = np.asarray(features)
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[0] < at_least or array.shape[1] < 1:
        raise InputError(f"{name} must have shape (n >= {at_least}, d >= 1), got {array.shape}")
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"{name} must be finite, got NaN or infinity, first in row {row}")
    return array


def check_same_dimension(name: str, dimension: int, expected: int) -> None:
    """Require features of the same space.

    Raises:
        InputError: naming the features, the number of columns and the one expected.
    """
    if dimension != expected:
        raise InputError(f"{name} must have {expected} columns, got {dimension}")
