"""Occupancy of known modes by draws."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError


class ModeOccupancy(NamedTuple):
    """Fractions of draws by mode; with ``outside`` they add up to 1.

    Attributes:
        fraction: fraction of the draws that belong to each mode, (M,).
        standard_error: standard error of each fraction over independent chains, (M,).
        outside: fraction that belongs to none.
        outside_standard_error: its standard error.
    """

    fraction: Float[Array, "M"]
    standard_error: Float[Array, "M"]
    outside: Float[Array, ""]
    outside_standard_error: Float[Array, ""]


def mode_occupancy(
    positions: Float[Array, "*draws num_chains d"],
    modes: Float[Array, "M d"],
    *,
    radius: float | None = None,
) -> ModeOccupancy:
    r"""Return the fraction of draws nearest to each mode.

    Chains that start alike and disagree with the known weights have not mixed between
    modes, which neither an acceptance rate nor the energy shows. Draws of one chain are
    averaged before the standard error is taken over chains, so that correlation along a
    chain does not shrink it.

    Args:
        positions: draws of independent chains, (\*draws, num_chains, d), at least two
            chains; the leading axes are draws of the same chain, as
            :func:`tempered_ebm.inference.trace` stacks them.
        modes: centres, (M, d), at least one.
        radius: draws whose Euclidean distance to the nearest mode is larger are outside;
            without it, only draws that are not finite.

    Raises:
        InputError: if shapes do not fit, or ``radius`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import diagnostics
        >>> positions = jnp.array([[-2.1, 0.0], [1.9, 0.1], [2.2, 0.0], [2.0, 9.0]])
        >>> modes = jnp.array([[-2.0, 0.0], [2.0, 0.0]])
        >>> occupancy = diagnostics.mode_occupancy(positions, modes, radius=1.0)
        >>> occupancy.fraction.tolist(), float(occupancy.outside)
        ([0.25, 0.5], 0.25)
    """
    positions = checks.real_array("positions", positions).astype(float)
    modes = checks.real_array("modes", modes).astype(float)
    if modes.ndim != 2 or modes.shape[0] < 1:
        raise InputError(f"modes must have shape (M, d) with M at least 1, got {modes.shape}")
    dimension = modes.shape[1]
    if positions.ndim < 2 or positions.shape[-1] != dimension or positions.shape[-2] < 2:
        raise InputError(
            f"positions must have shape (*draws, num_chains, {dimension}) with at least two "
            f"chains, got {positions.shape}"
        )
    if radius is not None:
        checks.positive("radius", radius)
    distance = jnp.linalg.norm(positions[..., None, :] - modes, axis=-1)
    limit = jnp.inf if radius is None else radius
    is_outside = ~jnp.isfinite(distance).all(-1) | ~(distance.min(-1) <= limit)
    label = jnp.where(is_outside, modes.shape[0], distance.argmin(-1))
    belongs = jax.nn.one_hot(label, modes.shape[0] + 1, dtype=distance.dtype)
    by_chain = belongs.mean(axis=tuple(range(belongs.ndim - 2)))
    fraction = by_chain.mean(axis=0)
    error = by_chain.std(axis=0, ddof=1) / math.sqrt(by_chain.shape[0])
    return ModeOccupancy(fraction[:-1], error[:-1], fraction[-1], error[-1])
