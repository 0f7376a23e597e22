"""The unadjusted Langevin algorithm: any drift, step-size schedule, metric and temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import langevin
from tempered_ebm.kernels._noise import NoiseSource, check_noise, jax_random_noise
from tempered_ebm.kernels.preconditioning import Preconditioner
from tempered_ebm.types import LogDensityFn, PerChain, Position, PRNGKey

if TYPE_CHECKING:
    import optax
    from blackjax.base import SamplingAlgorithm


class ULAState(NamedTuple):
    """State of an unadjusted Langevin chain, or of a batch of them.

    Attributes:
        position: current position.
        logdensity: log-density at the position, of the chain shape.
        logdensity_grad: its gradient, shaped like the position.
        drift_state: state of the drift transformation, one per chain; ``()`` without one.
        metric_state: state of the preconditioner, one per chain; ``()`` without one.
        num_steps: steps each chain has made, of the chain shape; a step-size schedule is a
            function of it.
    """

    position: Position
    logdensity: Float[Array, "*chains"]
    logdensity_grad: Position
    drift_state: Any
    metric_state: Any
    num_steps: Int[Array, "*chains"]


def _per_chain(fn: Callable, chain_ndim: int) -> Callable:
    """Map a function over the chain axes, so that no norm couples two chains."""
    for _ in range(chain_ndim):
        fn = jax.vmap(fn)
    return fn


def init(
    position: Position,
    logdensity_fn: LogDensityFn,
    drift: optax.GradientTransformation | None = None,
    inverse_mass_matrix: Position | Preconditioner | None = None,
) -> ULAState:
    """Evaluate the log-density and its gradient at ``position``.

    Raises:
        InputError: for a position that is not floating, a log-density whose shape does
            not lead on the position, or chains that start at NaN.
    """
    position = chains.as_position(position)
    value, grad = chains.value_and_grad(logdensity_fn, position)
    checks.check_initial_state("logdensity_fn", value, grad, position)
    drift_state: Any = () if drift is None else _per_chain(drift.init, value.ndim)(position)
    metric_state: Any = ()
    if isinstance(inverse_mass_matrix, Preconditioner):
        metric_state = _per_chain(inverse_mass_matrix.init, value.ndim)(position)
    num_steps = jnp.zeros(value.shape, jnp.int32)
    return ULAState(position, value, grad, drift_state, metric_state, num_steps)


def build_kernel(
    drift: optax.GradientTransformation | None = None, noise: NoiseSource = jax_random_noise
) -> Callable:
    """Build ``(rng_key, state, logdensity_fn, step_size, ...) -> (state, info)``.

    What follows the step size are the keyword arguments of :func:`as_top_level_api`.

    Args:
        drift: transformation of the gradient.
        noise: source of the noise.
    """

    def kernel(
        rng_key: PRNGKey,
        state: ULAState,
        logdensity_fn: LogDensityFn,
        step_size: PerChain | Callable[[Array], PerChain],
        inverse_mass_matrix: Position | Preconditioner | None = None,
        noise_scale: PerChain | None = None,
        noise_temperature: PerChain = 1.0,
    ) -> tuple[ULAState, langevin.LangevinInfo]:
        checks.key("rng_key", rng_key)
        ndim = state.logdensity.ndim
        like = state.logdensity
        h = step_size(state.num_steps) if callable(step_size) else step_size
        h = chains.expand(h, like, name="step_size")
        T = chains.expand(noise_temperature, like, name="noise_temperature")
        if noise_scale is not None:
            noise_scale = chains.expand(noise_scale, like, name="noise_scale")
            T = jnp.square(noise_scale) / (2 * h)
        direction, drift_state = state.logdensity_grad, state.drift_state
        if drift is not None:
            direction, drift_state = _per_chain(drift.update, ndim)(
                direction, drift_state, state.position
            )
        metric_state = state.metric_state
        if isinstance(inverse_mass_matrix, Preconditioner):
            metric, metric_state = _per_chain(inverse_mass_matrix.update, ndim)(
                state.logdensity_grad, metric_state
            )
        else:
            metric = chains.as_metric(inverse_mass_matrix, state.position, ndim)
        direction = chains.scale(metric, direction)
        position = langevin.propose(
            rng_key,
            state.position,
            direction,
            h,
            inverse_mass_matrix=metric,
            noise_temperature=T,
            noise_scale=noise_scale,
            noise=noise,
        )
        value, grad = chains.value_and_grad(logdensity_fn, position)
        info = langevin.LangevinInfo(
            jnp.sqrt(chains.inner(direction, direction, ndim)), jnp.broadcast_to(T, like.shape)
        )
        new_state = ULAState(position, value, grad, drift_state, metric_state, state.num_steps + 1)
        return new_state, info

    return kernel


@langevin.sampling_api("ula", init, build_kernel)
def as_top_level_api(
    logdensity_fn: LogDensityFn,
    step_size: PerChain | Callable[[Array], PerChain],
    *,
    drift: optax.GradientTransformation | None = None,
    inverse_mass_matrix: Position | Preconditioner | None = None,
    noise_scale: PerChain | None = None,
    noise_temperature: PerChain = 1.0,
    noise: NoiseSource = jax_random_noise,
) -> SamplingAlgorithm:
    r"""Build an unadjusted Langevin algorithm (ULA).

    .. math:: z' = z + h\,D\,u(\nabla \log p(z)) + \sqrt{2hTD}\,\xi

    By default the drift ``u`` is the gradient itself, ``D`` the identity and ``T = 1``. One
    evaluation of the log-density and its gradient a step. The chain is biased:
    on N(0, 1) its stationary variance is :math:`1/(1 - h/2)` (Roberts and Tweedie
    1996; Vempala and Wibisono 2019, section 2). It has no acceptance rate;
    :func:`tempered_ebm.mala` is the corrected kernel.

    Args:
        logdensity_fn: ``position -> log-density``, scalar or one value per chain.
        step_size: ``h > 0``, scalar or one value per chain, in squared units of the
            position (see :func:`tempered_ebm.step_size_from_noise_scale`); or a function of
            the number of steps made, such as an optax schedule.
        drift: optax transformation ``u`` of the gradient, applied chain by chain
            (``optax.clip`` and friends). A drift that is not the gradient leaves another
            law invariant.
        inverse_mass_matrix: positive diagonal ``D`` of drift and noise: a pytree like the
            position of one chain, BlackJAX's flat vector, or a rule that follows the chain
            (:func:`tempered_ebm.kernels.preconditioning.rmsprop`).
        noise_scale: standard deviation ``σ`` of the noise, decoupled from the step size, for
            ``σ²/(2h)`` in the place of ``T``. Then ``info.effective_temperature`` is the
            temperature the chain really has.
        noise_temperature: ``T > 0``: for small steps the chain samples :math:`p^{1/T}`. (The
            ``temperature`` of a tempered path is another quantity: a power on the likelihood.)
        noise: source of the noise (:class:`tempered_ebm.kernels.NoiseSource`).

    Returns:
        A ``blackjax.base.SamplingAlgorithm``.

    Raises:
        InputError: if a number is not positive and finite, or both ``noise_scale`` and
            ``noise_temperature`` are given; by ``init``, for a position that is not
            floating, a log-density of the wrong shape, or chains that start at NaN.

    Example:
        >>> import jax, jax.numpy as jnp, optax, tempered_ebm as te
        >>> kernel = te.ula(
        ...     lambda z: -0.5 * jnp.sum(z**2, -1), optax.linear_schedule(0.2, 0.01, 50),
        ...     drift=optax.clip_by_global_norm(10.0),
        ... )
        >>> state = te.inference.short_run(jax.random.key(0), kernel, jnp.zeros((5, 2)), 50)
        >>> state.logdensity.shape
        (5,)
    """
    from blackjax.base import build_sampling_algorithm

    checks.function("logdensity_fn", logdensity_fn, "of a position")
    check_noise(noise)
    if drift is not None:
        checks.has_methods("drift", drift, ("init", "update"), "an optax.GradientTransformation")
    if not callable(step_size):
        checks.positive("step_size", step_size)
    if not isinstance(inverse_mass_matrix, Preconditioner):
        checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    checks.positive("noise_temperature", noise_temperature)
    if noise_scale is not None:
        checks.positive("noise_scale", noise_scale)
        known = checks.concrete(noise_temperature)
        if known is None or known.shape or known != 1.0:
            raise InputError(
                "noise_scale and noise_temperature both set the noise; expected one of them, "
                f"got {noise_scale} and {noise_temperature}"
            )
    return build_sampling_algorithm(
        build_kernel(drift, noise),
        init,
        logdensity_fn,
        init_args=(drift, inverse_mass_matrix),
        kernel_args=(step_size, inverse_mass_matrix, noise_scale, noise_temperature),
    )
