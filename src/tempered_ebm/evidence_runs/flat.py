"""Targets of one position as targets of batches of vectors, the same object for the same target."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tempered_ebm import chains
from tempered_ebm.errors import InputError
from tempered_ebm.evidence_runs import ensembles
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import LogDensityFn, Position


class Flat(NamedTuple):
    """A target on vectors, and positions as vectors.

    Attributes:
        target: prior and likelihood of ``(..., d)`` vectors; one object for one given target,
            so that programs compiled for it are found again.
        position: the positions, (N, d).
        unravel: vectors of shape ``(..., d)`` to positions behind the same axes.
    """

    target: TemperedTarget
    position: Float[Array, "N d"]
    unravel: Callable[[Float[Array, "*batch d"]], Position]


def flatten(target: TemperedTarget | tuple, positions: Position) -> Flat:
    """Turn a target of one position, and a batch of positions, into vectors.

    Args:
        target: prior and likelihood of one position, or a pair of functions.
        positions: pytree whose leaves share a leading axis.

    Raises:
        InputError: if ``target`` is not two functions, the leaves do not share a leading axis, a
            leaf is not floating, or a function does not return a scalar for one position.
    """
    pair = tuple(target) if isinstance(target, tuple) else (target,)
    if len(pair) != 2 or not all(map(callable, pair)):
        raise InputError(
            "target must be a TemperedTarget or a pair (logprior_fn, loglikelihood_fn), got "
            f"{target!r}"
        )
    positions = chains.as_position(positions)
    ensembles.num_ensembles(positions)
    leaves, treedef = jax.tree.flatten(positions)
    events = tuple((leaf.shape[1:], leaf.dtype) for leaf in leaves)
    halves = tuple(fn if _is_hashable(fn) else _Opaque(fn) for fn in pair)
    for fn in halves:
        ensembles.per_ensemble(fn, positions)
    vectors = jax.vmap(lambda position: ravel_pytree(position)[0])(positions)
    return Flat(_batched(halves, treedef, events), vectors, _unraveler(treedef, events))


class _Opaque:
    """A function that has no hash of its own."""

    def __init__(self, fn: Callable) -> None:
        self._fn = fn

    def __call__(self, position: Position) -> Array:
        return self._fn(position)


def _is_hashable(fn: Any) -> bool:
    try:
        hash(fn)
    except TypeError:
        return False
    return True


def _example(treedef: Any, events: tuple) -> Position:
    return jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*event) for event in events])


def _over_leading_axes(fn: Callable, vectors: Float[Array, "*batch d"]) -> Any:
    for _ in range(vectors.ndim - 1):
        fn = jax.vmap(fn)
    return fn(vectors)


def _unravel_one(treedef: Any, events: tuple) -> Callable[[Float[Array, "d"]], Position]:
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _example(treedef, events))
    return ravel_pytree(zeros)[1]


def _unraveler(treedef: Any, events: tuple) -> Callable:
    return functools.partial(_over_leading_axes, _unravel_one(treedef, events))


@functools.lru_cache(maxsize=16)
def _batched(halves: tuple, treedef: Hashable, events: tuple) -> TemperedTarget:
    unravel = _unravel_one(treedef, events)

    def batched(fn: LogDensityFn) -> LogDensityFn:
        def logdensity(vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
            return _over_leading_axes(lambda vector: fn(unravel(vector)), vectors)

        return logdensity

    return TemperedTarget(*map(batched, halves))
