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
    """Works on one shape, by two algorithms.

    Attributes:
        shape: what the arrays are like.
        gemm: functions by the name of the work.
        xla: the same works by the other algorithm.
        arguments: of all functions.
    """

    shape: tuple[int, ...]
    gemm: dict[str, Callable]
    xla: dict[str, Callable]
    arguments: tuple


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
