"""Targets of one position as targets of batches of vectors, which are known again."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import _ensembles as ensembles
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import LogDensityFn, Position


class Flat(NamedTuple):
    """A target on vectors, and positions as vectors.

    Attributes:
        target: prior and likelihood of ``(..., d)`` vectors; the same object as before if the
            functions and their data are, so that programs compiled for it are found again.
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
    example = _example(treedef, events)
    for fn in pair:
        ensembles.per_ensemble(fn, positions)
    halves = tuple(map(_trace, pair, (example, example)))
    vectors = jax.vmap(lambda position: ravel_pytree(position)[0])(positions)
    return Flat(_remembered(halves, treedef, events), vectors, _unraveler(treedef, events))


def _trace(fn: LogDensityFn, example: Position) -> ClosedJaxpr:
    """The program of a function as it is now; JAX remembers traces of the same object."""
    return jax.make_jaxpr(lambda position: fn(position))(example)


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


_MOST_TARGETS = 16
_targets: OrderedDict[Hashable, TemperedTarget] = OrderedDict()


def _remembered(halves: tuple, treedef: Hashable, events: tuple) -> TemperedTarget:
    """The target of these programs, the same object as before for the same programs.

    What is compared, and what is run later, are the functions as they were just traced, the
    data that they closed over included: a function that reads other data than last time is
    another target, and one that is given again compiles nothing.
    """
    key = (*map(_contents, halves), treedef, events)
    if key not in _targets:
        _targets[key] = _batched(halves, treedef, events)
        while len(_targets) > _MOST_TARGETS:
            _targets.popitem(last=False)
    return _targets[key]


def _contents(closed: ClosedJaxpr) -> tuple[str, tuple, tuple]:
    """A program in words, every array in it, and the Python functions that it calls back."""
    arrays, functions = [], []
    for part in _parts(closed):
        if callable(part):
            functions.append(part)
        else:
            array = np.asarray(part)
            arrays.append((array.shape, str(array.dtype), array.tobytes()))
    return str(closed.jaxpr), tuple(arrays), tuple(functions)


def _parts(program: Any) -> Iterator[Any]:
    """Constants, literals and callbacks of a program and of the programs within it."""
    if isinstance(program, list | tuple):
        for item in program:
            yield from _parts(item)
    elif hasattr(program, "eqns"):
        # Open programs have constants as well, or none of the name, by the version of JAX.
        yield from getattr(program, "consts", ())
        for equation in program.eqns:
            yield from (v.val for v in equation.invars if hasattr(v, "val"))
            yield from _parts(tuple(equation.params.values()))
            if "callback" in equation.primitive.name:
                yield equation.params.get("callback", equation)


def _batched(halves: tuple, treedef: Any, events: tuple) -> TemperedTarget:
    unravel = _unravel_one(treedef, events)

    def batched(closed: ClosedJaxpr) -> LogDensityFn:
        def one(vector: Float[Array, "d"]) -> Float[Array, ""]:
            (value,) = jaxpr_as_fun(closed)(*jax.tree.leaves(unravel(vector)))
            return value

        def logdensity(vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
            return _over_leading_axes(one, vectors)

        return logdensity

    return TemperedTarget(*map(batched, halves))
