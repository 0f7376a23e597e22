"""Local moves of replica exchange: tempered Langevin kernels, and any kernel of BlackJAX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import tempered
from tempered_ebm.kernels._noise import NoiseSource, jax_random_noise
from tempered_ebm.target import TemperedTarget, tempered_logdensity
from tempered_ebm.types import LogDensityFn, Position, PriorSampler, PRNGKey

_REBUILT = ("position", "logdensity", "logdensity_grad")
_STAYING = frozenset(
    ("drift_state", "metric_state", "num_steps", "momentum", "slice", "random_generator_arg")
)


def _guarded_logdensity(target: TemperedTarget, t: Float[Array, ""]) -> LogDensityFn:
    """Return the tempered log-density, whose gradient at ``t = 0`` ignores the likelihood.

    Differentiating ``0 * ℓ`` where the gradient of ℓ is NaN gives NaN. Here the two
    gradients are formed first and tempered afterwards.
    """

    @jax.custom_jvp
    def logdensity(position: Position) -> Float[Array, "*chains"]:
        return target.logdensity(position, t)

    @logdensity.defjvp
    def jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        value, grad = tempered_logdensity(target.evaluate(primals[0]), t)
        return value, chains.inner(grad, tangents[0], value.ndim)

    return logdensity


class LocalMove(NamedTuple):
    """A kernel on one rung of a ladder, split so that swaps need no evaluation.

    The *cache* of a rung (:class:`tempered.TemperedState`) travels with its replica; the
    *memory* of a kernel (momenta, slices, counters) stays on the rung. Where position and
    memory are independent under the invariant law, a swap of positions leaves it alone. The
    memory of a drift or a preconditioner, past gradients of its rung, is not independent: such
    chains are unadjusted and have no exact law to begin with.

    Attributes:
        init: ``(cache, target, t) -> memory``.
        step: ``(rng_key, cache, memory, target, t, **parameters) -> (cache, memory, info)``.
        place: ``(cache, memory, t) -> memory``, which puts a memory back beside the cache
            that stands on its rung after the swaps; evaluates nothing.
    """

    init: Callable[[tempered.TemperedState, TemperedTarget, Float[Array, ""]], Any]
    step: Callable[..., tuple[tempered.TemperedState, Any, Any]]
    place: Callable[[tempered.TemperedState, Any, Float[Array, ""]], Any]


def langevin(
    *,
    metropolis: bool,
    sample_prior: PriorSampler | None = None,
    noise: NoiseSource = jax_random_noise,
) -> LocalMove:
    """Move rungs by tempered MALA or ULA: one evaluation of each half a step, no memory.

    Args:
        metropolis: whether moves are adjusted.
        sample_prior: independent draws in the place of moves at ``t = 0``; adjusted moves only.
        noise: source of the noise.
    """
    kernel = tempered.build_ula_kernel(noise)
    if metropolis:
        kernel = functools.partial(tempered.build_mala_kernel(noise), sample_prior=sample_prior)

    def step(
        rng_key: PRNGKey,
        cache: tempered.TemperedState,
        memory: tuple,
        target: TemperedTarget,
        t: Float[Array, ""],
        **parameters: Any,
    ) -> tuple[tempered.TemperedState, tuple, Any]:
        cache, info = kernel(rng_key, cache, target, t, **parameters)
        return cache, memory, info

    return LocalMove(
        init=lambda cache, target, t: (),
        step=step,
        place=lambda cache, memory, t: memory,
    )


def from_mcmc(
    mcmc_step_fn: Callable[..., tuple[Any, Any]],
    mcmc_init_fn: Callable[[Position, LogDensityFn], Any],
) -> LocalMove:
    """Move rungs by any kernel in BlackJAX's shape, given as its init and step builders.

    Its state knows the log-density of its own rung alone. After the move both halves are
    evaluated once at the new position, and from then on the state is rebuilt from them:
    a step costs what the kernel costs and one evaluation, a swap costs nothing.

    Args:
        mcmc_step_fn: ``(rng_key, state, logdensity_fn, **parameters) -> (state, info)``, as
            ``blackjax.hmc.build_kernel()`` returns it.
        mcmc_init_fn: ``(position, logdensity_fn) -> state``, such as ``blackjax.hmc.init``.
    """

    def place(cache: tempered.TemperedState, memory: Any, t: Float[Array, ""]) -> Any:
        logdensity, grad = tempered_logdensity(cache, t)
        values = dict(zip(_REBUILT, (cache.position, logdensity, grad), strict=True))
        return memory._replace(**{k: v for k, v in values.items() if k in memory._fields})

    def init(cache: tempered.TemperedState, target: TemperedTarget, t: Float[Array, ""]) -> Any:
        try:
            state = mcmc_init_fn(cache.position, _guarded_logdensity(target, t))
        except TypeError as error:
            raise InputError(
                "mcmc_init_fn must take (position, logdensity_fn) of one chain, with a scalar "
                f"log-density, and have every other argument bound: {error}"
            ) from error
        fields = getattr(state, "_fields", ())
        unknown = set(fields) - set(_REBUILT) - _STAYING
        if "position" not in fields or unknown:
            raise InputError(
                f"mcmc_init_fn must return a NamedTuple with a position and no more than "
                f"{sorted({*_REBUILT, *_STAYING})}, got {type(state).__name__} with {fields}"
            )
        return state

    def step(
        rng_key: PRNGKey,
        cache: tempered.TemperedState,
        memory: Any,
        target: TemperedTarget,
        t: Float[Array, ""],
        **parameters: Any,
    ) -> tuple[tempered.TemperedState, Any, Any]:
        logdensity_fn = _guarded_logdensity(target, t)
        state, info = mcmc_step_fn(rng_key, memory, logdensity_fn, **parameters)
        return tempered.init(state.position, target), state, info

    return LocalMove(init, step, place)
