r"""Transposed convolution, by the algorithm that is fastest on the backend at hand.

A block of ``stride`` by ``stride`` output pixels is a product of the few input pixels that reach
it and of weights. On CPU one matrix product over such patches is several times faster than XLA's
dilated convolution; where outputs have few channels, a product of every pixel and all weights,
whose overlapping parts are added, needs less memory and is faster still. Elsewhere XLA's own is
used.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.errors import InputError

Algorithm = Literal["gemm", "xla"]


def _output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size - 1) * stride + kernel - 2 * padding


def _gemm(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """One GEMM, of patches of inputs or with all of a pixel's outputs: what takes less memory."""
    n, height, width, c_in = x.shape
    k, _, _, c_out = kernel.shape
    tiles = -(-k // stride)
    excess, border = tiles * stride - k, tiles - 1
    kernel = jnp.pad(kernel, ((0, excess), (0, excess), (0, 0), (0, 0)))
    kernel = kernel.reshape(tiles, stride, tiles, stride, c_in, c_out).swapaxes(1, 2)
    few_outputs = k * k * c_out < tiles * tiles * c_in
    blocks = (_overlap_add if few_outputs else _patches)(x, kernel)
    rows, cols = height + border, width + border
    image = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * stride, cols * stride, c_out)
    out_h = _output_size(height, k, stride, padding)
    out_w = _output_size(width, k, stride, padding)
    return image[:, padding : padding + out_h, padding : padding + out_w]


def _overlap_add(
    x: Float[Array, "n height width c_in"], kernel: Float[Array, "tiles tiles s s c_in c_out"]
) -> Float[Array, "n rows cols s s c_out"]:
    """Blocks of outputs as the sum over the tiles of the kernel that inputs put on them."""
    n, height, width, c_in = x.shape
    tiles, _, stride, _, _, c_out = kernel.shape
    weights = kernel.transpose(4, 0, 1, 2, 3, 5).reshape(c_in, -1)
    parts = (x.reshape(-1, c_in) @ weights).reshape(
        n, height, width, tiles, tiles, stride, stride, c_out
    )
    late = [(a, tiles - 1 - a) for a in range(tiles)]
    rest = [(0, 0)] * 3
    shifted = [
        jnp.pad(parts[:, :, :, a, b], [(0, 0), late[a], late[b], *rest])
        for a in range(tiles)
        for b in range(tiles)
    ]
    return sum(shifted[1:], shifted[0])


def _patches(
    x: Float[Array, "n height width c_in"], kernel: Float[Array, "tiles tiles s s c_in c_out"]
) -> Float[Array, "n rows cols s s c_out"]:
    """Blocks of outputs from the ``tiles**2`` inputs that each of them sees."""
    n, height, width, c_in = x.shape
    tiles, _, stride, _, _, c_out = kernel.shape
    border = tiles - 1
    weights = kernel.transpose(0, 1, 4, 2, 3, 5).reshape(tiles * tiles * c_in, -1)
    rows, cols = height + border, width + border
    padded = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    patches = jnp.concatenate(
        [
            padded[:, border - a : border - a + rows, border - b : border - b + cols]
            for a in range(tiles)
            for b in range(tiles)
        ],
        axis=-1,
    )
    return (patches.reshape(-1, tiles * tiles * c_in) @ weights).reshape(
        n, rows, cols, stride, stride, c_out
    )


def _xla(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    k = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        window_strides=(1, 1),
        padding=[(k - 1 - padding, k - 1 - padding)] * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv_transpose(
    x: Float[Array, "n height width c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    *,
    stride: int,
    padding: int,
    algorithm: Algorithm | None = None,
) -> Float[Array, "n out_height out_width c_out"]:
    r"""Two-dimensional transposed convolution with a square kernel.

    .. math:: y[s i + a - p] \mathrel{+}= x[i]\,K[a]

    along each spatial axis: the adjoint of a convolution with stride ``s`` and padding
    ``p`` (Dumoulin and Visin 2016, chapter 4), with output size
    ``(size - 1) * stride + k - 2 * padding``.

    Args:
        x: images, channels last.
        kernel: weights.
        stride: upsampling factor, at least 1.
        padding: rows and columns cut from each border, at most ``k - 1``.
        algorithm: "gemm" or "xla"; by default "gemm" on CPU and "xla" elsewhere. Both
            compute the same sums in a different order.

    Raises:
        InputError: if the kernel is not square or its channels do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm.networks import conv_transpose
        >>> y = conv_transpose(jnp.ones((1, 4, 4, 3)), jnp.ones((4, 4, 3, 2)), stride=2, padding=1)
        >>> y.shape
        (1, 8, 8, 2)
    """
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[2] != x.shape[-1]:
        raise InputError(
            f"kernel has shape {kernel.shape}; expected (k, k, {x.shape[-1]}, c_out) for images "
            f"of shape {x.shape}"
        )
    if algorithm is None:
        algorithm = "gemm" if jax.default_backend() == "cpu" else "xla"
    return (_gemm if algorithm == "gemm" else _xla)(x, kernel, stride, padding)
