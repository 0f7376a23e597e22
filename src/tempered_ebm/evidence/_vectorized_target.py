"""Vectorise a target over raveled positions, its closed-over arrays as operands."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float

from tempered_ebm import _chains, _closures
from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import LogDensityFn, Position

_Function = TypeVar("_Function", bound=Callable)


class VectorizedTarget(NamedTuple):
    """A target on vectors, and positions as vectors.

    Attributes:
        target: prior and likelihood of ``(..., d)`` vectors, a pytree whose leaves are the
            arrays that they close over. Give it to compiled functions as an argument.
        position: the positions, (N, d).
        unravel: vectors of shape ``(..., d)`` to positions behind the same axes.
    """

    target: TemperedTarget
    position: Float[Array, "N d"]
    unravel: Callable[[Float[Array, "*batch d"]], Position]


def standard_promotion(fn: _Function) -> _Function:
    """Let a function promote dtypes, whatever ``jax_numpy_dtype_promotion`` is outside of it."""

    @functools.wraps(fn)
    def promoting(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return fn(*args, **kwargs)

    return cast(_Function, promoting)


def vectorize(target: TemperedTarget | tuple, positions: Position) -> VectorizedTarget:
    """Return the target of one position, and a batch of positions, in terms of vectors.

    Args:
        target: prior and likelihood of one position, or a pair of functions.
        positions: pytree whose leaves share a leading axis.

    Raises:
        InputError: if ``target`` is not two functions, the leaves do not share a leading axis, a
            leaf is not floating, or a function does not return a scalar for one position.
    """
    pair = as_target(target)
    # In one precision from here on: that of JAX, or higher.
    positions = jax.tree.map(_at_least_default, _chains.as_position(positions))
    num_ensembles(positions)
    for name, fn in pair._asdict().items():
        with checks.traceable(name):
            per_ensemble(fn, positions)
    one = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), positions)
    vector, unravel_one = ravel_pytree(one)

    def over_vectors(fn: LogDensityFn) -> Partial:
        def one_vector(vector: Float[Array, "d"]) -> Float[Array, ""]:
            return jnp.asarray(fn(unravel_one(vector)), vector.dtype)

        # The fit of a reference takes Hessians.
        closed = _closures.close(one_vector, vector, num_derivatives=2)
        return Partial(_InGroups(_closures.most_at_once(closed, vector)), closed)

    return VectorizedTarget(
        TemperedTarget(*map(over_vectors, pair)),
        jax.vmap(lambda position: ravel_pytree(position)[0])(positions),
        functools.partial(_over_leading_axes, unravel_one),
    )


def _at_least_default(leaf: Array) -> Array:
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.result_type(float)))


def as_target(target: Any) -> TemperedTarget:
    """Return a pair of functions as a target.

    Raises:
        InputError: if it is not two functions.
    """
    pair = tuple(target) if isinstance(target, tuple) else (target,)
    if len(pair) != 2 or not all(map(callable, pair)):
        raise InputError(
            "target must be a TemperedTarget or a pair (logprior_fn, loglikelihood_fn), got "
            f"{target!r}"
        )
    return TemperedTarget(*pair)


def num_ensembles(positions: Position, name: str = "initial_positions") -> int:
    """Return the length of the leading axis that all leaves share.

    Raises:
        InputError: if they do not share one, naming ``name``.
    """
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(positions)}
    if len(sizes) != 1 or sizes == {()}:
        shapes = jax.tree.map(jnp.shape, positions)
        raise InputError(f"{name} must share one leading axis of ensembles, got {shapes}")
    if sizes == {(0,)}:
        raise InputError(f"{name} must have one position at least, got none")
    return sizes.pop()[0]


def per_ensemble(logdensity_fn: LogDensityFn, positions: Position) -> LogDensityFn:
    """Map a log-density of one position over the leading axis of ``positions``.

    Raises:
        InputError: if its value at one position is not a scalar.
    """
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), positions)
    value = jax.eval_shape(logdensity_fn, one)
    if getattr(value, "shape", None) != ():
        raise InputError(
            "the log-densities must return a scalar for one position, got "
            f"{f'shape {value.shape}' if hasattr(value, 'shape') else repr(value)}"
        )
    return jax.vmap(logdensity_fn)


class _InGroups(NamedTuple):
    """Maps a function of one vector over leading axes, a group of this size at a time."""

    size: int

    def __call__(self, fn: Callable, vectors: Float[Array, "*batch d"]) -> Array:
        batch = vectors.shape[:-1]
        if math.prod(batch) <= self.size:
            return _over_leading_axes(fn, vectors)
        # Without a checkpoint the backward pass would keep the intermediates of all groups.
        flat = vectors.reshape(-1, vectors.shape[-1])
        return jax.lax.map(jax.checkpoint(fn), flat, batch_size=self.size).reshape(batch)


def _over_leading_axes(fn: Callable, vectors: Float[Array, "*batch d"]) -> Any:
    for _ in range(vectors.ndim - 1):
        fn = jax.vmap(fn)
    return fn(vectors)
