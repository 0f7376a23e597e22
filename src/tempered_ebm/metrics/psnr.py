"""How close a mended image is to the one that was there before."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError


def psnr(
    estimate: Float[np.ndarray, "n ..."],
    truth: Float[np.ndarray, "n ..."],
    *,
    dynamic_range: float = 2.0,
    where: Bool[np.ndarray, "n ..."] | None = None,
) -> Float[np.ndarray, "n"]:
    r"""Peak signal-to-noise ratio of every image, in dB.

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
    checks.positive("dynamic_range", dynamic_range)
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    if estimate.shape != truth.shape or truth.ndim < 2:
        raise InputError(
            f"estimate must have the shape of truth, {truth.shape}, led by the number of images, "
            f"got {estimate.shape}"
        )
    counts = np.ones(truth.shape, bool) if where is None else np.asarray(where)
    if counts.dtype != bool or counts.shape != truth.shape:
        raise InputError(
            f"where must be boolean of shape {truth.shape}, got {counts.dtype} of shape "
            f"{counts.shape}"
        )
    axes = tuple(range(1, truth.ndim))
    squares = np.sum((estimate - truth) ** 2, axes, where=counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(dynamic_range**2 * counts.sum(axes) / squares)
