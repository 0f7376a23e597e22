"""Programs timed in turn within one process, and ratios between them round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

Run = Callable[[], Any]


class Times(NamedTuple):
    """Times of one program, round by round.

    Attributes:
        wall: seconds until the outputs are there.
        cpu: seconds of all threads of this process.
    """

    wall: np.ndarray
    cpu: np.ndarray


def once(run: Run) -> tuple[float, float]:
    """Wall and processor seconds of one run, outputs awaited."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turn(programs: Mapping[Any, Run], rounds: int) -> dict[Any, Times]:
    """Warm every program up, then run all of them once in each round."""
    for run in programs.values():
        jax.block_until_ready(run())
    pairs = np.array([[once(run) for run in programs.values()] for _ in range(rounds)])
    return {name: Times(*pairs[:, i].T) for i, name in enumerate(programs)}


def quartiles(values: np.ndarray) -> list[float]:
    """The three quartiles."""
    return np.quantile(values, (0.25, 0.5, 0.75)).tolist()


def summary(times: Times, alone: Times, work: float = 1.0) -> dict[str, Any]:
    """One program against another that does a fraction ``1 / work`` of its work.

    Args:
        times: of the program.
        alone: of the other one, in the same rounds.
        work: how many times the other's work it does.

    Returns:
        ``milliseconds`` (median), ``cores`` (processor seconds per second, median),
        ``speedup`` (quartiles of the work per second relative to the other's), ``cpu``
        (quartiles of the processor seconds for the same work relative to the other's).
    """
    return {
        "milliseconds": 1e3 * float(np.median(times.wall)),
        "cores": float(np.median(times.cpu / times.wall)),
        "speedup": quartiles(work * alone.wall / times.wall),
        "cpu": quartiles(times.cpu / alone.cpu / work),
    }
