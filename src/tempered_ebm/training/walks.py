"""Chains of a trained model on their way, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np


class Walk(NamedTuple):
    """How chains of a model are watched.

    Attributes:
        initial: where they start, leading with the number of chains.
        advance: ``(rng_key, positions) -> positions``, the steps between two frames.
        show: positions to observations.
    """

    initial: jax.Array
    advance: Callable[[jax.Array, jax.Array], jax.Array]
    show: Callable[[jax.Array], jax.Array]


def frames(walk: Walk, rng_key: jax.Array, num_frames: int) -> Iterator[np.ndarray]:
    """Observations at the start and after every advance, ``num_frames`` in all."""
    position = walk.initial
    yield np.asarray(walk.show(position))
    for key in jax.random.split(rng_key, num_frames - 1):
        position = walk.advance(key, position)
        yield np.asarray(walk.show(position))


def segment(num_steps: int | None, num_frames: int) -> int:
    """Steps between frames, so that all of them make about ``num_steps``."""
    return max(1, round((num_steps or 1) / max(1, num_frames - 1)))
