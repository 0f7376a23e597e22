"""Langevin kernels on a tempered path, with the two halves of the density cached apart.

Keeping the log prior, the log-likelihood and their gradients apart costs nothing
when they come from separate functions. It makes the log-likelihood of every draw,
the integrand of thermodynamic integration, free, and lets a chain change its
temperature without a new evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.kernels import langevin
from tempered_ebm.kernels._noise import NoiseSource, check_noise, jax_random_noise
from tempered_ebm.target import TemperedTarget, check_target, tempered_logdensity
from tempered_ebm.types import PerChain, Position, PriorSampler, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class TemperedState(NamedTuple):
    """State of a chain on a tempered path, or of a batch of them.

    Attributes:
        position: current position.
        logprior: log prior at the position, of the chain shape.
        loglikelihood: log-likelihood at the position, of the chain shape.
        logprior_grad: gradient of the log prior, shaped like the position.
        loglikelihood_grad: gradient of the log-likelihood, shaped like the position.
    """

    position: Position
    logprior: Float[Array, "*chains"]
    loglikelihood: Float[Array, "*chains"]
    logprior_grad: Position
    loglikelihood_grad: Position


def init(position: Position, target: TemperedTarget) -> TemperedState:
    """Evaluate both halves of the target and their gradients at ``position``.

    Raises:
        InputError: for a position that is not floating, or halves whose shapes do not
            agree or do not lead on the position.
    """
    position = chains.as_position(position)
    return TemperedState(position, *target.evaluate(position))


def check_initial_state(state: TemperedState, temperature: PerChain) -> TemperedState:
    """Return ``state`` unless a chain starts at NaN on its own rung.

    Raises:
        InputError: naming the first such chain. At ``t = 0`` the likelihood is not seen.
    """
    value, grad = tempered_logdensity(state, temperature)
    checks.check_initial_state("the tempered log-density", value, grad, state.position)
    return state


def build_ula_kernel(noise: NoiseSource = jax_random_noise) -> Callable:
    """Build ``(rng_key, state, target, temperature, step_size, ...) -> (state, info)``, unadjusted.

    The last argument is ``inverse_mass_matrix`` and may be left out.

    Args:
        noise: source of the noise.
    """

    def kernel(
        rng_key: PRNGKey,
        state: TemperedState,
        target: TemperedTarget,
        temperature: PerChain,
        step_size: PerChain,
        inverse_mass_matrix: Position | None = None,
    ) -> tuple[TemperedState, langevin.LangevinInfo]:
        checks.key("rng_key", rng_key)
        logdensity, grad = tempered_logdensity(state, temperature)
        metric = chains.as_metric(inverse_mass_matrix, state.position, logdensity.ndim)
        drift = chains.scale(metric, grad)
        h = chains.expand(step_size, logdensity, name="step_size")
        position = langevin.propose(
            rng_key, state.position, drift, h, inverse_mass_matrix=metric, noise=noise
        )
        info = langevin.LangevinInfo(
            jnp.sqrt(chains.inner(drift, drift, logdensity.ndim)), jnp.ones_like(logdensity)
        )
        return TemperedState(position, *target.evaluate(position)), info

    return kernel


def build_mala_kernel(noise: NoiseSource = jax_random_noise) -> Callable:
    """Build ``(rng_key, state, target, temperature, step_size, ...) -> (state, info)``, adjusted.

    The last arguments, ``inverse_mass_matrix`` and ``sample_prior``, may be left out. With
    ``sample_prior``, ``(rng_key, chain_shape) -> position``, a chain at ``t = 0`` moves to an
    independent draw in the place of a Langevin proposal, and always accepts.

    Args:
        noise: source of the noise.
    """

    def kernel(
        rng_key: PRNGKey,
        state: TemperedState,
        target: TemperedTarget,
        temperature: PerChain,
        step_size: PerChain,
        inverse_mass_matrix: Position | None = None,
        sample_prior: PriorSampler | None = None,
    ) -> tuple[TemperedState, langevin.MetropolisInfo]:
        checks.key("rng_key", rng_key)
        noise_key, accept_key = jax.random.split(rng_key)
        logdensity, grad = tempered_logdensity(state, temperature)
        metric = chains.as_metric(inverse_mass_matrix, state.position, logdensity.ndim)
        position = langevin.propose(
            noise_key,
            state.position,
            chains.scale(metric, grad),
            step_size,
            inverse_mass_matrix=metric,
            noise=noise,
        )
        is_exact = jnp.zeros(logdensity.shape, bool)
        if sample_prior is not None:
            is_exact |= chains.expand(temperature, logdensity) == 0
            draw = sample_prior(jax.random.fold_in(noise_key, 1), logdensity.shape)
            position = chains.select(is_exact, draw, position)
        proposal = TemperedState(position, *target.evaluate(position))
        new_logdensity, new_grad = tempered_logdensity(proposal, temperature)
        log_ratio = langevin.log_acceptance_ratio(
            state.position, logdensity, grad, position, new_logdensity, new_grad, step_size, metric
        )
        log_ratio = jnp.where(is_exact, 0.0, log_ratio)
        return langevin.metropolis(accept_key, log_ratio, proposal, state, noise)

    return kernel


def _as_sampling_algorithm(
    build_kernel: Callable,
    target: TemperedTarget,
    temperature: PerChain,
    step_size: PerChain,
    inverse_mass_matrix: Position | None,
    noise: NoiseSource,
) -> SamplingAlgorithm:
    from blackjax.base import build_sampling_algorithm

    check_target(target)
    check_noise(noise)
    checks.in_unit_interval("temperature", temperature)
    checks.positive("step_size", step_size)
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    return build_sampling_algorithm(
        build_kernel(noise),
        lambda position, target: check_initial_state(init(position, target), temperature),
        target,
        kernel_args=(temperature, step_size, inverse_mass_matrix),
    )


@langevin.sampling_api("tempered_ula", init, build_ula_kernel)
def tempered_ula(
    target: TemperedTarget,
    temperature: PerChain,
    step_size: PerChain,
    *,
    inverse_mass_matrix: Position | None = None,
    noise: NoiseSource = jax_random_noise,
) -> SamplingAlgorithm:
    r"""Build an unadjusted Langevin algorithm (ULA) on :math:`q_t(z) \propto p(z)\exp(t\,\ell(z))`.

    .. math:: z' = z + h\,(\nabla\log p(z) + t\,\nabla\ell(z)) + \sqrt{2h}\,\xi

    Both gradients are evaluated once a step, whatever ``t``. The temperature is data:
    one compilation serves every value, and a ladder may be folded into the chain axis
    by giving one temperature per chain.

    Args:
        target: prior and likelihood.
        temperature: power ``t`` on the likelihood in [0, 1], scalar or one value per chain: 0
            is the prior, 1 the posterior. (The ``noise_temperature`` of
            :func:`tempered_ebm.ula` is another quantity: the ``T`` of :math:`p^{1/T}`.)
        step_size: ``h > 0``, scalar or one value per chain, in squared units of the position.
        inverse_mass_matrix: positive diagonal ``D`` that multiplies the gradient and the
            variance of the noise, the identity by default: a pytree like the position of one
            chain, or BlackJAX's flat vector.
        noise: source of the noise (:class:`tempered_ebm.kernels.NoiseSource`).

    Returns:
        A ``blackjax.base.SamplingAlgorithm`` whose state carries ``logprior`` and
        ``loglikelihood``.

    Raises:
        InputError: if ``temperature`` leaves [0, 1] or ``step_size`` is not positive; by
            ``init``, for a position that is not floating, log-densities of the wrong shape,
            or chains that start at NaN on their own rung.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -jnp.sum((z - 1) ** 2, -1)
        ... )
        >>> kernel = te.tempered_ula(target, te.schedules.uniform(5), step_size=0.1)
        >>> state = kernel.init(jnp.zeros((5, 2)))  # five rungs as five chains
        >>> state, _ = kernel.step(jax.random.key(0), state)
        >>> state.loglikelihood.shape
        (5,)
    """
    return _as_sampling_algorithm(
        build_ula_kernel, target, temperature, step_size, inverse_mass_matrix, noise
    )


@langevin.sampling_api("tempered_mala", init, build_mala_kernel)
def tempered_mala(
    target: TemperedTarget,
    temperature: PerChain,
    step_size: PerChain,
    *,
    inverse_mass_matrix: Position | None = None,
    noise: NoiseSource = jax_random_noise,
) -> SamplingAlgorithm:
    r"""Build an adjusted Langevin algorithm (MALA) on :math:`q_t(z) \propto p(z)\exp(t\,\ell(z))`.

    The proposal of :func:`tempered_ula`, accepted with the Metropolis-Hastings
    probability, so that :math:`q_t` is exactly invariant.

    Args:
        target: prior and likelihood.
        temperature: power ``t`` on the likelihood in [0, 1], scalar or one value per chain: 0
            is the prior, 1 the posterior. (The ``noise_temperature`` of
            :func:`tempered_ebm.ula` is another quantity: the ``T`` of :math:`p^{1/T}`.)
        step_size: ``h > 0``, scalar or one value per chain, in squared units of the position.
        inverse_mass_matrix: positive diagonal ``D`` that multiplies the gradient and the
            variance of the noise, the identity by default: a pytree like the position of one
            chain, or BlackJAX's flat vector.
        noise: source of the noise (:class:`tempered_ebm.kernels.NoiseSource`).

    Returns:
        A ``blackjax.base.SamplingAlgorithm`` whose state carries ``logprior`` and
        ``loglikelihood`` and whose ``info`` carries ``acceptance_rate`` and ``is_accepted``.

    Raises:
        InputError: if ``temperature`` leaves [0, 1] or ``step_size`` is not positive; by
            ``init``, for a position that is not floating, log-densities of the wrong shape,
            or chains that start at NaN on their own rung.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum((z - 1) ** 2)
        ... )
        >>> kernel = te.tempered_mala(target, 0.5, step_size=0.1)
        >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.zeros(2)))
        >>> 0.0 <= float(info.acceptance_rate) <= 1.0
        True
    """
    return _as_sampling_algorithm(
        build_mala_kernel, target, temperature, step_size, inverse_mass_matrix, noise
    )
