"""Transposed convolution: one GEMM against XLA's dilated convolution.

A step of a chain has a forward pass and a gradient of the input, in a loop, in which XLA compiles
convolutions for CPU in another way than outside of them.

Run with ``python -m benchmarks.conv_transpose``; prints a table and writes JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.timing import Case, compare_algorithms
from tempered_ebm.networks import conv_transpose

SHAPES = ((100, 7, 64, 32), (100, 14, 32, 1), (100, 8, 64, 32), (100, 16, 32, 3))
"""(batch, height = width, input channels, output channels); kernel 4, stride 2, padding 1."""
STEPS = 5


def _works(algorithm: str, cotangent: jax.Array) -> dict[str, Callable]:
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_transpose(x, kernel, stride=2, padding=1, algorithm=algorithm)

    def gradients(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(forward, x, kernel)[1](cotangent)

    def chain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            y, pull_back = jax.vjp(lambda x: forward(x, kernel), x)
            return x + 1e-3 * pull_back(jnp.tanh(y) + cotangent)[0], None

        return jax.lax.scan(step, x, None, length=STEPS)[0]

    return {
        "forward": forward,
        f"{STEPS} steps of a chain": chain,
        "gradient of input": lambda x, kernel: gradients(x, kernel)[0],
        "gradient of kernel": lambda x, kernel: gradients(x, kernel)[1],
    }


def _case(batch: int, size: int, c_in: int, c_out: int) -> Case:
    x_key, kernel_key, cotangent_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (batch, size, size, c_in))
    kernel = jax.random.normal(kernel_key, (4, 4, c_in, c_out)) / (4 * c_in**0.5)
    cotangent = jax.random.normal(cotangent_key, (batch, 2 * size, 2 * size, c_out))
    shape = (batch, size, size, c_in, c_out)
    return Case(shape, _works("gemm", cotangent), _works("xla", cotangent), (x, kernel))


def main() -> None:
    """Measure every shape and work."""
    compare_algorithms("conv_transpose", (_case(*shape) for shape in SHAPES), repeats=15)


if __name__ == "__main__":
    main()
