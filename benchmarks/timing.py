"""Interleaved timing of two functions: only ratios within one run mean anything."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np


class Comparison(NamedTuple):
    """Times of two functions on the same arguments, and their ratio pair by pair.

    Attributes:
        milliseconds: medians of (ours, theirs).
        ratio: quartiles of theirs / ours over the pairs; above 1 ours is faster.
    """

    milliseconds: tuple[float, float]
    ratio: tuple[float, float, float]


def _seconds(fn: Callable, arguments: tuple) -> float:
    start = time.perf_counter()
    jax.block_until_ready(fn(*arguments))
    return time.perf_counter() - start


def compare(ours: Callable, theirs: Callable, *arguments: Any, repeats: int = 15) -> Comparison:
    """Compile both, then time them in turn, blocking on their outputs."""
    ours, theirs = jax.jit(ours), jax.jit(theirs)
    jax.block_until_ready((ours(*arguments), theirs(*arguments)))
    pairs = np.array(
        [(_seconds(ours, arguments), _seconds(theirs, arguments)) for _ in range(repeats)]
    )
    milliseconds = 1e3 * np.median(pairs, axis=0)
    ratio = np.quantile(pairs[:, 1] / pairs[:, 0], (0.25, 0.5, 0.75))
    return Comparison(tuple(milliseconds.tolist()), tuple(ratio.tolist()))


def environment() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
    }


class Case(NamedTuple):
    """Works on arrays of one shape, by two algorithms.

    Attributes:
        shape: batch, size and channels.
        gemm: functions by the name of the work, as matrix products.
        xla: the same works by XLA's own convolution.
        arguments: arguments of every function.
    """

    shape: tuple[int, ...]
    gemm: dict[str, Callable]
    xla: dict[str, Callable]
    arguments: tuple


CHAIN_STEPS = 5


def chain_works(value: Callable, gradients: Callable, drift: Callable) -> dict[str, Callable]:
    """Return what a network is used for, as functions of (x, weights).

    A step of a chain needs the gradient in x, in a loop, in which XLA compiles convolutions for CPU
    in another way than outside of them; an update needs the gradient in the weights once.

    Args:
        value: the network.
        gradients: gradients of a scalar of its output in x and in the weights.
        drift: by what a step of the chain moves x, before it is scaled.
    """

    def chain(x: jax.Array, weights: Any) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return x + 1e-3 * drift(x, weights), None

        return jax.lax.scan(step, x, None, length=CHAIN_STEPS)[0]

    return {
        "value": value,
        "gradient in the input": lambda x, weights: gradients(x, weights)[0],
        f"{CHAIN_STEPS} steps of a chain": chain,
        "gradient in the weights": lambda x, weights: gradients(x, weights)[1],
    }


def compare_algorithms(name: str, cases: Iterable[Case], *, repeats: int) -> None:
    """Measure every work of every case, print a table and write ``results/NAME-BACKEND.json``."""
    rows = []
    print(f"{'shape':24}{'work':26}{'gemm ms':>9}{'xla ms':>9}  xla/gemm (quartiles)")
    for case in cases:
        for work in case.gemm:
            result = compare(case.gemm[work], case.xla[work], *case.arguments, repeats=repeats)
            low, median, high = result.ratio
            ours, theirs = result.milliseconds
            print(
                f"{case.shape!s:24}{work:26}{ours:9.2f}{theirs:9.2f}  "
                f"{median:.2f} [{low:.2f}, {high:.2f}]"
            )
            rows.append({"shape": str(case.shape), "work": work, **result._asdict()})
    path = Path(__file__).parent / "results" / f"{name}-{jax.default_backend()}.json"
    path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=2) + "\n")
    print(f"written to {path}")
