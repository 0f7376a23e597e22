"""How hot chains run, from their positions and gradients."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import Position


class VirialTemperature(NamedTuple):
    """A temperature estimated from independent chains.

    Attributes:
        temperature: the estimate; 1 if the chains follow the density itself.
        standard_error: its Monte Carlo standard error over the chains.
    """

    temperature: Float[Array, ""]
    standard_error: Float[Array, ""]


def virial_temperature(
    position: Position, logdensity_grad: Position, *, chain_ndim: int = 1
) -> VirialTemperature:
    r"""Temperature ``T`` of chains that follow :math:`p^{1/T}`, by the virial identity.

    Since :math:`p^{1/T}\nabla\log p = T\,\nabla p^{1/T}`, integration by parts gives, for
    any constant ``c`` and a density on all of :math:`R^d` that decays fast enough,

    .. math:: E[(z - c)\cdot\nabla\log p(z)] = T\int (z - c)\cdot\nabla p^{1/T}\,dz \Big/
              \int p^{1/T}\,dz = -d\,T,

    so ``T`` is minus the covariance of position and gradient, a coordinate. The estimate
    is their sample covariance over the chains, unbiased for independent ones. Centring
    removes what a non-zero mean adds to the variance: :math:`E[\nabla\log p] = 0`.

    *Out of equilibrium* that mean is not zero, and the value depends on the centre. Only
    the centred one is the same in every coordinate system and sees no common slide of all
    chains, but neither is a temperature then: check :func:`energy_drift` first. Chains in
    equilibrium within modes that they do not leave are no problem, since the mean gradient
    vanishes in each mode.

    *Unadjusted chains* run hotter than their noise says. The stationary law of
    :math:`z' = z + h\nabla\log p + \sigma\xi` obeys exactly

    .. math:: T = \frac{\sigma^2}{2h} + \frac{h}{2d}\,E\|\nabla\log p\|^2,

    on a normal of precision :math:`\lambda` the temperature :math:`\sigma^2/2h` divided by
    :math:`1 - h\lambda/2`. A value far from 1 thus convicts either the noise or the step.

    Args:
        position: pytree of floating leaves that lead with the chain axes.
        logdensity_grad: gradient of log p, not divided by any temperature, shaped like
            ``position``.
        chain_ndim: number of leading axes, all of them independent chains.

    Raises:
        InputError: if the shapes differ or there are fewer than two chains.

    Example:
        >>> import jax
        >>> from tempered_ebm import diagnostics
        >>> z = 3.0 * jax.random.normal(jax.random.key(0), (10_000, 5))
        >>> hot = diagnostics.virial_temperature(z, -z)
        >>> bool(abs(hot.temperature - 9) < 5 * hot.standard_error)
        True
    """
    checks.at_least("chain_ndim", chain_ndim, 1)
    position = chains.as_position(position)
    shapes, grad_shapes = jax.tree.map(jnp.shape, (position, logdensity_grad))
    if shapes != grad_shapes:
        raise InputError(
            f"logdensity_grad must be shaped like position, {shapes}, got {grad_shapes}"
        )
    chain_shapes = {leaf.shape[:chain_ndim] for leaf in jax.tree.leaves(position)}
    if len(chain_shapes) != 1 or len(shape := chain_shapes.pop()) < chain_ndim:
        raise InputError(
            f"position must lead with {chain_ndim} chain axes, the same on every leaf, got {shapes}"
        )
    num_chains = math.prod(shape)
    if num_chains < 2:
        raise InputError(f"position must hold at least two chains, got chain shape {shape}")

    def centre(leaf: Array) -> Array:
        return leaf - leaf.mean(axis=tuple(range(chain_ndim)))

    centred, centred_grad = jax.tree.map(centre, (position, logdensity_grad))
    dimension = sum(math.prod(leaf.shape[chain_ndim:]) for leaf in jax.tree.leaves(position))
    terms = -chains.inner(centred, centred_grad, chain_ndim) / dimension
    return VirialTemperature(
        terms.sum() / (num_chains - 1), terms.std(ddof=1) / math.sqrt(num_chains)
    )
