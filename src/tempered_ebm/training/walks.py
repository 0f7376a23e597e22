"""Chains of a trained model on their way, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from tempered_ebm import plotting


class Walk(NamedTuple):
    """How chains of a model are watched.

    Attributes:
        initial: where they start, leading with the number of chains.
        advance: ``(rng_key, positions) -> positions``, the steps between two frames.
        show: positions to observations.
        potential: positions of latent codes to minus their log densities, up to a constant; None
            where positions are observations.
    """

    initial: jax.Array
    advance: Callable[[jax.Array, jax.Array], jax.Array]
    show: Callable[[jax.Array], jax.Array]
    potential: Callable[[jax.Array], jax.Array] | None = None


def positions(walk: Walk, rng_key: jax.Array, num_frames: int) -> Iterator[jax.Array]:
    """Positions at the start and after every advance, ``num_frames`` in all."""
    position = walk.initial
    yield position
    for key in jax.random.split(rng_key, num_frames - 1):
        position = walk.advance(key, position)
        yield position


def moving_picture(walk: Walk, rng_key: jax.Array, num_frames: int) -> bytes:
    """GIF of the observations on their way; of chains on codes, of their codes beside them."""
    path = list(positions(walk, rng_key, num_frames))
    shown = [np.asarray(walk.show(position)) for position in path]
    if walk.potential is None:
        return plotting.sampling(shown)
    codes = [np.asarray(position) for position in path]
    return plotting.latent_trajectories(codes, [np.asarray(walk.potential(z)) for z in path], shown)


def segment(num_steps: int | None, num_frames: int) -> int:
    """Steps between frames, so that all of them make about ``num_steps``."""
    return max(1, round((num_steps or 1) / max(1, num_frames - 1)))
