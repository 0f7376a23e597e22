"""The order in which examples are visited: a function of the seed and the step alone.

Nothing is remembered between steps, so a run that starts again at any step sees exactly the
examples that it would have seen.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Int

from tempered_ebm import _checks as checks
from tempered_ebm.datasets.permutation import permute
from tempered_ebm.errors import InputError


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_images).astype(np.int32)


def batch_index(
    seed: int, step: int, num_images: int, batch_size: int
) -> Int[np.ndarray, "batch_size"]:
    """Indices of the batch of an update; a remainder smaller than a batch is left out.

    Each epoch of ``num_images // batch_size`` updates is a fresh permutation, of which 4 bytes an
    image are kept while it lasts. No image is twice in a batch.

    Args:
        seed: seed of the order.
        step: number of the update, from 0.
        num_images: number of examples.
        batch_size: examples in a batch, at most ``num_images``.

    Returns:
        (batch_size,), int32, in [0, num_images).

    Raises:
        InputError: if an argument is no integer in range.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> epoch = [te.datasets.batch_index(0, step, 6, 2) for step in range(3)]
        >>> np.sort(np.concatenate(epoch))
        array([0, 1, 2, 3, 4, 5], dtype=int32)
    """
    _validate(seed, step, num_images, batch_size)
    epoch, position = divmod(step, num_images // batch_size)
    order = _epoch_order(seed, epoch, num_images)
    return order[position * batch_size : (position + 1) * batch_size]


def wrapped_batch_index(
    seed: int, step: int, num_images: int, batch_size: int
) -> Int[np.ndarray, "batch_size"]:
    """Indices of the batch of an update, where batches run on across the ends of epochs.

    The permutations of all epochs are one endless sequence, and update i takes its entries from
    i * batch_size on: nothing is left out. Memory and time are O(batch_size) whatever
    ``num_images`` is, because places are computed by :func:`permute`. A batch that crosses the end
    of an epoch may hold an image twice, once from each.

    Args:
        seed: seed of the order.
        step: number of the update, from 0.
        num_images: number of examples.
        batch_size: examples in a batch; at most ``num_images``.

    Returns:
        (batch_size,), int64, in [0, num_images).

    Raises:
        InputError: if an argument is no integer in range.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> steps = [te.datasets.wrapped_batch_index(0, step, 5, 3) for step in range(5)]
        >>> np.bincount(np.concatenate(steps))  # three epochs in five updates
        array([3, 3, 3, 3, 3])
    """
    _validate(seed, step, num_images, batch_size)
    epoch, position = divmod(step * batch_size, num_images)
    places = np.arange(position, position + batch_size)
    this = places < num_images
    return np.concatenate(
        [
            permute(places[this], num_images, (seed, epoch)),
            permute(places[~this] - num_images, num_images, (seed, epoch + 1)),
        ]
    )


def process_slice(
    index: Int[np.ndarray, "batch_size"], process: int, num_processes: int
) -> Int[np.ndarray, "local_size"]:
    """The part of a global batch that one of several processes loads.

    Parts are disjoint, of equal size, and make the batch when put one after the other, as
    ``jax.make_array_from_process_local_data`` does.

    Args:
        index: (batch_size,) indices of the global batch.
        process: number of this process, such as ``jax.process_index()``.
        num_processes: number of processes; divides the batch size.

    Returns:
        (batch_size / num_processes,) indices.

    Raises:
        InputError: if the batch cannot be divided evenly, or there is no such process.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> te.datasets.process_slice(np.array([5, 2, 0, 4]), 1, 2)
        array([0, 4])
    """
    checks.at_least("num_processes", num_processes, 1)
    checks.at_least("process", process, 0)
    if process >= num_processes:
        raise InputError(f"process must be below num_processes = {num_processes}, got {process}")
    if len(index) % num_processes:
        raise InputError(
            f"num_processes must divide the batch size {len(index)}, got {num_processes}"
        )
    size = len(index) // num_processes
    return index[process * size : (process + 1) * size]


def _validate(seed: int, step: int, num_images: int, batch_size: int) -> None:
    checks.seed("seed", seed)
    checks.at_least("step", step, 0)
    checks.at_least("batch_size", batch_size, 1)
    checks.at_least("num_images", num_images, 1)
    if batch_size > num_images:
        raise InputError(f"batch_size must be at most num_images = {num_images}, got {batch_size}")
