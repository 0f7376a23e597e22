"""Features of images: checks of images and features, batches, and principal components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks
from tempered_ebm.errors import InputError

FeatureMap = Callable[[np.ndarray], np.ndarray]
"""Images (n, height, width, channels) in [-1, 1] to features (n, d), both NumPy."""
FEATURE_DIM = 32
_LARGEST = 16.0


def check_features(name: str, features: Any, *, at_least: int = 2) -> Float[np.ndarray, "n d"]:
    """Return features in float64 if they are a finite (n, d) array with enough rows.

    Args:
        name: the argument's name in errors.
        features: the features, real numbers of any type.
        at_least: the smallest number of rows.

    Raises:
        InputError: if they are not.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.metrics.features import check_features
        >>> check_features("features", np.zeros((2, 3), np.float32)).dtype
        dtype('float64')
    """
    array = _checks.array(name, features, f"real numbers of shape (n >= {at_least}, d >= 1)")
    if array.ndim != 2 or array.shape[0] < at_least or array.shape[1] < 1:
        raise InputError(f"{name} must have shape (n >= {at_least}, d >= 1), got {array.shape}")
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"{name} must be finite, got NaN or infinity, first in row {row}")
    return array


def check_same_dimension(name: str, dimension: int, expected: int) -> None:
    """Raise an error unless features have the expected number of columns.

    Raises:
        InputError: naming the features, the number of columns and the one expected.
    """
    if dimension != expected:
        raise InputError(f"{name} must have {expected} columns, got {dimension}")


def check_images(
    images: Any, *, largest: float = _LARGEST, channels: tuple[int, ...] = ()
) -> Float[np.ndarray, "n h w c"]:
    """Return images in float32 if they are finite floats of shape (n, h, w, c).

    Values a little outside of [-1, 1], as generators make them, pass; pixels in [0, 255] do not.

    Args:
        images: the images.
        largest: absolute value that none may exceed.
        channels: numbers of channels that they may have; any number by default.

    Raises:
        InputError: if the type, the rank or the range is another.
    """
    array = _checks.array("images", images, "an array of floats in [-1, 1]", "f")
    is_image = array.ndim == 4 and 0 not in array.shape
    if not is_image or (channels and array.shape[-1] not in channels):
        last = " or ".join(map(str, channels)) or "channels"
        raise InputError(f"images must have shape (n, height, width, {last}), got {array.shape}")
    if not np.isfinite(array).all():
        bad = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise InputError(f"images must be finite, got NaN or infinity, first in image {bad}")
    if np.abs(array).max() > largest:
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
        >>> from tempered_ebm.metrics.features import in_batches
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


def fit_pca_features(
    images: Float[np.ndarray, "n h w c"], num_components: int = FEATURE_DIM
) -> FeatureMap:
    """Project onto the leading principal components of the training images, unwhitened.

    The feature space for images without labels; deterministic.

    Args:
        images: training images in [-1, 1].
        num_components: dimension of the features, at most the number of images and pixels.

    Raises:
        InputError: if images are not floats in [-1, 1], or ``num_components`` is no positive
            integer.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> images = np.random.default_rng(0).normal(size=(20, 4, 4, 1))
        >>> metrics.fit_pca_features(images, 3)(images).shape
        (20, 3)
    """
    from sklearn.decomposition import PCA

    _checks.at_least("num_components", num_components, 1)
    check_images(images)
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    pca = PCA(min(num_components, *flat.shape), random_state=0).fit(flat)

    def features(images: np.ndarray) -> np.ndarray:
        check_images(images, largest=np.inf)
        return pca.transform(np.asarray(images, np.float64).reshape(len(images), -1))

    return features
