"""Fixed changes of images: size, grey, and the noise that makes bytes continuous."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tempered_ebm import _checks
from tempered_ebm.datasets.dataset import ImageDataset, require_images
from tempered_ebm.errors import InputError

ResizeMethod = Literal["bilinear", "area"]


def resize(
    dataset: ImageDataset, image_size: int, method: ResizeMethod = "bilinear"
) -> ImageDataset:
    """Crop the centre square of every image, and bring it to another size.

    ``bilinear`` weighs the source by a triangle, widened by the factor of a reduction, so that it
    does not alias; ``area`` averages the source pixels whose centres fall into each new one (exact
    means for whole factors of reduction). Values are not rounded.

    Args:
        dataset: images (n, height, width, channels) in [-1, 1].
        image_size: new height and width in pixels.
        method: ``"bilinear"`` or ``"area"``.

    Returns:
        The data set with images (n, image_size, image_size, channels), float32 in [-1, 1].

    Raises:
        InputError: if ``image_size`` is no positive integer, or ``method`` another name.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.resize(te.datasets.load_digits(), 16).image_shape
        (16, 16, 1)
    """
    require_images(dataset)
    _checks.at_least("image_size", image_size, 1)
    if method not in get_args(ResizeMethod):
        raise InputError(f"method must be one of {get_args(ResizeMethod)}, got {method!r}")
    if dataset.image_shape[:2] == (image_size, image_size):
        return dataset
    return _map_images(dataset, lambda images: _resize_images(images, image_size, method))


def crop_box(width: int, height: int) -> tuple[int, int, int]:
    """Return left edge, top edge and side of the centre square."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def _resize_images(images: np.ndarray, size: int, method: ResizeMethod) -> np.ndarray:
    from PIL import Image

    resample = Image.Resampling.BOX if method == "area" else Image.Resampling.BILINEAR
    height, width, channels = images.shape[1:]
    left, top, side = crop_box(width, height)
    square = images[:, top : top + side, left : left + side]
    result = np.empty((len(images), size, size, channels), np.float32)
    for i, image in enumerate(square):
        for c in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
            result[i, ..., c] = np.asarray(plane.resize((size, size), resample))
    return np.clip(result, -1, 1, out=result)


def grayscale(dataset: ImageDataset) -> ImageDataset:
    """Turn colour into grey, ``0.299 R + 0.587 G + 0.114 B`` (ITU-R BT.601).

    Args:
        dataset: images (n, height, width, 3); those with one channel stay as they are.

    Returns:
        The data set with images (n, height, width, 1), float32 in [-1, 1].

    Raises:
        InputError: if ``dataset`` is no set of images with 1 or 3 channels.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.grayscale(te.datasets.load_digits()).image_shape
        (8, 8, 1)
    """
    if require_images(dataset).image_shape[2] == 1:
        return dataset
    if dataset.image_shape[2] != 3:
        raise InputError(f"dataset must have 1 or 3 channels, got images {dataset.image_shape}")
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return _map_images(dataset, lambda images: np.clip(images @ weights[:, None], -1, 1))


# Arguments named ``grayscale`` hide the function.
_to_gray = grayscale


def _map_images(dataset: ImageDataset, change: Callable[[np.ndarray], np.ndarray]) -> ImageDataset:
    changed: dict[str, Any] = {}
    for name in ("x_train", "x_test", "x_validation"):
        if (images := getattr(dataset, name)) is not None:
            changed[name] = change(images)
    return dataclasses.replace(dataset, **changed)


def prepared(
    dataset: ImageDataset, image_size: int | None = None, *, grayscale: bool = False
) -> ImageDataset:
    """Make images grey, if asked, and then bring them to a size, if asked.

    Args:
        dataset: any set of images.
        image_size: height and width in pixels, or None to keep them.
        grayscale: whether to make one channel of the colours.

    Raises:
        InputError: if ``dataset`` is no set of images, or ``image_size`` no positive integer.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.prepared(te.datasets.load_digits(), 4).image_shape
        (4, 4, 1)
    """
    dataset = _to_gray(dataset) if grayscale else require_images(dataset)
    return dataset if image_size is None else resize(dataset, image_size)


def dequantise(
    rng_key: Key[Array, ""], images: Float[Array, "*shape"], levels: int = 256
) -> Float[Array, "*shape"]:
    r"""Add the noise that turns discrete pixels into continuous ones (Uria et al. 2013).

    A pixel of level ``v = (x + 1) (levels - 1) / 2`` becomes ``y = 2 (v + u) / levels - 1`` with
    ``u`` uniform on [0, 1). The expected log density of y is then at most the log probability of
    v, plus ``d log(levels / 2)`` for d pixels (Theis et al. 2016, equation 4, in the units of y).

    Args:
        rng_key: one key; the same key gives the same noise.
        images: pixels in [-1, 1] on the grid of ``levels`` values.
        levels: number of values that a pixel can have: 256 for bytes, 17 for the embedded digits.

    Returns:
        Pixels in [-1, 1), of the same shape and dtype.

    Raises:
        InputError: if ``rng_key`` is no key, images are no floats, ``levels`` is below 2, or a
            pixel is off the grid.

    Example:
        >>> import jax, tempered_ebm as te
        >>> images = te.datasets.load_digits().x_train[:2]
        >>> te.datasets.dequantise(jax.random.key(0), images, levels=17).shape
        (2, 8, 8, 1)
    """
    _checks.key("rng_key", rng_key)
    _checks.at_least("levels", levels, 2)
    if not (_checks.is_array(images) and jnp.issubdtype(images.dtype, jnp.floating)):
        raise InputError(
            f"images must be an array of floats in [-1, 1], got {_checks.describe(images)}"
        )
    images = jnp.asarray(images)
    values = (images + 1) * ((levels - 1) / 2)
    whole = jnp.round(values)
    known = _checks.concrete(jnp.max(jnp.abs(values - whole), initial=0.0))
    if known is not None and not known < 1e-2:
        raise InputError(
            f"images must lie on the grid of {levels} levels in [-1, 1], got a value {known:.3g} "
            "of a level away from it"
        )
    noise = jax.random.uniform(rng_key, images.shape, images.dtype)
    largest = np.nextafter(np.ones((), images.dtype), np.zeros((), images.dtype))
    return jnp.minimum((whole + noise) * (2 / levels) - 1, largest)
