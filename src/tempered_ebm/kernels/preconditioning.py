"""Diagonal preconditioners that change along an unadjusted chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import Position


class Preconditioner(NamedTuple):
    """A rule that turns the gradients of one chain into a diagonal ``D``.

    Attributes:
        init: ``position -> state``.
        update: ``(gradient, state) -> (D, state)``, with ``D`` positive and shaped like
            the gradient.
    """

    init: Callable[[Position], Any]
    update: Callable[[Position, Any], tuple[Position, Any]]


def rmsprop(decay: float = 0.99, damping: float = 1e-5) -> Preconditioner:
    r"""Return the preconditioner of RMSProp, for drift and noise alike (Li et al. 2016).

    .. math:: v \leftarrow \rho v + (1-\rho)\,g^2, \qquad D = 1 / (\sqrt v + \lambda),
              \qquad v_0 = 1

    The chain is :math:`z' = z + h D g + \sqrt{2hD}\,\xi`: the noise has the metric of the
    drift, unlike ``drift=optax.scale_by_rms()``, which rescales the drift alone and leaves
    another law invariant. ``D`` starts as the identity, whatever the first gradients are,
    and follows the chain with a lag of :math:`1/(1-\rho)` steps; the
    correction for its dependence on the position, :math:`\nabla\cdot D`, is left out as in
    the paper, and what bias that leaves vanishes as :math:`\rho \to 1`.

    Args:
        decay: ``ρ`` in [0, 1).
        damping: ``λ > 0``, which bounds ``D``.

    Raises:
        InputError: if ``decay`` or ``damping`` is out of range.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> from tempered_ebm.kernels import preconditioning
        >>> kernel = te.ula(
        ...     lambda z: -0.5 * jnp.sum((z / jnp.array([1.0, 10.0])) ** 2), 0.05,
        ...     inverse_mass_matrix=preconditioning.rmsprop(),
        ... )
        >>> state = te.inference.short_run(jax.random.key(0), kernel, jnp.ones(2), 10)
        >>> state.position.shape
        (2,)
    """
    checks.positive("damping", damping)
    checks.in_unit_interval("decay", decay)
    if decay == 1:
        raise InputError(f"decay must be in [0, 1), got {decay}")

    def init(position: Position) -> Position:
        return jax.tree.map(jnp.ones_like, position)

    def update(grad: Position, square: Position) -> tuple[Position, Position]:
        square = jax.tree.map(lambda v, g: decay * v + (1 - decay) * g**2, square, grad)
        return jax.tree.map(lambda v: 1 / (jnp.sqrt(v) + damping), square), square

    return Preconditioner(init, update)
