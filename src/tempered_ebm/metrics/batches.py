"""Network outputs for many images: in batches of one shape, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm.errors import InputError

FeatureMap = Callable[[np.ndarray], np.ndarray]
"""Images (n, height, width, channels) in [-1, 1] to features (n, d), both NumPy."""


def check_images(images: Any) -> Float[np.ndarray, "n h w c"]:
    """Return images in float32 if they are finite and shaped (n, h, w, 1 or 3).

    Values a little outside of [-1, 1], as generators make them, pass; pixels in [0, 255] do not.

    Raises:
        InputError: if the rank, the channels, or the range is another.
    """
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise InputError(f"images must have shape (n, height, width, 1 or 3), got {array.shape}")
    if array.dtype.kind != "f":
        raise InputError(f"images must be floats in [-1, 1], got dtype {array.dtype}")
    if not np.isfinite(array).all():
        bad = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise InputError(f"images must be finite, got NaN or infinity, first in image {bad}")
    if np.abs(array).max() > 16:
        raise InputError(
            f"images must lie in [-1, 1], got values from {array.min():g} to {array.max():g}"
        )
    return array.astype(np.float32, copy=False)


def in_batches(
    apply: Callable[[Any, Array], Array], params: Any, images: np.ndarray, batch_size: int
) -> np.ndarray:
    """Apply a jitted function of parameters and images to all images.

    The last batch is filled up by repeating its last image, so that there is one shape and
    one compilation for sets larger than a batch.

    Args:
        apply: a jitted function, (params, images (b, ...)) to outputs (b, ...), image by image.
        params: its first argument.
        images: shape (n, ...), n >= 1.
        batch_size: largest number of images at once.

    Raises:
        InputError: if there is no image.

    Example:
        >>> import jax, numpy as np
        >>> from tempered_ebm.metrics.batches import in_batches
        >>> double = jax.jit(lambda factor, x: factor * x)
        >>> in_batches(double, 2.0, np.arange(5.0), 2)
        array([0., 2., 4., 6., 8.], dtype=float32)
    """
    if len(images) == 0:
        raise InputError("images must hold at least one image, got none")
    size = min(batch_size, len(images))
    outputs = []
    for start in range(0, len(images), size):
        batch = np.asarray(images[start : start + size])
        missing = size - len(batch)
        padding = [(0, missing)] + [(0, 0)] * (batch.ndim - 1)
        out = jax.device_get(apply(params, jnp.asarray(np.pad(batch, padding, mode="edge"))))
        outputs.append(out[: size - missing])
    return np.concatenate(outputs)
