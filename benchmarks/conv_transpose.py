"""Transposed convolution: one matrix product against XLA's dilated convolution.

Run with ``python -m benchmarks.conv_transpose``; prints a table and writes JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.timing import Case, chain_works, compare_algorithms
from tempered_ebm.networks import conv_transpose

SHAPES = ((100, 7, 64, 32), (100, 14, 32, 1), (100, 8, 64, 32), (100, 16, 32, 3))
"""(batch, height = width, input channels, output channels); kernel 4, stride 2, padding 1."""


def _works(algorithm: str, cotangent: jax.Array) -> dict[str, Callable]:
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_transpose(x, kernel, stride=2, padding=1, algorithm=algorithm)

    def gradients(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(forward, x, kernel)[1](cotangent)

    def drift(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y, pull_back = jax.vjp(lambda x: forward(x, kernel), x)
        # A cotangent that depends on y, or the forward pass of a linear map would be dropped.
        return pull_back(jnp.tanh(y) + cotangent)[0]

    return chain_works(forward, gradients, drift)


def _case(batch: int, size: int, c_in: int, c_out: int) -> Case:
    x_key, kernel_key, cotangent_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (batch, size, size, c_in))
    kernel = jax.random.normal(kernel_key, (4, 4, c_in, c_out)) / (4 * c_in**0.5)
    cotangent = jax.random.normal(cotangent_key, (batch, 2 * size, 2 * size, c_out))
    shape = (batch, size, size, c_in, c_out)
    return Case(shape, _works("gemm", cotangent), _works("xla", cotangent), (x, kernel))


if __name__ == "__main__":
    compare_algorithms("conv_transpose", (_case(*shape) for shape in SHAPES), repeats=15)
