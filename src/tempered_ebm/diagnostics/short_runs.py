"""Energy and temperature of short runs: whether they still drift, and how hot chains are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.target import tempered_logdensity
from tempered_ebm.types import PerChain, Position


class EnergyTrace(NamedTuple):
    r"""Energy and force on each chain, at one step or along a run.

    Attributes:
        energy: :math:`-\log p(z)` up to its constant, (\*chains), in a trace
            (num_steps, \*chains).
        gradient_norm: Euclidean norm of :math:`\nabla\log p(z)`, of the same shape.
    """

    energy: Float[Array, "*steps_and_chains"]
    gradient_norm: Float[Array, "*steps_and_chains"]


class EnergyDrift(NamedTuple):
    r"""Summary of the energy along a short run. Shapes lack the axis of the chains.

    Attributes:
        mean_energy: mean over the chains at each step, (num_steps, \*rungs).
        energy_standard_error: its standard error, (num_steps, \*rungs).
        mean_gradient_norm: mean over the chains at each step, (num_steps, \*rungs).
        gradient_norm_standard_error: its standard error, (num_steps, \*rungs).
        drift_per_step: mean slope of the energy over the second half of the run, (\*rungs).
        drift_z_score: that slope in its standard errors, (\*rungs).
    """

    mean_energy: Float[Array, "num_steps *rungs"]
    energy_standard_error: Float[Array, "num_steps *rungs"]
    mean_gradient_norm: Float[Array, "num_steps *rungs"]
    gradient_norm_standard_error: Float[Array, "num_steps *rungs"]
    drift_per_step: Float[Array, "*rungs"]
    drift_z_score: Float[Array, "*rungs"]


def energy_statistic(temperature: PerChain | None = None) -> Callable[[Any, Any], EnergyTrace]:
    """Build the ``statistic_fn`` of :func:`tempered_ebm.inference.trace` that keeps the energy.

    It reads what the state has cached and evaluates nothing.

    Args:
        temperature: None for states that hold one log-density (``ula``, ``mala``). For
            states that hold prior and likelihood apart, the power ``t`` on the likelihood:
            a scalar or one value per chain, and for ``replica_exchange`` its ladder.

    Raises:
        InputError: when used, if the state needs a temperature and has none, or the reverse.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> from tempered_ebm import diagnostics
        >>> kernel = te.ula(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.1)
        >>> _, trace = te.inference.trace(
        ...     jax.random.key(0), kernel, kernel.init(3.0 * jnp.ones((100, 2))), 60,
        ...     statistic_fn=diagnostics.energy_statistic(),
        ... )
        >>> trace.energy.shape
        (60, 100)
    """

    def statistic(state: Any, info: Any) -> EnergyTrace:
        if hasattr(state, "logdensity"):
            if temperature is not None:
                raise InputError(
                    f"temperature must be None for a {type(state).__name__}, which holds one "
                    f"log-density, got {temperature}"
                )
            logdensity, grad = state.logdensity, state.logdensity_grad
        elif temperature is None:
            raise InputError(
                f"temperature must be given for a {type(state).__name__}, which holds prior and "
                "likelihood apart, got None"
            )
        else:
            logdensity, grad = tempered_logdensity(state, temperature)
        return EnergyTrace(-logdensity, jnp.sqrt(chains.inner(grad, grad, logdensity.ndim)))

    return statistic


def energy_drift(trace: EnergyTrace) -> EnergyDrift:
    r"""Summarise a run, and test whether the energy still drifts over its second half.

    Each chain's energy is regressed on the step, which gives independent slopes
    :math:`b_1 \dots b_N` however correlated a chain is in itself, and

    .. math:: z = \bar b \Big/ \sqrt{\widehat{\mathrm{Var}}(b) / N}

    is standard normal without drift (Student's t with N-1 degrees for few chains). A
    strongly negative value says that the run was too short to sample its model: what a
    short-run sampler (Nijkamp et al. 2019) draws from is then defined by the run itself.
    A small value does not prove convergence: chains stuck in modes do not drift.

    Args:
        trace: energies and gradient norms of shape (num_steps, \*rungs, num_chains), at
            least 4 steps and 2 independent chains. The axes in between are kept.

    Returns:
        The summary. A chain that diverged makes it NaN rather than good.

    Raises:
        InputError: if the two fields differ in shape or hold too few steps or chains.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import diagnostics
        >>> falling = -jnp.arange(8.0)[:, None] * jnp.array([1.0, 1.5, 2.0])
        >>> drift = diagnostics.energy_drift(diagnostics.EnergyTrace(falling, abs(falling)))
        >>> float(drift.drift_per_step)
        -1.5
    """
    if not hasattr(trace, "energy") or not hasattr(trace, "gradient_norm"):
        raise InputError(f"trace must be an EnergyTrace, got {trace!r}")
    energy = checks.real_array("trace.energy", trace.energy)
    norm = checks.real_array("trace.gradient_norm", trace.gradient_norm)
    if energy.shape != norm.shape or energy.ndim < 2:
        raise InputError(
            "trace must hold two arrays of one shape (num_steps, *rungs, num_chains), got "
            f"energy {energy.shape} and gradient_norm {norm.shape}"
        )
    num_steps, num_chains = energy.shape[0], energy.shape[-1]
    if num_steps < 4 or num_chains < 2:
        raise InputError(f"trace must hold at least 4 steps and 2 chains, got shape {energy.shape}")

    def standard_error(values: Array) -> Array:
        return values.std(axis=-1, ddof=1) / math.sqrt(num_chains)

    half = energy[num_steps // 2 :]
    step = jnp.arange(half.shape[0], dtype=half.dtype) - 0.5 * (half.shape[0] - 1)
    slope = jnp.tensordot(step, half - half.mean(axis=0), axes=1) / jnp.sum(step**2)
    drift = slope.mean(axis=-1)
    return EnergyDrift(
        mean_energy=energy.mean(axis=-1),
        energy_standard_error=standard_error(energy),
        mean_gradient_norm=norm.mean(axis=-1),
        gradient_norm_standard_error=standard_error(norm),
        drift_per_step=drift,
        drift_z_score=drift / standard_error(slope),
    )


class VirialTemperature(NamedTuple):
    """A temperature ``T`` of ``p**(1/T)``, estimated from independent chains.

    Attributes:
        temperature: the estimate; 1 if the chains follow the density itself.
        standard_error: its Monte Carlo standard error over the chains.
    """

    temperature: Float[Array, ""]
    standard_error: Float[Array, ""]


def virial_temperature(
    position: Position, logdensity_grad: Position, *, chain_ndim: int = 1
) -> VirialTemperature:
    r"""Estimate the temperature ``T`` of chains on :math:`p^{1/T}` by the virial identity.

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
