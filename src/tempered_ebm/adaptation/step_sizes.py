"""Step sizes tuned before the draws that count, and frozen afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

MALA_TARGET_ACCEPTANCE = 0.574
"""Optimal acceptance rate of MALA in high dimension (Roberts and Rosenthal 1998)."""


class StepSizeRule(NamedTuple):
    """Dual averaging of step sizes, element by element.

    Attributes:
        init: ``step sizes -> state``.
        update: ``(state, acceptance rates) -> state``.
        current: ``state -> step sizes`` to try next.
        final: ``state -> step sizes`` to freeze.
    """

    init: Callable[[Float[Array, "*rungs"]], Any]
    update: Callable[[Any, Float[Array, "*rungs"]], Any]
    current: Callable[[Any], Float[Array, "*rungs"]]
    final: Callable[[Any], Float[Array, "*rungs"]]


def step_size_rule(target_acceptance: float = MALA_TARGET_ACCEPTANCE) -> StepSizeRule:
    """Apply BlackJAX's dual averaging (Hoffman and Gelman 2014, section 3.2.1), for arrays.

    Args:
        target_acceptance: in (0, 1).

    Raises:
        InputError: if ``target_acceptance`` is not between 0 and 1.
    """
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    checks.positive("target_acceptance", target_acceptance)
    if not target_acceptance < 1:
        raise InputError(
            f"target_acceptance must be between 0 and 1, both excluded, got {target_acceptance}"
        )
    init, update, final = dual_averaging_adaptation(target_acceptance)

    def init_array(step_size: Float[Array, "*rungs"]) -> Any:
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf * 1.0, step_size.shape).astype(step_size.dtype),
            init(step_size),
        )

    def update_array(state: Any, acceptance_rate: Float[Array, "*rungs"]) -> Any:
        new = update(state, acceptance_rate)
        return jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), new, state)

    def current(state: Any) -> Float[Array, "*rungs"]:
        return jnp.exp(state.log_step_size)

    def frozen(state: Any) -> Float[Array, "*rungs"]:
        return final(state).astype(state.log_step_size.dtype)

    return StepSizeRule(init_array, update_array, current, frozen)


def require_adjusted(kernel: SamplingAlgorithm, rng_key: PRNGKey, state: Any, why: str) -> None:
    """Require a kernel with an acceptance rate, as ``build_kernel`` makes it.

    Raises:
        InputError: saying ``why`` an unadjusted kernel is of no use.
    """
    _, info = jax.eval_shape(kernel.step, rng_key, state)
    if not hasattr(info, "acceptance_rate"):
        raise InputError(
            f"build_kernel must build a Metropolis-adjusted kernel: {why}, got info with "
            f"{info._fields}"
        )


def dual_averaging(
    rng_key: PRNGKey,
    build_kernel: Callable[[Array], SamplingAlgorithm],
    state: Any,
    initial_step_size: Float[Array, "*rungs"],
    num_steps: int,
    *,
    target_acceptance: float = MALA_TARGET_ACCEPTANCE,
) -> tuple[Any, Float[Array, "*rungs"]]:
    """Tune one step size per rung to a target acceptance rate, while the chains warm up.

    Dual averaging (:func:`step_size_rule`), element by element. Acceptance rates are
    averaged over the chain axes that follow those of ``initial_step_size``. The returned
    step sizes are constants: draws made with them come from proper Markov chains.

    Args:
        rng_key: key of the whole warm-up.
        build_kernel: ``step_size -> algorithm``, of a kernel with an acceptance rate.
        state: state of the chains to warm up.
        initial_step_size: positive, scalar or one per rung.
        num_steps: number of warm-up steps, at least 1.
        target_acceptance: in (0, 1).

    Returns:
        The warmed-up state and the tuned step sizes, shaped like ``initial_step_size``.

    Raises:
        InputError: if a step size is not positive, ``num_steps`` is below 1,
            ``target_acceptance`` is out of range, or the kernel is not adjusted.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> build = lambda h: te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), h)
        >>> state = build(jnp.array(1.0)).init(jnp.zeros((100, 2)))
        >>> state, step_size = te.adaptation.dual_averaging(
        ...     jax.random.key(0), build, state, jnp.array(1.0), 300
        ... )
        >>> _, info = build(step_size).step(jax.random.key(1), state)
        >>> bool(abs(info.acceptance_rate.mean() - 0.574) < 0.1)
        True
    """
    checks.key("rng_key", rng_key)
    checks.positive("initial_step_size", initial_step_size)
    checks.at_least("num_steps", num_steps, 1)
    checks.function("build_kernel", build_kernel, "of a step size")
    initial = jnp.asarray(initial_step_size, float)
    rule = step_size_rule(target_acceptance)
    why = "without an acceptance rate there is nothing to tune the step size to"
    require_adjusted(build_kernel(initial), rng_key, state, why)

    def one_step(carry: tuple, key: PRNGKey) -> tuple[tuple, None]:
        state, averaging = carry
        state, info = build_kernel(rule.current(averaging)).step(key, state)
        axes = tuple(range(initial.ndim, info.acceptance_rate.ndim))
        return (state, rule.update(averaging, info.acceptance_rate.mean(axes))), None

    keys = jax.random.split(rng_key, num_steps)
    (state, averaging), _ = jax.lax.scan(one_step, (state, rule.init(initial)), keys)
    return state, rule.final(averaging)
