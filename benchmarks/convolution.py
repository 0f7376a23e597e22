"""Energy networks of images: convolutions as products of patches against XLA's own.

A gradient in the image is what a step of a chain costs, and chains are loops, in which XLA compiles
convolutions for CPU in another way than outside of them; a gradient in the weights is taken once an
update. Run with ``python -m benchmarks.convolution``; prints a table and writes JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.timing import compare, environment
from tempered_ebm.energies.convolution import convolution

SHAPES = ((100, 28, 1, 8), (100, 28, 1, 16), (100, 28, 1, 32), (50, 32, 3, 16))
"""(batch, height = width, channels, channels of the first convolution)."""
STEPS = 5


def _weights(size: int, channels: int, width: int) -> list[jax.Array]:
    """Those of ``energies.conv_network``: size 3, then stride 2 and size 4 down to a grid of 4."""
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
    def energy(x: jax.Array, weights: list[jax.Array]) -> jax.Array:
        for i, w in enumerate(weights):
            x = jax.nn.silu(convolution(x, w, stride=1 if i == 0 else 2, algorithm=algorithm))
        return jnp.sum(x)

    def chain(x: jax.Array, weights: list[jax.Array]) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return x + 1e-3 * jax.grad(energy)(x, weights), None

        return jax.lax.scan(step, x, None, length=STEPS)[0]

    return {
        "value": energy,
        "gradient in the image": jax.grad(energy),
        f"{STEPS} steps of a chain": chain,
        "gradient in the weights": jax.grad(energy, 1),
    }


def main() -> None:
    """Measure every shape and work."""
    rows = []
    print(f"{'shape':24}{'work':26}{'gemm ms':>9}{'xla ms':>9}  xla/gemm (quartiles)")
    for batch, size, channels, width in SHAPES:
        x = jax.random.normal(jax.random.key(0), (batch, size, size, channels))
        weights = _weights(size, channels, width)
        gemm, xla = _works("gemm"), _works("xla")
        for work in gemm:
            result = compare(gemm[work], xla[work], x, weights, repeats=9)
            low, median, high = result.ratio
            ours, theirs = result.milliseconds
            shape = str((batch, size, size, channels, width))
            print(
                f"{shape:24}{work:26}{ours:9.2f}{theirs:9.2f}  {median:.2f} [{low:.2f}, {high:.2f}]"
            )
            rows.append({"shape": shape, "work": work, **result._asdict()})
    path = Path(__file__).parent / "results" / f"convolution-{jax.default_backend()}.json"
    path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
