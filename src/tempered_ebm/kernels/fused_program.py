"""The Pallas program behind :mod:`tempered_ebm.kernels.fused_langevin`: one block of chains.

It is written for Pallas' Triton backend: arrays have sizes that are powers of two, are never sliced
or joined, and are read from memory before the loop, whence the compiler keeps weights in shared
memory, once for the pass forward and once, transposed, for the one back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import counter_noise

Layers: TypeAlias = "Sequence[tuple[Float[Array, 'fan_in fan_out'], Float[Array, 'fan_out']]]"
"""Weight and bias of every layer of an MLP, the last with one output."""


class ShortRun(NamedTuple):
    """Where a short run ends.

    Attributes:
        position: shaped and typed like the start.
        drift_norm: Euclidean norm of the gradient, averaged along each chain.
    """

    position: Float[Array, "*chains d"]
    drift_norm: Float[Array, "*chains"]


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


def _gelu(x: Array) -> tuple[Array, Array]:
    scale = math.sqrt(2 / math.pi)
    t = jnp.tanh(scale * (x + 0.044715 * x * x * x))
    slope = scale * (1 + 3 * 0.044715 * x * x)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope


def _silu(x: Array) -> tuple[Array, Array]:
    s = _sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


def _softplus(x: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))), _sigmoid(x)


def _tanh(x: Array) -> tuple[Array, Array]:
    t = jnp.tanh(x)
    return t, 1 - t * t


def _logistic(x: Array) -> tuple[Array, Array]:
    s = _sigmoid(x)
    return s, s * (1 - s)


ACTIVATIONS: dict[Callable, Callable[[Array], tuple[Array, Array]]] = {
    jax.nn.gelu: _gelu,
    jax.nn.silu: _silu,
    jax.nn.softplus: _softplus,
    jax.nn.sigmoid: _logistic,
    jnp.tanh: _tanh,
}
"""Value and derivative of each activation that the kernel knows."""


def dot(
    a: Float[Array, "m k"], b: Array, *, transpose: bool = False, dtype: Any
) -> Float[Array, "m n"]:
    """Product of ``a`` and ``b``, or ``b`` transposed: factors of a dtype, sums in float32."""
    return jax.lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        (((1,), (1 if transpose else 0,)), ((), ())),
        preferred_element_type=jnp.float32,
    )


def move(
    key: counter_noise.Words,
    step: Array,
    position: Float[Array, "n d"],
    grad: Float[Array, "n d"],
    h: Array,
    scale: Array,
    first_chain: Array | int,
    dim: int,
) -> tuple[Float[Array, "n d"], Float[Array, "n"]]:
    """One Langevin step of consecutive chains, and the norm of its drift.

    Coordinates from ``dim`` on are padding, which noise leaves alone.
    """
    chain = first_chain + jax.lax.broadcasted_iota(jnp.int32, position.shape, 0)
    coordinate = jax.lax.broadcasted_iota(jnp.int32, position.shape, 1)
    column = step.astype(jnp.uint32) * np.uint32(dim) + coordinate.astype(jnp.uint32)
    noise = counter_noise.standard_normal(key, chain.astype(jnp.uint32), column)
    if position.shape[1] > dim:
        noise = jnp.where(coordinate < dim, noise, 0.0)
    drift = grad - position
    return position + h * drift + scale * noise, jnp.sqrt(jnp.sum(drift * drift, axis=1))


def steps(
    step: Callable[[Array, Array], tuple[Array, Array]], position: Array, num_steps: int
) -> ShortRun:
    """Repeat ``(k, position) -> (position, drift norm)`` and average the norm."""

    def body(k: Array, run: ShortRun) -> ShortRun:
        position, norm = step(k, run.position)
        return ShortRun(position, run.drift_norm + norm)

    start = ShortRun(position, jnp.zeros(position.shape[:1], jnp.float32))
    end = jax.lax.fori_loop(np.int32(0), np.int32(num_steps), body, start)
    return end._replace(drift_norm=end.drift_norm / np.float32(num_steps))


def gradient(
    position: Float[Array, "n d"],
    weights: Sequence[Array],
    biases: Sequence[Array],
    last: Float[Array, "1 width"],
    activate: Callable[[Array], tuple[Array, Array]],
) -> Float[Array, "n d"]:
    """Gradient of the MLP: a pass forward that keeps the slopes, and one back."""
    hidden, slopes = position, []
    for weight, bias in zip(weights, biases):
        hidden, slope = activate(dot(hidden, weight, dtype=weight.dtype) + bias)
        slopes.append(slope)
    grad = jnp.broadcast_to(last, hidden.shape)
    for weight, slope in zip(reversed(weights), reversed(slopes)):
        grad = dot(grad * slope, weight, transpose=True, dtype=weight.dtype)
    return grad


def kernel(
    *refs: Any, activate: Callable, num_steps: int, dim: int, num_hidden: int, program_id: Callable
) -> None:
    """All steps of one block of chains, from references to arrays in memory."""
    key_ref, scale_ref, position_ref, last_ref = refs[:4]
    weights = [ref[...] for ref in refs[4 : 4 + num_hidden]]
    biases = [ref[...] for ref in refs[4 + num_hidden : 4 + 2 * num_hidden]]
    end_ref, norm_ref = refs[-2:]
    last, key = last_ref[...], (key_ref[0], key_ref[1])
    h, scale = scale_ref[0], scale_ref[1]
    first_chain = program_id(0) * position_ref.shape[0]

    def step(k: Array, z: Array) -> tuple[Array, Array]:
        grad = gradient(z, weights, biases, last, activate)
        return move(key, k, z, grad, h, scale, first_chain, dim)

    end = steps(step, position_ref[...], num_steps)
    end_ref[...] = end.position
    norm_ref[...] = end.drift_norm


def padded(size: int) -> int:
    """The power of two, at least 16, that a matrix product of the kernel needs."""
    return max(16, 1 << (size - 1).bit_length())


def pad(array: Array, *shape: int) -> Array:
    """Append zeros to every axis up to a shape."""
    return jnp.pad(array, [(0, size - axis) for size, axis in zip(shape, array.shape)])


def run(
    key: Array,
    layers: Layers,
    position: Array,
    scales: Array,
    *,
    num_steps: int,
    activation: Callable,
    block: int,
    dtype: Any,
    interpret: bool,
) -> ShortRun:
    """The kernel over blocks of chains.

    Zeros pad every axis to a power of two. A padded unit has no weight out and a padded
    coordinate none in, so that zeros are all they add.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    num_chains, dim = position.shape
    grid = -(-num_chains // block)
    widths = [padded(weight.shape[0]) for weight, _ in layers]
    start = pad(position, grid * block, widths[0])
    last = pad(layers[-1][0].astype(jnp.float32).T, 1, widths[-1])
    hidden = list(zip(layers[:-1], widths, widths[1:]))
    weights = [pad(weight, m, n).astype(dtype) for (weight, _), m, n in hidden]
    biases = [pad(bias.astype(jnp.float32)[None], 1, n) for (_, bias), _, n in hidden]

    def whole(array: Array) -> pl.BlockSpec:
        return pl.BlockSpec(array.shape, lambda i: (0,) * array.ndim)

    rows = pl.BlockSpec((block, widths[0]), lambda i: (i, 0))
    program = pl.pallas_call(
        functools.partial(
            kernel,
            activate=ACTIVATIONS[activation],
            num_steps=num_steps,
            dim=dim,
            num_hidden=len(weights),
            program_id=pl.program_id,
        ),
        out_shape=(
            jax.ShapeDtypeStruct(start.shape, jnp.float32),
            jax.ShapeDtypeStruct(start.shape[:1], jnp.float32),
        ),
        grid=(grid,),
        in_specs=[whole(key), whole(scales), rows, *map(whole, (last, *weights, *biases))],
        out_specs=(rows, pl.BlockSpec((block,), lambda i: (i,))),
        compiler_params=triton.CompilerParams(num_warps=8 if max(widths) > 64 else 4, num_stages=1),
        interpret=interpret,
        name="fused_short_run",
    )
    end, drift_norm = program(key, scales, start, last, *weights, *biases)
    return ShortRun(end[:num_chains, :dim], drift_norm[:num_chains])
