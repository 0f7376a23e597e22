"""Algorithms that :class:`tempered_ebm.numpyro.Kernel` can run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import mala, replica_exchange, ula
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Position

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

NAMES = ("mala", "ula", "replica_exchange")
DEFAULT_STEP_SIZE = 0.1
DEFAULT_NUM_TEMPERATURES = 8
DEFAULT_POWER = 3.0


class Algorithm(NamedTuple):
    """An algorithm as NumPyro's driver runs it.

    Attributes:
        build: ``(density, step_size, inverse_mass_matrix=...) -> SamplingAlgorithm``, or of the
            density alone where there is no first step size; the density is a target if
            ``needs_target``, and one log-density function otherwise.
        needs_target: whether prior and likelihood are needed apart.
        is_adjusted: whether the acceptance rate tunes step sizes and metric.
        step_size: the first step size, scalar or one per rung; None if there is none.
        num_rungs: number of temperatures, or None for a single chain.
    """

    build: Callable[..., SamplingAlgorithm]
    needs_target: bool
    is_adjusted: bool
    step_size: Float[Array, "*rungs"] | None
    num_rungs: int | None = None

    def spread(self, position: Position) -> Position:
        """Return a copy of a position on every rung."""
        if self.num_rungs is None:
            return position
        shape = (self.num_rungs,)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape + leaf.shape), position)

    def cold(self, tree: Any) -> Any:
        """Return the values of the rung at ``t = 1``."""
        return tree if self.num_rungs is None else jax.tree.map(lambda leaf: leaf[-1], tree)


def choose(
    algorithm: str | Callable[[TemperedTarget], SamplingAlgorithm],
    step_size: Any,
    temperatures: Any,
    swap_every: int,
) -> Algorithm:
    """Return the algorithm of this name, or wrap a function of the target.

    Raises:
        InputError: for an unknown name, a missing step size, or an argument of another
            algorithm.
    """
    if algorithm != "replica_exchange" and temperatures is not None:
        raise InputError(
            f"temperatures belong to algorithm='replica_exchange', got algorithm={algorithm!r}"
        )
    if callable(algorithm):
        if step_size is not None:
            raise InputError(
                f"step_size must be set inside the function given as algorithm, got {step_size}"
            )
        return Algorithm(algorithm, True, False, None)
    if algorithm == "mala":
        return Algorithm(mala.as_top_level_api, False, True, _checked(step_size))
    if algorithm == "ula":
        if step_size is None:
            raise InputError(
                "step_size must be given for algorithm='ula': the unadjusted chain has no "
                "acceptance rate to tune it by, and its bias grows with the step size"
            )
        return Algorithm(ula.as_top_level_api, False, False, _checked(step_size))
    if algorithm == "replica_exchange":
        return _replica_exchange(step_size, temperatures, swap_every)
    raise InputError(
        f"algorithm must be one of {NAMES} or a function of the target, got {algorithm!r}"
    )


def _checked(step_size: Any, shape: tuple[int, ...] = ()) -> Array:
    step_size = DEFAULT_STEP_SIZE if step_size is None else step_size
    checks.positive("step_size", step_size)
    if jnp.shape(step_size) not in ((), shape):
        raise InputError(
            f"step_size must be one number{' or one per rung' if shape else ''}, got shape "
            f"{jnp.shape(step_size)}"
        )
    return jnp.broadcast_to(jnp.asarray(step_size, float), shape)


def _replica_exchange(step_size: Any, temperatures: Any, swap_every: int) -> Algorithm:
    if temperatures is None:
        temperatures = DEFAULT_NUM_TEMPERATURES
    if isinstance(temperatures, int):
        temperatures = schedules.power(temperatures, DEFAULT_POWER)
    ladder = schedules.validate(temperatures)
    checks.at_least("swap_every", swap_every, 1)
    build = partial(replica_exchange.as_top_level_api, temperatures=ladder, swap_every=swap_every)
    return Algorithm(build, True, True, _checked(step_size, ladder.shape), ladder.size)


def as_flat(inverse_mass_matrix: Any) -> Float[Array, "d"] | None:
    """Return a diagonal metric as a flat vector, in the order of ``ravel_pytree``."""
    if inverse_mass_matrix is None:
        return None
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    return ravel_pytree(inverse_mass_matrix)[0]
