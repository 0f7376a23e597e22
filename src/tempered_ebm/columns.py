"""Chains in columns: loops over many chains of few coordinates, one array for each coordinate.

A position of shape (N, d) with a small ``d`` makes vectors of length ``d``. Where a log-density
is also written for coordinates, the loops of :mod:`tempered_ebm.inference` take the position
apart before their first step and put it together after the last. The user sees none of it, and
the draws are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

MAX_COLUMNS = 8
_MARK = "takes_columns"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns:
    """A position of shape (N, d) as ``d`` arrays of shape (N,)."""

    arrays: tuple[Float[Array, "N"], ...]


@dataclass(frozen=True, eq=False)
class ByCoordinate:
    """A log-density that is written twice.

    Calling it calls ``logdensity_fn``.

    Attributes:
        logdensity_fn: of positions of shape (..., d), to value of shape (...).
        value_and_grad: ``(x_1, ..., x_d) -> (value, (dx_1, ..., dx_d))`` of coordinates of shape
            (N,): the same log-density and its derivatives.
    """

    logdensity_fn: Callable[[Float[Array, "... d"]], Float[Array, "..."]]
    value_and_grad: Callable[..., tuple[Array, tuple[Array, ...]]]

    def __call__(self, position: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate the log-density."""
        return self.logdensity_fn(position)


def allow(algorithm: SamplingAlgorithm, logdensity_fn: Any) -> SamplingAlgorithm:
    """Mark an algorithm whose step takes columns as well, if the log-density does."""
    if isinstance(logdensity_fn, ByCoordinate):
        setattr(algorithm.step, _MARK, True)
    return algorithm


def enter(kernel: SamplingAlgorithm, state: Any) -> Any:
    """``state`` in columns if kernel, shapes and backend are such that it pays, else as it is."""
    if not getattr(kernel.step, _MARK, False) or jax.default_backend() != "cpu":
        return state
    z = state.position
    if not isinstance(z, jax.Array) or z.ndim != 2 or state.logdensity.ndim != 1:
        return state
    if not 1 < z.shape[1] <= MAX_COLUMNS:
        return state
    return state._replace(
        position=_apart(state.position), logdensity_grad=_apart(state.logdensity_grad)
    )


def leave(state: Any) -> Any:
    """Undo :func:`enter`, for a reader in the loop."""
    if not _is_in_columns(state):
        return state
    return state._replace(
        position=_together(state.position), logdensity_grad=_together(state.logdensity_grad)
    )


def finish(state: Any) -> Any:
    """Undo :func:`enter` after the last step.

    A log-density of infinity, which is none, goes into the position, so that XLA has to compute
    it: where nobody looks at it, its loop computes a part of it anew for every other reader.
    """
    if not _is_in_columns(state):
        return state
    first, *others = state.position.arrays
    first = jnp.where(state.logdensity == jnp.inf, state.logdensity.astype(first.dtype), first)
    return leave(state._replace(position=Columns((first, *others))))


def _is_in_columns(state: Any) -> bool:
    return isinstance(getattr(state, "position", None), Columns)


def _apart(z: Float[Array, "N d"]) -> Columns:
    return Columns(tuple(z[:, j] for j in range(z.shape[1])))


def _together(z: Columns) -> Float[Array, "N d"]:
    return jnp.stack(z.arrays, axis=1)
