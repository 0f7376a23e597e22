"""Arithmetic over chain axes.

A log-density may return a scalar (one chain) or one value per chain (a batch).
The shape of that value is the *chain shape*; it leads on every leaf of the
position, and what follows it belongs to a single chain. These few functions
are all that the kernels need to serve both cases with one code path.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import LogDensityFn, PerChain, Position


def as_position(position: Position) -> Position:
    """Return ``position`` with every leaf a strongly typed floating array.

    Raises:
        InputError: if a leaf is not of a floating dtype, or there is none.
    """
    if not jax.tree.leaves(position):
        raise InputError(f"position must have at least one array, got {position!r}")

    def convert(path: tuple, leaf: Array) -> Array:
        name = "position" + jax.tree_util.keystr(path)
        try:
            dtype = jnp.result_type(leaf)
        except (TypeError, ValueError):
            raise InputError(f"{name} must be a floating array, got {leaf!r}") from None
        if not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(f"{name} must have a floating dtype, got {dtype}")
        return jnp.asarray(leaf, dtype=dtype)

    return jax.tree_util.tree_map_with_path(convert, position)


def value_and_grad(
    logdensity_fn: LogDensityFn, position: Position, *, name: str = "logdensity_fn"
) -> tuple[Float[Array, "*chains"], Position]:
    """Evaluate a log-density and its gradient for one chain or a batch of chains.

    The gradient is one vector-Jacobian product with ones, hence for a batch the
    gradient of each chain's own value: one forward and one backward pass.

    Args:
        logdensity_fn: ``position -> value``, of shape ``()`` or of the chain shape.
        position: pytree whose leaves lead with the chain shape.
        name: what an error calls the function.

    Returns:
        The value, of the chain shape, and the gradient, shaped like ``position``.

    Raises:
        InputError: if the value is not a floating array, or its shape does not lead
            on every leaf of ``position``.
    """

    def evaluate(position: Position) -> Array:
        value = logdensity_fn(position)
        if not isinstance(
            value, jax.Array | np.ndarray | np.floating | float
        ) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise InputError(f"{name} must return one floating array, got {value!r}")
        return jnp.asarray(value, dtype=jnp.result_type(value))

    with checks.traceable(name):
        value, vjp = jax.vjp(evaluate, position)
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        if leaf.shape[: value.ndim] != value.shape:
            leaf_name = "position" + jax.tree_util.keystr(path)
            raise InputError(
                f"{name} returned shape {value.shape}; expected () for one chain, or one value "
                f"per chain, i.e. leading axes of {leaf_name}, whose shape is {leaf.shape}"
            )
    with checks.traceable(name):
        (grad,) = vjp(jnp.ones_like(value))
    return value, grad


def expand(values: PerChain, like: Array, *, name: str = "a per-chain value") -> Array:
    """Append axes to ``values`` until they broadcast against ``like`` from the left.

    Args:
        values: scalar, or an array whose axes match the leading axes of ``like``.
        like: array that leads with the chain shape.
        name: what an error calls the values.

    Returns:
        ``values`` in the dtype of ``like``, with ``like.ndim`` axes (or none, for a scalar).

    Raises:
        InputError: if ``values`` does not fit the leading axes of ``like``.
    """
    values = jnp.asarray(values)
    if values.dtype != jnp.bool_:
        values = values.astype(like.dtype)
    if values.ndim == 0:
        return values
    leading = like.shape[: values.ndim]
    if len(leading) < values.ndim or any(
        size not in (1, axis) for size, axis in zip(values.shape, leading, strict=True)
    ):
        raise InputError(
            f"{name} has shape {values.shape}; expected () or leading axes of {like.shape}"
        )
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def inner(left: Position, right: Position, chain_ndim: int) -> Float[Array, "*chains"]:
    """Return the inner product of two positions within each chain."""

    def leaf_inner(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=tuple(range(chain_ndim, a.ndim)))

    return jax.tree.reduce(operator.add, jax.tree.map(leaf_inner, left, right))


def as_metric(inverse_mass_matrix: Any, position: Position, chain_ndim: int) -> Position | None:
    """Return a diagonal metric as a pytree like ``position``, or None for the identity.

    Args:
        inverse_mass_matrix: None; or a pytree like the position, whose leaves broadcast
            against its leaves from the right, so that one chain's diagonal serves a batch;
            or BlackJAX's flat vector, in the order of ``ravel_pytree`` of one chain.
        position: position of the chains.
        chain_ndim: number of chain axes.

    Raises:
        InputError: for any other structure or shape.
    """
    if inverse_mass_matrix is None:
        return None
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    leaves, treedef = jax.tree.flatten(position)
    events = [leaf.shape[chain_ndim:] for leaf in leaves]
    sizes = [math.prod(event) for event in events]
    structure: Any = jax.tree.structure(inverse_mass_matrix)
    if structure == treedef:
        factors = [jnp.asarray(factor) for factor in jax.tree.leaves(inverse_mass_matrix)]
        if all(map(_fits_from_the_right, factors, leaves)):
            return jax.tree.unflatten(
                treedef, [f.astype(leaf.dtype) for f, leaf in zip(factors, leaves)]
            )
    is_array = jax.tree_util.all_leaves([inverse_mass_matrix])
    if is_array and jnp.shape(inverse_mass_matrix) == (sum(sizes),):
        parts = jnp.split(jnp.asarray(inverse_mass_matrix), np.cumsum(sizes)[:-1])
        return jax.tree.unflatten(
            treedef,
            [p.reshape(e).astype(leaf.dtype) for p, e, leaf in zip(parts, events, leaves)],
        )
    got = jax.tree.map(jnp.shape, inverse_mass_matrix)
    raise InputError(
        "inverse_mass_matrix must be a diagonal: like the position of one chain, of shape "
        f"{jax.tree.unflatten(treedef, events)}, or a vector of {sum(sizes)}, got shape {got}"
    )


def forms_of_a_diagonal(
    inverse_mass_matrix: Any, position: Position, chain_ndim: int
) -> list[list[tuple[int, ...]]]:
    """Return the shapes that the leaves of one diagonal may have: like a chain's, or a vector."""
    leaves, treedef = jax.tree.flatten(position)
    events = [leaf.shape[chain_ndim:] for leaf in leaves]
    structure: Any = jax.tree.structure(inverse_mass_matrix)
    like = [events] if structure == treedef else []
    is_array = jax.tree_util.all_leaves([inverse_mass_matrix])
    return [*like, [(sum(map(math.prod, events)),)]] if is_array else like


def _fits_from_the_right(factor: Array, leaf: Array) -> bool:
    trailing = leaf.shape[leaf.ndim - factor.ndim :]
    return factor.ndim <= leaf.ndim and all(
        size in (1, axis) for size, axis in zip(factor.shape, trailing, strict=True)
    )


def scale(factors: Position | None, tree: Position) -> Position:
    """Multiply leaf by leaf, ``None`` standing for ones."""
    return tree if factors is None else jax.tree.map(jnp.multiply, factors, tree)


def select(
    condition: Bool[Array, "*chains"], when_true: Position, when_false: Position
) -> Position:
    """Choose chain by chain between two pytrees that lead with the chain shape."""
    return jax.tree.map(lambda a, b: jnp.where(expand(condition, a), a, b), when_true, when_false)
