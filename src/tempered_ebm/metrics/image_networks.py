"""Pretrained image networks: their weight files, layers that find tensors by name, callables."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from tempered_ebm import _checks, _files
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import FeatureMap, check_images, in_batches

Lookup = Callable[[str, tuple[int, ...]], Array]
"""Function from name and shape of a tensor, in PyTorch's layout, to the tensor."""
Forward = Callable[[Lookup, Array], tuple[Array, Array]]
"""Function from a lookup and images (n, h, w, 3) in [-1, 1] to features and logits."""

NORM_EPSILON = 1e-3
"""Constant that batch normalisation adds to variances, in Inception-v3 and in EfficientNet."""


class ImageNetwork(NamedTuple):
    """Outputs of a pretrained network of images (n, h, w, 1 or 3) in [-1, 1].

    Attributes:
        features: images to the mean activations before the last layer, (n, d).
        logits: images to the outputs of the last layer, (n, c).
        probabilities: images to class probabilities, (n, c), for ``inception_score``.
    """

    features: FeatureMap
    logits: FeatureMap
    probabilities: FeatureMap


def _import(path: Path, package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"weights file {path} needs the package {package.partition('.')[0]}, which is not "
            "installed; expected it (install tempered-ebm[metrics]), or weights in an .npz file"
        ) from None


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _import(path, "torch")
    # A checkpoint is a pickle; with ``weights_only`` nothing but tensors is made of it.
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    # NumPy has no bfloat16.
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }


def read_weights(path: Path | str) -> dict[str, np.ndarray]:
    """Return arrays by name from a ``.pth``, ``.pt``, ``.npz`` or ``.safetensors`` file.

    PyTorch checkpoints (``.pth``, ``.pt``) are read by ``torch.load(path, weights_only=True)`` and
    need PyTorch, ``.safetensors`` files the package of that name. Nothing in a file is executed.

    Args:
        path: the file; its ending tells the format.

    Raises:
        InputError: if the file is missing or damaged, its ending is another, or the package that
            it needs is not installed.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from tempered_ebm import metrics
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.npz"
        >>> np.savez(path, bias=np.zeros(3))
        >>> metrics.read_weights(path)
        {'bias': array([0., 0., 0.])}
    """
    path = _checks.path("path", path)
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist, or is no file")
    if path.suffix == ".npz":
        return _files.read_npz("weights file", path)
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise InputError(
            f"weights file {path} must end in .pth, .pt, .npz or .safetensors, got {path.suffix!r}"
        )
    try:
        if path.suffix == ".safetensors":
            return _import(path, "safetensors.numpy").load_file(path)
        return _read_torch(path)
    except InputError:
        raise
    except Exception as error:  # A damaged byte can lead to any exception.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"weights file {path} cannot be read: {reason}") from error


def require_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the tensors of a network in float32; others in the file are ignored.

    Args:
        path: the file, for error messages.
        tensors: the tensors in the file.
        shapes: names and shapes of the network's tensors.

    Raises:
        InputError: naming the first tensor that is missing, of another shape, or not finite.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            missing = sum(other not in tensors for other in shapes)
            raise InputError(
                f"weights file {path} has no tensor {name} of shape {shape}; of {len(shapes)} "
                f"tensors expected {missing} are missing"
            )
        array = tensors[name]
        if array.shape != shape:
            raise InputError(f"{name} in {path} must have shape {shape}, got {array.shape}")
        if array.dtype.kind in "OSUc" or not np.isfinite(array.astype(np.float32)).all():
            raise InputError(f"{name} in {path} must be finite real numbers, got {array.dtype}")
    return {name: tensors[name].astype(np.float32) for name in shapes}


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
    """Apply a convolution without bias and batch normalisation by running moments.

    Args:
        lookup: returns a tensor of the network by name and shape.
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
    """Return the output of a linear layer without its bias, and the bias."""
    weight = lookup(f"{name}.weight", (outputs, x.shape[-1]))
    product = jnp.matmul(x, weight.T, precision=lax.Precision.HIGHEST)
    return product, lookup(f"{name}.bias", (outputs,))


def tensor_shapes(forward: Forward) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of a network; nothing is computed."""
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
    _checks.at_least("batch_size", batch_size, 1)
    path = _checks.path("weights_file", weights_file)
    arrays = require_tensors(path, read_weights(path), tensor_shapes(forward))
    params = jax.device_put(arrays)

    @jax.jit
    def apply(params: Mapping[str, Array], images: Array) -> tuple[Array, Array, Array]:
        def lookup(name: str, shape: tuple[int, ...]) -> Array:
            return params[name]

        features, logits = forward(lookup, jnp.clip(images, -1.0, 1.0))
        return features, logits, to_probabilities(lookup, features, logits)

    def outputs(index: int) -> FeatureMap:
        def one(params: Mapping[str, Array], images: Array) -> Array:
            # Outside of the compiled program, which grey and coloured images share.
            x = jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
            return apply(params, x)[index]

        return lambda images: in_batches(
            one, params, check_images(images, channels=(1, 3)), batch_size
        )

    return ImageNetwork(outputs(0), outputs(1), outputs(2))
