"""Batches assembled in the background, a few updates ahead."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.datasets.images import from_bytes
from tempered_ebm.errors import InputError


class Batch(NamedTuple):
    """The examples of one update.

    Attributes:
        step: number of the update.
        indices: (b,) which examples they are.
        images: (b, height, width, channels), float32.
        labels: (b,), or None.
    """

    step: int
    indices: Int[np.ndarray, "b"]
    images: Float[np.ndarray, "b h w c"]
    labels: Int[np.ndarray, "b"] | None


class _Buffer:
    """What the thread and its reader share. The thread keeps no reference to the reader."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.batches: deque[Batch] = deque()
        self.changed = threading.Condition()
        self.is_closed = False
        self.is_complete = False
        self.error: BaseException | None = None

    def put(self, batch: Batch) -> bool:
        """Wait for room; False if the reader has left."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_closed or len(self.batches) < self.depth)
            if not self.is_closed:
                self.batches.append(batch)
                self.changed.notify_all()
            return not self.is_closed

    def finish(self, error: BaseException | None) -> None:
        with self.changed:
            self.is_complete, self.error = True, error
            self.changed.notify_all()

    def get(self) -> Batch:
        with self.changed:
            self.changed.wait_for(lambda: self.batches or self.is_complete or self.is_closed)
            if self.batches and not self.is_closed:
                batch = self.batches.popleft()
                self.changed.notify_all()
                return batch
            error, self.error = self.error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.batches.clear()
            self.changed.notify_all()


class Prefetcher(Iterator[Batch]):
    """Iterator over the batches of consecutive updates, assembled by a thread of its own.

    The batch of update i depends on i alone (``index_fn(i)``), so that an iterator that starts at
    step i goes on exactly where one that stopped before i left off. At most ``depth`` batches wait
    at any time, and one more is in the making. An exception in the thread is raised by ``next`` in
    its turn, after the batches before it. The thread ends at the last batch, at an exception, at
    ``close()``, at the end of a ``with`` block (also one that Ctrl-C ends), and when the iterator
    is garbage.

    Args:
        images: (n, height, width, channels): uint8, mapped onto [-1, 1] batch by batch as readers
            do, or float32, passed on as they are; in memory or a memory map.
        index_fn: step -> (b,) integers in [0, n), for example :func:`batch_index` with its other
            arguments filled in.
        start: first step.
        stop: step to end before; None to go on for ever.
        labels: (n,) labels, or None.
        depth: how many batches may wait, at least 1.

    Raises:
        InputError: if an argument is of another type, shape or range.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> images = np.zeros((6, 4, 4, 1), np.uint8)
        >>> order = lambda step: te.datasets.batch_index(0, step, 6, 3)
        >>> with te.datasets.Prefetcher(images, order, start=5, stop=7) as batches:
        ...     [(batch.step, batch.images.shape) for batch in batches]
        [(5, (3, 4, 4, 1)), (6, (3, 4, 4, 1))]
    """

    def __init__(
        self,
        images: np.ndarray,
        index_fn: Callable[[int], Int[np.ndarray, "b"]],
        start: int = 0,
        stop: int | None = None,
        *,
        labels: Int[np.ndarray, "n"] | None = None,
        depth: int = 2,
    ) -> None:
        _validate(images, labels, start, stop, depth)
        self._buffer = _Buffer(depth)
        self._thread = threading.Thread(
            target=_produce,
            args=(self._buffer, images, labels, index_fn, start, stop),
            name="tempered_ebm-prefetch",
            daemon=True,
        )
        weakref.finalize(self, self._buffer.close)
        self._thread.start()

    def __next__(self) -> Batch:
        return self._buffer.get()

    def close(self) -> None:
        """End the thread, and wait until it has ended; ``next`` then raises ``StopIteration``."""
        self._buffer.close()
        self._thread.join()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _produce(
    buffer: _Buffer,
    images: np.ndarray,
    labels: np.ndarray | None,
    index_fn: Callable[[int], np.ndarray],
    step: int,
    stop: int | None,
) -> None:
    try:
        while stop is None or step < stop:
            index = np.asarray(index_fn(step))
            if not buffer.put(_assemble(images, labels, index, step)):
                return
            step += 1
    except BaseException as error:
        buffer.finish(error)
    else:
        buffer.finish(None)


def _assemble(images: np.ndarray, labels: np.ndarray | None, index: np.ndarray, step: int) -> Batch:
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise InputError(
            f"index_fn must return a vector of integers, got shape {index.shape} and dtype "
            f"{index.dtype} at step {step}"
        )
    if index.size and not 0 <= index.min() <= index.max() < len(images):
        raise InputError(
            f"index_fn must return indices in [0, {len(images)}), got {index.min()} to "
            f"{index.max()} at step {step}"
        )
    chosen = np.asarray(images[index])
    pixels = from_bytes(chosen) if chosen.dtype == np.uint8 else chosen
    return Batch(step, index, pixels, None if labels is None else np.asarray(labels[index]))


def _validate(
    images: np.ndarray, labels: np.ndarray | None, start: int, stop: int | None, depth: int
) -> None:
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"images must be (n, height, width, channels), uint8 or float32, got shape "
            f"{images.shape} and dtype {images.dtype}"
        )
    if labels is not None and labels.shape != (len(images),):
        raise InputError(f"labels must have shape ({len(images)},), got {labels.shape}")
    checks.at_least("depth", depth, 1)
    checks.at_least("start", start, 0)
    if stop is not None:
        checks.at_least("stop", stop, start)
