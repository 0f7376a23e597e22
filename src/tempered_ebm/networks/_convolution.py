r"""Convolution of images, by the algorithm that is fastest on the backend at hand.

Chains follow the gradient in the image inside a loop, and there XLA compiles convolutions for CPU
badly. As products of a matrix of patches and one of weights, whose gradients are products, too, a
chain on networks of :mod:`tempered_ebm.networks` took half the time or less at 8 and 16
channels. Outside of loops XLA's own is the faster one, by up to a factor of three; of a training
update the chain is nearly all. On other backends XLA's own is used.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError

Algorithm = Literal["gemm", "xla"]


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Size of the output, and zeros before and after, such that it is size / stride, rounded up."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def _patches_times_weights(x: Array, kernel: Array, stride: int) -> Array:
    n, height, width, c_in = x.shape
    k = kernel.shape[0]
    rows, top, bottom = _padding(height, k, stride)
    columns, left, right = _padding(width, k, stride)
    x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    last_row, last_column = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    taps = [
        x[:, i : i + last_row : stride, j : j + last_column : stride]
        for i in range(k)
        for j in range(k)
    ]
    patches = jnp.concatenate(taps, -1).reshape(-1, k * k * c_in)
    return (patches @ kernel.reshape(k * k * c_in, -1)).reshape(n, rows, columns, -1)


def _xla(x: Array, kernel: Array, stride: int) -> Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions
    )


def convolution(
    x: Float[Array, "n height width c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    *,
    stride: int = 1,
    algorithm: Algorithm | None = None,
) -> Float[Array, "n out_height out_width c_out"]:
    r"""Two-dimensional convolution with a square kernel, padded with zeros.

    .. math:: y[i] = \sum_a x[s i + a - p]\,K[a]

    along each spatial axis, with an output of the size of the image over the stride s, rounded up,
    and the padding shared out as evenly as it can be ("SAME").

    Args:
        x: images, channels last.
        kernel: weights.
        stride: at least 1.
        algorithm: "gemm" or "xla"; by default "gemm" on CPU and "xla" elsewhere. Both compute the
            same sums in a different order.

    Raises:
        InputError: if the kernel is not square, its channels do not match, or the stride is below
            1.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm.networks._convolution import convolution
        >>> convolution(jnp.ones((1, 7, 7, 3)), jnp.ones((4, 4, 3, 2)), stride=2).shape
        (1, 4, 4, 2)
    """
    checks.at_least("stride", stride, 1)
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[2] != x.shape[-1]:
        raise InputError(
            f"kernel has shape {kernel.shape}; expected (k, k, {x.shape[-1]}, c_out) for images "
            f"of shape {x.shape}"
        )
    if algorithm is None:
        algorithm = "gemm" if jax.default_backend() == "cpu" else "xla"
    return (_patches_times_weights if algorithm == "gemm" else _xla)(x, kernel, stride)
