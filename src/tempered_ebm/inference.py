"""Loops around a kernel: last state only, running statistics, or the full trace.

Call them inside ``jax.jit``: an eager call compiles its loop every time. Each is one
``jax.lax.scan`` over the steps, so ``with blackjax.progress_bar():`` around a call shows how
far it is (that needs the extra ``blackjax[progress]``). Chain axes may be spread over devices
(:mod:`tempered_ebm.sharding`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.streaming import (
    RunningCovariance,
    RunningMoments,
    init_covariance,
    init_moments,
    update_covariance,
    update_moments,
)
from tempered_ebm.types import Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


def _scan(
    one_step: Callable[[Any, PRNGKey], tuple[Any, Any]],
    start: Any,
    rng_key: PRNGKey,
    num_steps: int,
) -> tuple[Any, Any]:
    """Scan over the keys of the steps, each carried into its step by the one before.

    XLA vectorises a loop of noise on CPU if its key stands in a buffer of its own, and not if it is
    a slice of all keys.
    """
    keys = jax.random.split(rng_key, num_steps)
    if not num_steps:
        return jax.lax.scan(one_step, start, keys)

    def with_carried_key(carry: tuple, following: PRNGKey) -> tuple[tuple, Any]:
        state, kept = one_step(*carry)
        return (state, jax.random.clone(following)), kept

    # Copies of keys are no second use of them; the one that the last step hands on is not used.
    first, rest, unused = (jax.random.clone(keys)[part] for part in (0, slice(1, None), slice(1)))
    following = jnp.concatenate([rest, unused])
    (end, _), kept = jax.lax.scan(with_carried_key, (start, first), following)
    return end, kept


def advance(rng_key: PRNGKey, kernel: SamplingAlgorithm, state: Any, num_steps: int) -> Any:
    """Move ``state`` by ``num_steps`` steps and keep only where it ends.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from, as ``kernel.init`` or a step returned it.
        num_steps: number of steps, at least 0.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 0.
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_steps", num_steps, 0)

    def one_step(state: Any, key: PRNGKey) -> tuple[Any, None]:
        return kernel.step(key, state)[0], None

    return _scan(one_step, state, rng_key, num_steps)[0]


def short_run(
    rng_key: PRNGKey, kernel: SamplingAlgorithm, position: Position, num_steps: int
) -> Any:
    """Start a chain at ``position``, run it, and keep the last state only.

    This is the short-run sampler of Nijkamp et al. (2019): no trajectory is stored.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        position: initial position, or a batch of them with leading chain axes.
        num_steps: number of steps, at least 0.

    Returns:
        The final state of the kernel.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 0.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> state = te.inference.short_run(jax.random.key(0), kernel, jnp.zeros((3, 2)), 10)
        >>> state.position.shape
        (3, 2)
    """
    return advance(rng_key, kernel, kernel.init(position), num_steps)


def _position(state: Any, info: Any) -> Any:
    return state.position


def run_with_moments(
    rng_key: PRNGKey,
    kernel: SamplingAlgorithm,
    state: Any,
    num_steps: int,
    *,
    statistic_fn: Callable[[Any, Any], Any] = _position,
) -> tuple[Any, RunningMoments]:
    """Run a chain and accumulate mean and variance of a statistic along it.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from.
        num_steps: number of steps, at least 1.
        statistic_fn: ``(state, info) -> pytree`` of floating arrays; the position by
            default. Its shape is kept, so chain axes stay apart.

    Returns:
        The final state and the moments over the steps.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> state, moments = te.inference.run_with_moments(
        ...     jax.random.key(0), kernel, kernel.init(jnp.zeros((3, 2))), 100,
        ...     statistic_fn=lambda state, info: info.acceptance_rate,
        ... )
        >>> moments.mean.shape
        (3,)
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_steps", num_steps, 1)

    def one_step(carry: tuple, key: PRNGKey) -> tuple[tuple, None]:
        state, moments = carry
        state, info = kernel.step(key, state)
        return (state, update_moments(moments, statistic_fn(state, info))), None

    moments = init_moments(_shape_of(statistic_fn, rng_key, kernel, state))
    (state, moments), _ = _scan(one_step, (state, moments), rng_key, num_steps)
    return state, moments


def _shape_of(
    statistic_fn: Callable[[Any, Any], Any], rng_key: PRNGKey, kernel: SamplingAlgorithm, state: Any
) -> Any:
    return jax.eval_shape(lambda s: statistic_fn(*kernel.step(rng_key, s)), state)


def run_with_covariance(
    rng_key: PRNGKey,
    kernel: SamplingAlgorithm,
    state: Any,
    num_steps: int,
    *,
    statistic_fn: Callable[[Any, Any], Array] = _position,
) -> tuple[Any, RunningCovariance]:
    r"""Run a chain and accumulate mean vector and covariance matrix of a statistic along it.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from.
        num_steps: number of steps, at least 1.
        statistic_fn: ``(state, info) -> vectors`` of shape (\*chains, d); the position by
            default. Chain axes stay apart; :func:`tempered_ebm.streaming.pool_covariance`
            merges them.

    Returns:
        The final state and the covariance over the steps, (\*chains, d, d).

    Raises:
        InputError: if ``rng_key`` is not one key, ``num_steps`` not an integer of at least 1,
            or the statistic not one array of vectors.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> _, running = te.inference.run_with_covariance(
        ...     jax.random.key(0), kernel, kernel.init(jnp.zeros((3, 2))), 100
        ... )
        >>> running.covariance.shape
        (3, 2, 2)
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_steps", num_steps, 1)
    shape = _shape_of(statistic_fn, rng_key, kernel, state)
    if not isinstance(shape, jax.ShapeDtypeStruct) or not shape.shape:
        raise InputError(f"statistic_fn must return one array of vectors, got {shape}")

    def one_step(carry: tuple, key: PRNGKey) -> tuple[tuple, None]:
        state, running = carry
        state, info = kernel.step(key, state)
        return (state, update_covariance(running, statistic_fn(state, info))), None

    start = (state, init_covariance(shape))
    (state, running), _ = _scan(one_step, start, rng_key, num_steps)
    return state, running


def trace(
    rng_key: PRNGKey,
    kernel: SamplingAlgorithm,
    state: Any,
    num_steps: int,
    *,
    statistic_fn: Callable[[Any, Any], Any] = _position,
) -> tuple[Any, Float[Array, "num_steps ..."]]:
    """Run a chain and keep a statistic of every step: memory grows with ``num_steps``.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from.
        num_steps: number of steps, at least 1.
        statistic_fn: ``(state, info) -> pytree`` to keep; the position by default.

    Returns:
        The final state and the stacked statistics, with a leading axis ``num_steps``.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> run = jax.jit(lambda key, state: te.inference.trace(key, kernel, state, 10))
        >>> _, positions = run(jax.random.key(0), kernel.init(jnp.zeros((3, 2))))
        >>> positions.shape
        (10, 3, 2)
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_steps", num_steps, 1)

    def one_step(state: Any, key: PRNGKey) -> tuple[Any, Any]:
        state, info = kernel.step(key, state)
        return state, statistic_fn(state, info)

    return _scan(one_step, state, rng_key, num_steps)
