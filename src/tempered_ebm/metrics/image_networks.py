"""What pretrained networks share: layers that look tensors up by name, and callables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.metrics.batches import FeatureMap, check_images, in_batches
from tempered_ebm.metrics.weight_files import read_weights, require_tensors

Lookup = Callable[[str, tuple[int, ...]], Array]
"""Name and shape of a tensor, in PyTorch's layout, to the tensor."""
Forward = Callable[[Lookup, Array], tuple[Array, Array]]
"""A lookup and images (n, h, w, 3) in [-1, 1] to features (n, d) and logits (n, c)."""

NORM_EPSILON = 1e-3
"""What batch normalisation adds to variances, in Inception-v3 and in EfficientNet."""


class ImageNetwork(NamedTuple):
    """What a pretrained network makes of images (n, h, w, 1 or 3) in [-1, 1].

    Attributes:
        features: images to the mean activations before the last layer, (n, d).
        logits: images to the outputs of the last layer, (n, c).
        probabilities: images to class probabilities, (n, c), for ``inception_score``.
    """

    features: FeatureMap
    logits: FeatureMap
    probabilities: FeatureMap


def conv_norm(
    lookup: Lookup,
    x: Float[Array, "n h w c"],
    conv: str,
    norm: str,
    channels: int,
    kernel: tuple[int, int] = (1, 1),
    *,
    stride: int = 1,
    padding: str = "SAME",
    groups: int = 1,
) -> Float[Array, "n h2 w2 channels"]:
    """Convolution without bias and batch normalisation by running moments.

    Args:
        lookup: where the tensors are.
        x: images or activations.
        conv: name of the convolution.
        norm: name of the normalisation.
        channels: number of output channels.
        kernel: height and width.
        stride: of both axes.
        padding: "SAME" or "VALID", as in XLA and TensorFlow.
        groups: number of groups of channels.
    """
    weight = lookup(f"{conv}.weight", (channels, x.shape[-1] // groups, *kernel))
    x = lax.conv_general_dilated(
        x,
        weight,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
        feature_group_count=groups,
        precision=lax.Precision.HIGHEST,
    )
    scale = lookup(f"{norm}.weight", (channels,)) * lax.rsqrt(
        lookup(f"{norm}.running_var", (channels,)) + NORM_EPSILON
    )
    shift = lookup(f"{norm}.bias", (channels,)) - scale * lookup(
        f"{norm}.running_mean", (channels,)
    )
    return x * scale + shift


def linear(
    lookup: Lookup, x: Float[Array, "n d"], name: str, outputs: int
) -> tuple[Float[Array, "n outputs"], Float[Array, "outputs"]]:
    """A linear layer without its bias, and the bias."""
    weight = lookup(f"{name}.weight", (outputs, x.shape[-1]))
    product = jnp.matmul(x, weight.T, precision=lax.Precision.HIGHEST)
    return product, lookup(f"{name}.bias", (outputs,))


def tensor_shapes(forward: Forward) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors a network looks up; nothing is computed."""
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str, shape: tuple[int, ...]) -> Array:
        shapes[name] = shape
        return jnp.zeros(shape)

    jax.eval_shape(lambda x: forward(record, x), jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32))
    return shapes


def load_network(
    forward: Forward,
    to_probabilities: Callable[[Lookup, Array, Array], Array],
    weights_file: Path | str,
    batch_size: int,
) -> ImageNetwork:
    """Read weights, check them, and return the network as callables.

    Args:
        forward: the network.
        to_probabilities: a lookup, features and logits to class probabilities.
        weights_file: see ``read_weights``.
        batch_size: images at once; the last batch is filled up, so one compilation serves
            all sets of images of one size.

    Raises:
        InputError: naming what is wrong with the file or the argument.
    """
    checks.at_least("batch_size", batch_size, 1)
    arrays = require_tensors(weights_file, read_weights(weights_file), tensor_shapes(forward))
    params = {name: jnp.asarray(array) for name, array in arrays.items()}

    @jax.jit
    def apply(params: Mapping[str, Array], images: Array) -> tuple[Array, Array, Array]:
        def lookup(name: str, shape: tuple[int, ...]) -> Array:
            return params[name]

        x = jnp.clip(images, -1.0, 1.0)
        x = jnp.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x
        features, logits = forward(lookup, x)
        return features, logits, to_probabilities(lookup, features, logits)

    def outputs(index: int) -> FeatureMap:
        def one(params: Mapping[str, Array], images: Array) -> Array:
            return apply(params, images)[index]

        return lambda images: in_batches(one, params, check_images(images), batch_size)

    return ImageNetwork(outputs(0), outputs(1), outputs(2))
