"""Distances that detect copies of the training images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import check_features, check_same_dimension
from tempered_ebm.metrics.frechet import frechet_distance

_ROWS = 256


def _unit_rows(name: str, features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1)
    if lengths.min() == 0:
        raise InputError(
            f"{name} must have a direction in every row, got zeros in row {np.argmin(lengths)}"
        )
    return features / lengths[:, None]


def memorization_distance(
    generated: Float[np.ndarray, "n d"], training: Float[np.ndarray, "m d"]
) -> float:
    r"""Return the mean cosine distance of generated features to the nearest training feature.

    .. math:: \frac1n\sum_i \min_j\,\Big(1 - \frac{|x_i\cdot y_j|}{\|x_i\|\,\|y_j\|}\Big)

    (Bai et al. 2021, section 4): 0 for copies of training images, at most 1.

    Args:
        generated: shape (n, d).
        training: shape (m, d), features of the training images.

    Raises:
        InputError: if a set is not a finite array with a direction in every row, or the
            dimensions differ.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> training = np.eye(3)
        >>> metrics.memorization_distance(2 * training, training)
        0.0
        >>> round(metrics.memorization_distance(np.ones((1, 3)), training), 4)
        0.4226
    """
    x = check_features("generated", generated, at_least=1)
    y = check_features("training", training, at_least=1)
    check_same_dimension("training", y.shape[1], x.shape[1])
    x, y = _unit_rows("generated", x), _unit_rows("training", y)
    # In blocks of rows, to save memory.
    blocks = (x[i : i + _ROWS] for i in range(0, len(x), _ROWS))
    nearest = np.concatenate([np.abs(block @ y.T).max(axis=1) for block in blocks])
    return float(np.mean(np.maximum(1 - nearest, 0.0)))


def memorization_informed_frechet_distance(
    generated: Float[np.ndarray, "n d"],
    reference: Float[np.ndarray, "k d"],
    training: Float[np.ndarray, "m d"],
    *,
    threshold: float = 0.1,
    epsilon: float = 1e-6,
) -> float:
    r"""Return the Fréchet distance, multiplied if generated features coincide with training ones.

    .. math:: \mathrm{MiFID} = \mathrm{FID}\cdot
              \begin{cases}1/(m + \varepsilon) & m < \tau\\ 1 & m \ge \tau\end{cases}

    with the memorisation distance m (Bai et al. 2021, section 4). The threshold belongs to a
    feature space: measure m between held-out and training images, and set it below. Copies
    are multiplied by at most :math:`1/\varepsilon`, so compare results of one
    :math:`\varepsilon` only; a Fréchet distance of exactly 0 stays 0.

    Args:
        generated: features of generated images, (n, d).
        reference: features the Fréchet distance is taken to, (k, d).
        training: features of the training images, (m, d).
        threshold: τ, from which on a set counts as new; 0.1 in the paper's competition.
        epsilon: ε, positive.

    Raises:
        InputError: if a set is not a finite array with a direction in every row, dimensions
            differ, or ``threshold`` or ``epsilon`` are out of range.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> rng = np.random.default_rng(0)
        >>> training, held_out, new = rng.normal(size=(3, 200, 8))
        >>> copies = metrics.memorization_informed_frechet_distance(training, held_out, training)
        >>> fresh = metrics.memorization_informed_frechet_distance(new, held_out, training)
        >>> copies > 1e5 * fresh
        True
    """
    _checks.in_unit_interval("threshold", threshold)
    _checks.positive("epsilon", epsilon)
    distance = frechet_distance(
        check_features("generated", generated), check_features("reference", reference)
    )
    memorization = memorization_distance(generated, training)
    if memorization >= threshold:
        return distance
    return distance / (memorization + epsilon)
