"""Inception-v3 as it is used for the Fréchet inception distance of the literature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from tempered_ebm.metrics import image_networks as networks
from tempered_ebm.metrics.image_networks import ImageNetwork

_INPUT_SIZE = 299
_NUM_CLASSES = 1008

_Unit = Callable[..., Array]
"""Function from activations, name, channels and kernel to activations."""


def _unit(lookup: networks.Lookup, block: str = "") -> _Unit:
    """Return the layer of convolution, batch normalisation and ReLU in a block of this name."""
    prefix = f"{block}." if block else ""

    def unit(x: Array, name: str, *shape: Any, **options: Any) -> Array:
        conv, norm = f"{prefix}{name}.conv", f"{prefix}{name}.bn"
        return jax.nn.relu(networks.conv_norm(lookup, x, conv, norm, *shape, **options))

    return unit


def _window(x: Array, start: float, reduce: Callable, stride: int, padding: str) -> Array:
    return lax.reduce_window(x, start, reduce, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def _max_pool(x: Array, *, stride: int = 2, padding: str = "VALID") -> Array:
    return _window(x, -jnp.inf, lax.max, stride, padding)


def _average_pool(x: Array) -> Array:
    """Return the mean over the neighbours within the image, without padding."""
    count = _window(jnp.ones((1, *x.shape[1:3], 1)), 0.0, lax.add, 1, "SAME")
    return _window(x, 0.0, lax.add, 1, "SAME") / count


def _concatenate(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


def _block_35(lookup: networks.Lookup, x: Array, name: str, pool_channels: int) -> Array:
    unit = _unit(lookup, name)
    five = unit(unit(x, "branch5x5_1", 48), "branch5x5_2", 64, (5, 5))
    three = unit(unit(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, (3, 3))
    three = unit(three, "branch3x3dbl_3", 96, (3, 3))
    pool = unit(_average_pool(x), "branch_pool", pool_channels)
    return _concatenate(unit(x, "branch1x1", 64), five, three, pool)


def _block_35_to_17(lookup: networks.Lookup, x: Array, name: str) -> Array:
    unit = _unit(lookup, name)
    single = unit(x, "branch3x3", 384, (3, 3), stride=2, padding="VALID")
    double = unit(unit(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, (3, 3))
    double = unit(double, "branch3x3dbl_3", 96, (3, 3), stride=2, padding="VALID")
    return _concatenate(single, double, _max_pool(x))


def _block_17(lookup: networks.Lookup, x: Array, name: str, width: int) -> Array:
    unit = _unit(lookup, name)
    wide, tall = (1, 7), (7, 1)
    seven = unit(unit(x, "branch7x7_1", width), "branch7x7_2", width, wide)
    seven = unit(seven, "branch7x7_3", 192, tall)
    double = unit(unit(x, "branch7x7dbl_1", width), "branch7x7dbl_2", width, tall)
    double = unit(unit(double, "branch7x7dbl_3", width, wide), "branch7x7dbl_4", width, tall)
    double = unit(double, "branch7x7dbl_5", 192, wide)
    pool = unit(_average_pool(x), "branch_pool", 192)
    return _concatenate(unit(x, "branch1x1", 192), seven, double, pool)


def _block_17_to_8(lookup: networks.Lookup, x: Array, name: str) -> Array:
    unit = _unit(lookup, name)
    three = unit(x, "branch3x3_1", 192)
    three = unit(three, "branch3x3_2", 320, (3, 3), stride=2, padding="VALID")
    seven = unit(unit(x, "branch7x7x3_1", 192), "branch7x7x3_2", 192, (1, 7))
    seven = unit(seven, "branch7x7x3_3", 192, (7, 1))
    seven = unit(seven, "branch7x7x3_4", 192, (3, 3), stride=2, padding="VALID")
    return _concatenate(three, seven, _max_pool(x))


def _block_8(lookup: networks.Lookup, x: Array, name: str, pool: Callable[[Array], Array]) -> Array:
    unit = _unit(lookup, name)
    three = unit(x, "branch3x3_1", 384)
    double = unit(unit(x, "branch3x3dbl_1", 448), "branch3x3dbl_2", 384, (3, 3))
    return _concatenate(
        unit(x, "branch1x1", 320),
        unit(three, "branch3x3_2a", 384, (1, 3)),
        unit(three, "branch3x3_2b", 384, (3, 1)),
        unit(double, "branch3x3dbl_3a", 384, (1, 3)),
        unit(double, "branch3x3dbl_3b", 384, (3, 1)),
        unit(pool(x), "branch_pool", 192),
    )


def _stem(lookup: networks.Lookup, x: Array) -> Array:
    unit = _unit(lookup)
    x = unit(x, "Conv2d_1a_3x3", 32, (3, 3), stride=2, padding="VALID")
    x = unit(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
    x = _max_pool(unit(x, "Conv2d_2b_3x3", 64, (3, 3)))
    x = unit(x, "Conv2d_3b_1x1", 80)
    return _max_pool(unit(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID"))


def _forward(lookup: networks.Lookup, images: Array) -> tuple[Array, Array]:
    if images.shape[1:3] != (_INPUT_SIZE, _INPUT_SIZE):
        shape = (images.shape[0], _INPUT_SIZE, _INPUT_SIZE, 3)
        images = jax.image.resize(images, shape, "bilinear", antialias=False)
    x = _stem(lookup, images)
    for name, pool_channels in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = _block_35(lookup, x, name, pool_channels)
    x = _block_35_to_17(lookup, x, "Mixed_6a")
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = _block_17(lookup, x, name, width)
    x = _block_17_to_8(lookup, x, "Mixed_7a")
    x = _block_8(lookup, x, "Mixed_7b", _average_pool)
    # A maximum, not the average of the paper, because the network of the literature has one here.
    x = _block_8(lookup, x, "Mixed_7c", lambda y: _max_pool(y, stride=1, padding="SAME"))
    features = x.mean(axis=(1, 2))
    product, bias = networks.linear(lookup, features, "fc", _NUM_CLASSES)
    return features, product + bias


def _probabilities(lookup: networks.Lookup, features: Array, logits: Array) -> Array:
    """Return the softmax without the bias, as in the inception scores of the literature."""
    return jax.nn.softmax(networks.linear(lookup, features, "fc", _NUM_CLASSES)[0])


def inception_v3_tensors() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of Inception-v3 in a PyTorch checkpoint.

    Example:
        >>> from tempered_ebm import metrics
        >>> shapes = metrics.inception_v3_tensors()
        >>> len(shapes), shapes["fc.weight"]
        (472, (1008, 2048))
    """
    return networks.tensor_shapes(_forward)


def inception_v3(weights_file: Path | str, *, batch_size: int = 32) -> ImageNetwork:
    """Return Inception-v3 of the Fréchet inception distance: 2048 features and 1008 classes.

    The architecture of Szegedy et al. (2016) with the peculiarities of the network of Heusel
    et al. (2017): averages over neighbours within the image, a maximum in the last pooling,
    1008 outputs. Images are clipped to [-1, 1] and resized to 299 x 299 (bilinear, pixel
    centres at half integers, not antialiased); one channel is repeated three times. The
    features are the means over the last 8 x 8 activations, "pool 3".

    The weights do not come with this library: name a file of the PyTorch port,
    ``pt_inception-2015-12-05-6726825d.pth``, or of the same tensors in another format.

    Args:
        weights_file: a ``.pth``, ``.npz`` or ``.safetensors`` file, as for ``read_weights``.
        batch_size: images at once.

    Returns:
        Callables of images (n, h, w, 1 or 3) in [-1, 1]. The probabilities leave out the
        bias of the last layer, as Salimans et al. (2016) compute the inception score.

    Raises:
        InputError: naming the file, or the tensor that is missing or misshapen.

    Example:
        >>> from tempered_ebm import metrics
        >>> metrics.inception_v3("nowhere.pth")
        Traceback (most recent call last):
            ...
        tempered_ebm.errors.InputError: weights file nowhere.pth does not exist, or is no file
    """
    return networks.load_network(_forward, _probabilities, weights_file, batch_size)
