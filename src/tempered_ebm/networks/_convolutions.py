r"""Convolution and transposed convolution, by the algorithm that is fastest on the backend.

On CPU both are products of matrices. Chains follow a gradient inside a loop, and there XLA compiles
convolutions for CPU badly: it takes 1.8 to 2.7 times as long as a product of patches and weights,
where outside of loops it takes 0.35 to 1.0 of the time (``python -m benchmarks.convolution``). For
the transposed convolution XLA takes up to 14 times as long for the gradient of the kernel
(``python -m benchmarks.conv_transpose``). On other backends XLA's own is used.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError

Algorithm = Literal["gemm", "xla"]


def _is_gemm(x: Array, kernel: Array, algorithm: Algorithm | None) -> bool:
    """Check the kernel, and return whether to multiply matrices."""
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[2] != x.shape[-1]:
        raise InputError(
            f"kernel has shape {kernel.shape}; expected (k, k, {x.shape[-1]}, c_out) for images "
            f"of shape {x.shape}"
        )
    return (jax.default_backend() == "cpu") if algorithm is None else algorithm == "gemm"


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return the size of the output, ceil(size / stride), and the zeros before and after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def _gemm(x: Array, kernel: Array, stride: int) -> Array:
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
    r"""Return the two-dimensional convolution with a square kernel, padded with zeros.

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
        >>> from tempered_ebm.networks._convolutions import convolution
        >>> convolution(jnp.ones((1, 7, 7, 3)), jnp.ones((4, 4, 3, 2)), stride=2).shape
        (1, 4, 4, 2)
    """
    checks.at_least("stride", stride, 1)
    convolve = _gemm if _is_gemm(x, kernel, algorithm) else _xla
    return convolve(x, kernel, stride)


def _gemm_transpose(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Return the image made of blocks of outputs, which come from one product of matrices."""
    n, height, width, c_in = x.shape
    k, _, _, c_out = kernel.shape
    tiles = -(-k // stride)
    excess, border = tiles * stride - k, tiles - 1
    kernel = jnp.pad(kernel, ((0, excess), (0, excess), (0, 0), (0, 0)))
    kernel = kernel.reshape(tiles, stride, tiles, stride, c_in, c_out).swapaxes(1, 2)
    # Whichever needs less memory: all outputs of a pixel, or the patch of inputs of an output.
    few_outputs = k * k * c_out < tiles * tiles * c_in
    blocks = (_overlap_add if few_outputs else _patches_of_inputs)(x, kernel)
    rows, cols = height + border, width + border
    image = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * stride, cols * stride, c_out)
    out_h, out_w = ((size - 1) * stride + k - 2 * padding for size in (height, width))
    return image[:, padding : padding + out_h, padding : padding + out_w]


def _overlap_add(
    x: Float[Array, "n height width c_in"], kernel: Float[Array, "tiles tiles s s c_in c_out"]
) -> Float[Array, "n rows cols s s c_out"]:
    """Return blocks of outputs as sums over the tiles of the kernel that inputs put on them."""
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


def _patches_of_inputs(
    x: Float[Array, "n height width c_in"], kernel: Float[Array, "tiles tiles s s c_in c_out"]
) -> Float[Array, "n rows cols s s c_out"]:
    """Return blocks of outputs, each from the ``tiles**2`` inputs that reach it."""
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


def _xla_transpose(x: Array, kernel: Array, stride: int, padding: int) -> Array:
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
    r"""Return the two-dimensional transposed convolution with a square kernel.

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
    convolve = _gemm_transpose if _is_gemm(x, kernel, algorithm) else _xla_transpose
    return convolve(x, kernel, stride, padding)
