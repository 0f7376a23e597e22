"""Evaluation of a function of many chains in blocks, which saves memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float


def _over_blocks(fn: Callable[[Array], Any], size: int, z: Array) -> Any:
    whole = len(z) // size * size
    blocks = jax.lax.map(fn, z[:whole].reshape(-1, size, *z.shape[1:]))
    done = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), blocks)
    if whole == len(z):
        return done
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), done, fn(z[whole:]))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def in_blocks(
    fn: Callable[[Any, Array], Array], size: int, operands: Any, z: Float[Array, "n *lead d"]
) -> Float[Array, "n *lead"]:
    """Evaluate ``fn(operands, z)`` for ``size`` entries of the leading axis of ``z`` at a time.

    The gradient in ``z`` is taken together with the value, block by block: a loop that is
    differentiated afterwards would keep the intermediate values of all blocks. A gradient in
    ``operands`` evaluates each block once more.

    Args:
        fn: one value for each vector of ``z``, a function of that vector alone; hashable.
        size: entries of a block; the last one may have fewer.
        operands: pytree of arrays that all blocks share.
        z: vectors; its leading axis has at least ``size`` entries.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.models._blocks import in_blocks
        >>> in_blocks(lambda a, z: a * jnp.sum(z, -1), 2, 3.0, jnp.ones((5, 4))).tolist()
        [12.0, 12.0, 12.0, 12.0, 12.0]
    """
    return _over_blocks(lambda block: fn(operands, block), size, z)


@functools.partial(in_blocks.defjvp, symbolic_zeros=True)
def _tangent(
    fn: Callable[[Any, Array], Array], size: int, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    operands, z = primals
    values, tangent = None, None
    if not isinstance(tangents[1], SymbolicZero):

        def with_gradient(block: Array) -> tuple[Array, Array]:
            values, pull = jax.vjp(lambda block: fn(operands, block), block)
            return values, *pull(jnp.ones_like(values))

        values, gradient = _over_blocks(with_gradient, size, z)
        tangent = jnp.sum(gradient * tangents[1], -1)
    structure: Any
    leaves, structure = jax.tree.flatten(operands)
    changes = structure.flatten_up_to(tangents[0])
    moving = [i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero)]
    if moving:

        def values_of(moved: list[Array]) -> Array:
            now = dict(zip(moving, moved, strict=True))
            together = structure.unflatten([now.get(i, leaf) for i, leaf in enumerate(leaves)])
            return _over_blocks(jax.checkpoint(lambda block: fn(together, block)), size, z)

        values, pushed = jax.jvp(
            values_of, ([leaves[i] for i in moving],), ([changes[i] for i in moving],)
        )
        tangent = pushed if tangent is None else tangent + pushed
    if values is None or tangent is None:
        values = in_blocks(fn, size, operands, z)
        tangent = jnp.zeros_like(values)
    return values, tangent
