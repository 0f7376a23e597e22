"""Encoder networks in Haiku, the mirror images of the generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import haiku as hk
import jax
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks

Activation = Callable[[Array], Array]

_SMALLEST_GRID = 4


def conv_encoder(
    num_outputs: int, *, width: int = 32, activation: Activation = jax.nn.gelu
) -> hk.Transformed:
    """Return a convolutional encoder, :func:`tempered_ebm.networks.deconv_generator` in reverse.

    Convolutions of kernel 4 and stride 2 halve the image while it stays even and above 4 (to 4x4
    for images of 8, 32 and 64, 7x7 for 28), doubling the channels on the way; a linear layer
    makes the outputs.

    Args:
        num_outputs: outputs per image.
        width: channels of the first convolution, halved.
        activation: elementwise.

    Returns:
        A Haiku pair ``init(rng_key, x)``, ``apply(params, x)`` for ``x`` of shape
        (n, height, width, channels), giving (n, num_outputs).

    Raises:
        InputError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import conv_encoder
        >>> net = conv_encoder(16, width=4)
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 28, 28, 1))).shape
        (3, 16)
    """
    checks.at_least("num_outputs", num_outputs, 1)
    checks.at_least("width", width, 1)

    def forward(x: Float[Array, "n h w c"]) -> Float[Array, "n num_outputs"]:
        channels = 2 * width
        while all(size % 2 == 0 and size > _SMALLEST_GRID for size in x.shape[1:3]):
            x = activation(hk.Conv2D(channels, 4, stride=2, padding=(1, 1))(x))
            channels *= 2
        return hk.Linear(num_outputs)(x.reshape(x.shape[0], -1))

    return hk.without_apply_rng(hk.transform(forward))


def mlp_encoder(
    num_outputs: int,
    *,
    widths: Sequence[int] = (256, 256),
    activation: Activation = jax.nn.gelu,
) -> hk.Transformed:
    """Return a fully connected encoder, for small images.

    Args:
        num_outputs: outputs per image.
        widths: sizes of the hidden layers.
        activation: elementwise.

    Returns:
        A Haiku pair as :func:`conv_encoder` returns.

    Raises:
        InputError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import mlp_encoder
        >>> net = mlp_encoder(8, widths=(32,))
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 8, 8, 1))).shape
        (3, 8)
    """
    checks.at_least("num_outputs", num_outputs, 1)
    for size in widths:
        checks.at_least("widths", size, 1)

    def forward(x: Float[Array, "n ..."]) -> Float[Array, "n num_outputs"]:
        flat = x.reshape(x.shape[0], -1)
        return hk.nets.MLP([*widths, num_outputs], activation=activation)(flat)

    return hk.without_apply_rng(hk.transform(forward))
