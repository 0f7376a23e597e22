"""Convolutional networks of images: matrix products of patches against XLA's own convolutions.

Run with ``python -m benchmarks.convolution``; prints a table and writes JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.timing import Case, chain_works, compare_algorithms
from tempered_ebm.networks._convolutions import convolution

SHAPES = ((100, 28, 1, 8), (100, 28, 1, 16), (100, 28, 1, 32), (50, 32, 3, 16))
"""(batch, height = width, channels, channels of the first convolution)."""


def _weights(size: int, channels: int, width: int) -> list[jax.Array]:
    """Those of ``networks.conv_network``: size 3, then stride 2 and size 4 down to a grid of 4."""
    shapes = [(3, 3, channels, width)]
    while size > 4:
        size, width = -(-size // 2), 2 * width
        shapes.append((4, 4, width // 2, width))
    keys = jax.random.split(jax.random.key(1), len(shapes))
    return [
        jax.random.normal(key, shape) / (shape[0] * shape[2] ** 0.5)
        for key, shape in zip(keys, shapes, strict=True)
    ]


def _works(algorithm: str) -> dict[str, Callable]:
    def network(x: jax.Array, weights: list[jax.Array]) -> jax.Array:
        for i, w in enumerate(weights):
            x = jax.nn.silu(convolution(x, w, stride=1 if i == 0 else 2, algorithm=algorithm))
        return jnp.sum(x)

    return chain_works(network, jax.grad(network, (0, 1)), jax.grad(network))


def _case(batch: int, size: int, channels: int, width: int) -> Case:
    x = jax.random.normal(jax.random.key(0), (batch, size, size, channels))
    arguments = (x, _weights(size, channels, width))
    shape = (batch, size, size, channels, width)
    return Case(shape, _works("gemm"), _works("xla"), arguments)


if __name__ == "__main__":
    compare_algorithms("convolution", (_case(*shape) for shape in SHAPES), repeats=9)
