"""PyTorch calls on the device of JAX, with as many threads as suit them best."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax


def device() -> str:
    """The device of PyTorch that is JAX's own.

    Raises:
        ImportError: without PyTorch, or if it does not see the accelerator that JAX uses.
    """
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise ImportError(f"this PyTorch {torch.__version__} does not see JAX's accelerator")
    return "cuda"


@dataclass(frozen=True)
class Threaded:
    """A call that sets its number of threads, and waits for the device.

    Attributes:
        fn: the work.
        threads: of PyTorch's operations; None leaves them alone.
    """

    fn: Callable[[], Any]
    threads: int | None

    def __call__(self) -> Any:
        """Do the work."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        output = self.fn()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return output


def best_threads(fn: Callable[[], Any], repeats: int = 3) -> Threaded:
    """Keep one thread or one per core, whichever is faster; ``threads`` of the result says which.

    Every setting is called once before it is timed, in turn with the other.
    """
    if device() != "cpu":
        fn()
        return Threaded(fn, None)
    calls = [Threaded(fn, n) for n in dict.fromkeys((1, len(os.sched_getaffinity(0))))]
    for call in calls:
        call()
    best = [float("inf")] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return calls[best.index(min(best))]
