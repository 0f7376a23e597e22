"""What the machine can do at most, measured in the same run as the works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.work import Prepared, jax_program

_COPIED = 2**26
"""Numbers in the array whose copy gives the bandwidth: 256 MB, more than any cache."""


def products(gemms: tuple[tuple[int, int, int], ...], num_steps: int) -> Callable[[], Prepared]:
    """Nothing but a work's matrix products, one after the other, ``num_steps`` times.

    Args:
        gemms: (m, k, n) of each product; the output of one is the input of the next.
        num_steps: how often.
    """
    keys = jax.random.split(jax.random.key(0), len(gemms))
    weights = [jax.random.normal(key, (k, n)) / k**0.5 for key, (_, k, n) in zip(keys, gemms)]
    start = jnp.ones(gemms[0][:2])

    def run(x: Any, weights: Any) -> Any:
        def step(x: Any, _: None) -> tuple[Any, None]:
            for w in weights:
                x = x @ w
            return x, None

        return jax.lax.scan(step, x, None, length=num_steps)[0]

    return jax_program(run, start, weights)


def copy() -> Callable[[], Prepared]:
    """Read and write a large array once."""
    return jax_program(lambda x: x + 1, jnp.zeros(_COPIED, jnp.float32))


COPY_BYTES = 2 * _COPIED * np.dtype(np.float32).itemsize
