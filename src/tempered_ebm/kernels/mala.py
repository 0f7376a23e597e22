"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.kernels import langevin
from tempered_ebm.kernels._noise import NoiseSource, check_noise, jax_random_noise
from tempered_ebm.types import LogDensityFn, PerChain, Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class MALAState(NamedTuple):
    """State of a MALA chain, or of a batch of them.

    Attributes:
        position: current position.
        logdensity: log-density at the position, of the chain shape.
        logdensity_grad: its gradient, shaped like the position.
    """

    position: Position
    logdensity: Float[Array, "*chains"]
    logdensity_grad: Position


def init(position: Position, logdensity_fn: LogDensityFn) -> MALAState:
    """Evaluate the log-density and its gradient at ``position``.

    Raises:
        InputError: for a position that is not floating, or a log-density whose shape
            does not lead on the position.
    """
    position = chains.as_position(position)
    value, grad = chains.value_and_grad(logdensity_fn, position)
    checks.check_initial_state("logdensity_fn", value, grad, position)
    return MALAState(position, value, grad)


def build_kernel() -> Callable:
    """Build ``(rng_key, state, logdensity_fn, step_size, inverse_mass_matrix) -> (state, info)``.

    The last argument may be left out; ``blackjax.window_adaptation`` tunes the last two. The
    signature is explicit because it passes an integrator to builders that take ``**kwargs``.
    """
    return _build_kernel(jax_random_noise)


def _build_kernel(noise: NoiseSource) -> Callable:
    def kernel(
        rng_key: PRNGKey,
        state: MALAState,
        logdensity_fn: LogDensityFn,
        step_size: PerChain,
        inverse_mass_matrix: Position | None = None,
    ) -> tuple[MALAState, langevin.MetropolisInfo]:
        checks.key("rng_key", rng_key)
        noise_key, accept_key = jax.random.split(rng_key)
        metric = chains.as_metric(inverse_mass_matrix, state.position, state.logdensity.ndim)
        position = langevin.propose(
            noise_key,
            state.position,
            chains.scale(metric, state.logdensity_grad),
            step_size,
            inverse_mass_matrix=metric,
            noise=noise,
        )
        proposal = MALAState(position, *chains.value_and_grad(logdensity_fn, position))
        log_ratio = langevin.log_acceptance_ratio(*state, *proposal, step_size, metric)
        return langevin.metropolis(accept_key, log_ratio, proposal, state, noise)

    return kernel


@langevin.sampling_api("mala", init, build_kernel)
def as_top_level_api(
    logdensity_fn: LogDensityFn,
    step_size: PerChain,
    *,
    inverse_mass_matrix: Position | None = None,
    noise: NoiseSource = jax_random_noise,
) -> SamplingAlgorithm:
    r"""Build a Metropolis-adjusted Langevin algorithm (MALA).

    .. math:: z' = z + h\,D\,\nabla \log p(z) + \sqrt{2hD}\,\xi

    The Langevin proposal, accepted with the Metropolis-Hastings probability, so that
    the target is exactly invariant (Besag 1994; Roberts and Tweedie 1996). One evaluation
    of the log-density and its gradient a step. In high dimension an acceptance rate of
    .574 is optimal (Roberts and Rosenthal 1998).

    Args:
        logdensity_fn: ``position -> log-density``, scalar or one value per chain.
        step_size: ``h > 0``, scalar or one value per chain, in squared units of the
            position.
        inverse_mass_matrix: positive diagonal ``D``, the identity by default: a pytree like
            the position of one chain, or BlackJAX's flat vector. With estimates of the
            target's variances for ``D``, ``h`` has no units.
        noise: source of the noise (:class:`tempered_ebm.kernels.NoiseSource`).

    Returns:
        A ``blackjax.base.SamplingAlgorithm``; its ``info`` carries ``acceptance_rate``
        and ``is_accepted``, of the chain shape.

    Raises:
        InputError: if ``step_size`` or ``inverse_mass_matrix`` is not positive and finite;
            by ``init``, for a position that is not floating, a log-density of the wrong
            shape, or chains that start at NaN.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2), step_size=0.3)
        >>> state = kernel.init(jnp.zeros(2))
        >>> state, info = jax.jit(kernel.step)(jax.random.key(0), state)
        >>> info.is_accepted.shape
        ()
    """
    from blackjax.base import build_sampling_algorithm

    checks.function("logdensity_fn", logdensity_fn, "of a position")
    checks.positive("step_size", step_size)
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    check_noise(noise)
    return build_sampling_algorithm(
        _build_kernel(noise), init, logdensity_fn, kernel_args=(step_size, inverse_mass_matrix)
    )
