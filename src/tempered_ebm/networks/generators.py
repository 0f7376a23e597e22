"""Generator networks in Haiku: from a latent vector to an image in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.networks._convolutions import conv_transpose

Activation = Callable[[Array], Array]

_SMALLEST_GRID = 4


class ConvTranspose(hk.Module):
    """Transposed convolution with bias, doubling height and width (kernel 4, stride 2)."""

    def __init__(self, output_channels: int, name: str | None = None):
        super().__init__(name=name)
        self.output_channels = output_channels

    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h2 w2 c_out"]:
        """Upsample a batch of images."""
        shape = (4, 4, x.shape[-1], self.output_channels)
        # Each output pixel sums over a 2 x 2 neighbourhood of the input.
        scale = 1.0 / np.sqrt(4 * x.shape[-1])
        w = hk.get_parameter("w", shape, x.dtype, hk.initializers.TruncatedNormal(scale))
        b = hk.get_parameter("b", shape[-1:], x.dtype, jnp.zeros)
        return conv_transpose(x, w, stride=2, padding=1) + b


def _image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    is_size = [isinstance(size, int | np.integer) and size >= 1 for size in shape]
    if len(shape) != 3 or not all(is_size):
        raise InputError(f"image_shape must be (height, width, channels), got {tuple(shape)}")
    return tuple(shape)  # type: ignore[return-value]


def deconv_generator(
    image_shape: Sequence[int], *, width: int = 32, activation: Activation = jax.nn.gelu
) -> hk.Transformed:
    """Return a deconvolutional generator in the manner of Pang et al. (2020, appendix).

    A linear layer makes a small grid (4x4 for images of 8, 32 and 64, 7x7 for 28: the
    image halved while it stays even and above 4), which transposed convolutions of
    kernel 4 and stride 2 double up to the image, halving the channels on the way; tanh
    at the end. For 32x32x3 the channels are ``8, 4, 2`` times ``width``.

    Args:
        image_shape: (height, width, channels).
        width: channels of the last hidden layer, halved; the ``ngf`` of the paper.
        activation: elementwise, smooth by default so that the latent Langevin chains see
            a smooth log-density.

    Returns:
        A Haiku pair ``init(rng_key, z)``, ``apply(params, z)`` for ``z`` of shape
        (n, latent_dim), giving (n, height, width, channels).

    Raises:
        InputError: if ``image_shape`` is not three positive sizes or ``width < 1``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import deconv_generator
        >>> net = deconv_generator((28, 28, 1), width=4)
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 8))).shape
        (3, 28, 28, 1)
    """
    height, breadth, channels = _image_shape(image_shape)
    checks.at_least("width", width, 1)
    doublings = 0
    while all(s % 2 == 0 and s > _SMALLEST_GRID for s in (height, breadth)):
        height, breadth, doublings = height // 2, breadth // 2, doublings + 1

    def forward(z: Float[Array, "n latent_dim"]) -> Float[Array, "n h w c"]:
        first = width * 2**doublings if doublings else channels
        x = hk.Linear(height * breadth * first)(z).reshape(-1, height, breadth, first)
        for remaining in reversed(range(doublings)):
            x = ConvTranspose(width * 2**remaining if remaining else channels)(activation(x))
        return jnp.tanh(x)

    return hk.without_apply_rng(hk.transform(forward))


def mlp_generator(
    image_shape: Sequence[int],
    *,
    widths: Sequence[int] = (256, 256),
    activation: Activation = jax.nn.gelu,
) -> hk.Transformed:
    """Return a fully connected generator with tanh at the end, for small images.

    Args:
        image_shape: (height, width, channels).
        widths: sizes of the hidden layers.
        activation: elementwise, smooth by default.

    Returns:
        A Haiku pair as :func:`deconv_generator` returns.

    Raises:
        InputError: if ``image_shape`` is not three positive sizes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import mlp_generator
        >>> net = mlp_generator((8, 8, 1))
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 16))).shape
        (3, 8, 8, 1)
    """
    return _perceptron(_image_shape(image_shape), widths, activation, jnp.tanh)


def mlp_decoder(
    image_shape: Sequence[int],
    *,
    widths: Sequence[int] = (256, 256),
    activation: Activation = jax.nn.gelu,
) -> hk.Transformed:
    """Return a fully connected decoder with linear outputs, such as the log-odds of binary pixels.

    Args:
        image_shape: (height, width, channels).
        widths: sizes of the hidden layers.
        activation: elementwise, smooth by default.

    Returns:
        A Haiku pair as :func:`deconv_generator` returns.

    Raises:
        InputError: if ``image_shape`` is not three positive sizes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import mlp_decoder
        >>> net = mlp_decoder((8, 8, 1))
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 16))).shape
        (3, 8, 8, 1)
    """
    return _perceptron(_image_shape(image_shape), widths, activation, lambda x: x)


def _perceptron(
    shape: tuple[int, int, int], widths: Sequence[int], activation: Activation, last: Activation
) -> hk.Transformed:
    def forward(z: Float[Array, "n latent_dim"]) -> Float[Array, "n h w c"]:
        x = hk.nets.MLP([*widths, int(np.prod(shape))], activation=activation)(z)
        return last(x.reshape(-1, *shape))

    return hk.without_apply_rng(hk.transform(forward))
