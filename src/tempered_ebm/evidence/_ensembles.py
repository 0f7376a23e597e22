"""Many independent positions behind one leading axis, for a target that is written for one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tempered_ebm.errors import InputError
from tempered_ebm.types import LogDensityFn, Position


def num_ensembles(positions: Position, name: str = "initial_positions") -> int:
    """Length of the leading axis that all leaves share.

    Raises:
        InputError: if they do not share one, naming ``name``.
    """
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(positions)}
    if len(sizes) != 1 or sizes == {()}:
        shapes = jax.tree.map(jnp.shape, positions)
        raise InputError(f"{name} must share one leading axis of ensembles, got {shapes}")
    return sizes.pop()[0]


def per_ensemble(logdensity_fn: LogDensityFn, positions: Position) -> LogDensityFn:
    """Map a log-density of one position over the leading axis of ``positions``.

    Raises:
        InputError: if its value at one position is not a scalar.
    """
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), positions)
    value = jax.eval_shape(logdensity_fn, one)
    if value.shape != ():
        raise InputError(
            f"the log-densities must return a scalar for one position, got shape {value.shape}"
        )
    return jax.vmap(logdensity_fn)
