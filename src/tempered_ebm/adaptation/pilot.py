"""The pilot run of replica exchange: ladder, step sizes and metrics, tuned and then frozen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm import _closures, inference, schedules
from tempered_ebm.adaptation import step_sizes as adaptation
from tempered_ebm.errors import DivergedError, InputError
from tempered_ebm.kernels import replica_exchange, tempered
from tempered_ebm.kernels.replica_exchange import ReplicaExchangeState
from tempered_ebm.target import TemperedTarget, check_target
from tempered_ebm.types import Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

LadderRule: TypeAlias = Literal["equal_rejection", "equal_length", "fixed"]


class Tuning(NamedTuple):
    """Settings of :func:`tempered_ebm.replica_exchange` that a pilot run tunes.

    Attributes:
        temperatures: ladder, (K,).
        step_size: step size of each rung, (K,).
        inverse_mass_matrix: diagonal metric of each rung; leaves lead with K.
    """

    temperatures: Float[Array, "K"]
    step_size: Float[Array, "K"]
    inverse_mass_matrix: Position


class Pilot(NamedTuple):
    """Result of a pilot run: tuned settings, final state, diagnostics.

    Attributes:
        tuning: ladder, step sizes and metrics, as they were in the last, frozen round.
        state: where the chains stand; start the run that counts from here.
        swap_acceptance_rate: swaps between neighbours in the frozen round, (K-1,).
        acceptance_rate: local moves in the frozen round, (K,); NaN for unadjusted ones.
        mean_loglikelihood: mean of the log-likelihood on each rung there, (K,).
        variance_loglikelihood: its variance, (K,).
        ladders: the ladder of every round, (num_rounds, K).
    """

    tuning: Tuning
    state: ReplicaExchangeState
    swap_acceptance_rate: Float[Array, "K-1"]
    acceptance_rate: Float[Array, "K"]
    mean_loglikelihood: Float[Array, "K"]
    variance_loglikelihood: Float[Array, "K"]
    ladders: Float[Array, "num_rounds K"]


class _Measured(NamedTuple):
    """Statistics of the steps of one round that were made with frozen settings."""

    position: inference.RunningMoments
    loglikelihood: inference.RunningMoments
    rates: inference.RunningMoments


def _loop(
    rng_key: PRNGKey, num_steps: Array, step: Callable[[PRNGKey, Any], Any], carry: Any
) -> Any:
    """Iterate ``step``, for a number of steps that is data: one compilation for all rounds."""
    return jax.lax.fori_loop(
        0, num_steps, lambda i, carry: step(jax.random.fold_in(rng_key, i), carry), carry
    )


def _build(target: TemperedTarget, tuning: Tuning, metropolis: bool) -> SamplingAlgorithm:
    return replica_exchange.as_top_level_api(
        target,
        tuning.temperatures,
        tuning.step_size,
        metropolis=metropolis,
        inverse_mass_matrix=tuning.inverse_mass_matrix,
    )


def _rates(info: replica_exchange.ReplicaExchangeInfo, num_rungs: int) -> dict[str, Array]:
    if hasattr(info, "acceptance_rate"):
        accepted = info.acceptance_rate.reshape(num_rungs, -1).mean(1)
    else:
        accepted = jnp.full(num_rungs, jnp.nan)
    return {"local": accepted, "swap": info.swap_acceptance_rate}


def _round(
    rng_key: PRNGKey,
    target: TemperedTarget,
    tuning: Tuning,
    state: ReplicaExchangeState,
    num_steps: Array,
    *,
    rule: adaptation.StepSizeRule | None,
) -> tuple[Tuning, ReplicaExchangeState, _Measured]:
    """Tune the step sizes, freeze them, and measure for as many steps."""
    num_rungs = tuning.temperatures.shape[0]
    tune_key, measure_key = jax.random.split(rng_key)
    if rule is not None:

        def tune(key: PRNGKey, carry: tuple) -> tuple:
            state, averaging = carry
            trial = tuning._replace(step_size=rule.current(averaging))
            state, info = _build(target, trial, True).step(key, state)
            return state, rule.update(averaging, _rates(info, num_rungs)["local"])

        start = (state, rule.init(tuning.step_size))
        state, averaging = _loop(tune_key, num_steps, tune, start)
        tuning = tuning._replace(step_size=rule.final(averaging))
    kernel = _build(target, tuning, metropolis=rule is not None)

    def measure(key: PRNGKey, carry: tuple) -> tuple:
        state, measured = carry
        state, info = kernel.step(key, state)
        values = (state.position, state.loglikelihood, _rates(info, num_rungs))
        return state, _Measured(*map(inference.update_moments, measured, values))

    empty = _Measured(
        inference.init_moments(state.position),
        inference.init_moments(state.loglikelihood),
        inference.init_moments({"local": tuning.step_size, "swap": tuning.step_size[1:]}),
    )
    state, measured = _loop(measure_key, num_steps, measure, (state, empty))
    chain_ndim = state.loglikelihood.ndim - 1

    def pool(moments: inference.RunningMoments) -> inference.RunningMoments:
        chains_first = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, chain_ndim), moments[1:])
        return inference.pool_moments(
            inference.RunningMoments(moments.num_values, *chains_first), chain_ndim
        )

    return tuning, state, _Measured(pool(measured[0]), pool(measured[1]), measured[2])


def _metric(position: inference.RunningMoments, old: Position) -> Position:
    """Variances, shrunk by five values' worth towards the old metric, on a logarithmic scale.

    A coordinate that did not move, or is not finite, keeps its old metric.
    """
    weight = position.num_values / (position.num_values + 5.0)

    def shrink(variance: Array, old: Array) -> Array:
        usable = jnp.isfinite(variance) & (variance > 0)
        log_variance = jnp.log(jnp.where(usable, variance, old))
        return jnp.exp(weight * log_variance + (1 - weight) * jnp.log(old)).astype(old.dtype)

    return jax.tree.map(shrink, position.variance, old)


def _along(old: Array, new: Array, values: Array) -> Array:
    """Positive values of each rung, carried over to a new ladder on a logarithmic scale."""
    flat = jnp.log(values.reshape(values.shape[0], -1))
    moved = jax.vmap(lambda column: jnp.interp(new, old, column), 1, 1)(flat)
    return jnp.exp(moved).reshape(values.shape)


def _retune(tuning: Tuning, measured: _Measured, ladder: LadderRule) -> Tuning:
    """Metric from the variances, step sizes in its units, and the next ladder."""
    old, num_rungs = tuning.temperatures, tuning.temperatures.shape[0]
    swaps = measured.rates.mean["swap"]
    if ladder == "equal_rejection":
        new = schedules.equal_rejection(old, swaps, num_rungs)
    elif ladder == "equal_length":
        variance = measured.loglikelihood.variance
        is_finite = jnp.all(jnp.isfinite(variance))
        new = jnp.where(
            is_finite,
            schedules.equal_length(old, jnp.where(is_finite, variance, 1.0), num_rungs),
            schedules.equal_rejection(old, swaps, num_rungs),
        )
    else:
        new = old
    metric = _metric(measured.position, tuning.inverse_mass_matrix)

    def mean_log(tree: Position) -> Array:
        parts = [jnp.log(leaf).reshape(num_rungs, -1) for leaf in jax.tree.leaves(tree)]
        return jnp.concatenate(parts, 1).mean(1)

    rescaled = tuning.step_size * jnp.exp(mean_log(tuning.inverse_mass_matrix) - mean_log(metric))
    retuned = Tuning(
        new,
        _along(old, new, rescaled),
        jax.tree.map(lambda leaf: _along(old, new, leaf), metric),
    )
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), retuned, tuning)


def _require_usable(tuning: Tuning) -> None:
    leaves = [tuning.step_size, *jax.tree.leaves(tuning.inverse_mass_matrix)]
    if any(checks.concrete(leaf) is None for leaf in leaves):
        return
    is_usable = np.array(
        [[np.all(np.isfinite(r) & (r > 0)) for r in np.asarray(leaf)] for leaf in leaves]
    ).all(0)
    if not is_usable.all():
        raise DivergedError(
            f"the pilot found no usable step size or metric on rungs "
            f"{np.flatnonzero(~is_usable).tolist()}: their chains diverged or never moved; check "
            "that the log-likelihood is finite where the chains start and that the prior is proper"
        )


def run(
    rng_key: PRNGKey,
    target: TemperedTarget,
    initial_position: Position,
    num_temperatures: int,
    *,
    num_rounds: int = 6,
    num_steps: int = 100,
    ladder: LadderRule = "equal_rejection",
    temperatures: Float[Array, "K"] | None = None,
    step_size: float | Float[Array, "K"] | None = None,
    metropolis: bool = True,
    target_acceptance: float = adaptation.MALA_TARGET_ACCEPTANCE,
    checkpoint: str | Path | None = None,
) -> Pilot:
    r"""Tune replica exchange in one call.

    Round after round, each twice as long as the last, step sizes are tuned to a target
    acceptance rate by dual averaging and frozen; then variances of the positions give the
    metric of each rung, and swap rates (Syed et al. 2022, section 5) or the variance of the
    log-likelihood (:func:`tempered_ebm.schedules.equal_length`; swap rates where it is not
    finite) the next ladder. The last
    round changes nothing but the step sizes, and its second half, which the result reports,
    nothing at all. The whole pilot is one program, compiled once. Its draws are not samples.

    Args:
        rng_key: key of the pilot.
        target: prior and likelihood of the positions of one rung: one chain, or a batch.
        initial_position: where the chains of every rung start: draws from the prior are
            best. A batch is a batch of ladders, over which everything is averaged.
        num_temperatures: K, at least 2.
        num_rounds: rounds, at least 2.
        num_steps: steps of the first round, half of them to tune; at least 10.
        ladder: what the ladder is made equal in, or "fixed" to keep it.
        temperatures: ladder of the first round, shape (K,); fifth powers by default.
        step_size: step size of the first round, scalar or (K,); 0.1 by default.
        metropolis: whether the local moves are Metropolis-adjusted. There is nothing to
            tune an unadjusted step size to: it must be given, and stays, in units of
            the metric of the first round.
        target_acceptance: in (0, 1), for adjusted moves.
        checkpoint: an ``.npz`` file from which the same pilot is read if it was run before
            (:func:`tempered_ebm.inference.checkpointed`).

    Returns:
        The tuning, the chains, and what the frozen round measured.

    Raises:
        InputError: if an argument is out of range, a shape does not fit, or the step size
            of unadjusted moves is missing; for chains that start at NaN.
        DivergedError: if a rung ends without a usable step size or metric.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -50 * jnp.sum((z - 1) ** 2, -1)
        ... )
        >>> key = jax.random.key(0)
        >>> pilot = te.pilot.run(key, target, jax.random.normal(key, (20, 2)), 5)
        >>> kernel = te.replica_exchange(target, **pilot.tuning._asdict())
        >>> state, info = kernel.step(key, pilot.state)
        >>> state.position.shape
        (5, 20, 2)
    """
    check_target(target)
    checks.flag("metropolis", metropolis)
    checks.at_least("num_temperatures", num_temperatures, 2)
    checks.at_least("num_rounds", num_rounds, 2)
    checks.at_least("num_steps", num_steps, 10)
    checks.one_of("ladder", ladder, get_args(LadderRule))
    if not metropolis and step_size is None:
        raise InputError(
            "step_size must be given for unadjusted moves: there is no acceptance rate to tune "
            "it to, got None"
        )
    if metropolis:
        adaptation.step_size_rule(target_acceptance)
    if temperatures is None:
        temperatures = schedules.power(num_temperatures, 5.0)
    temperatures = schedules.validate(temperatures)
    checks.shape("temperatures", temperatures, (num_temperatures,))
    step_size = 0.1 if step_size is None else step_size
    checks.positive("step_size", step_size)
    checks.key("rng_key", rng_key)
    initial_position = chains.as_position(initial_position)

    def on_every_rung(leaf: Array) -> Array:
        return jnp.broadcast_to(jnp.asarray(leaf), (num_temperatures, *jnp.shape(leaf)))

    chain_ndim = jax.eval_shape(target.loglikelihood_fn, initial_position).ndim
    tuning = Tuning(
        temperatures,
        jnp.broadcast_to(jnp.asarray(step_size, temperatures.dtype), (num_temperatures,)),
        jax.tree.map(
            lambda leaf: on_every_rung(jnp.ones(leaf.shape[chain_ndim:], leaf.dtype)),
            initial_position,
        ),
    )
    # Arrays that the target closes over are operands: new data of the same shapes compile nothing.
    target = TemperedTarget(
        *(_closures.close(fn, initial_position, num_derivatives=1) for fn in target)
    )
    state = _start(target, tuning, jax.tree.map(on_every_rung, initial_position), metropolis)
    tempered.check_initial_state(tempered.TemperedState(*state[:5]), temperatures)
    rounds = functools.partial(
        _all_rounds,
        num_rounds=num_rounds,
        num_steps=num_steps,
        ladder=ladder,
        target_acceptance=target_acceptance if metropolis else None,
    )
    given = (rng_key, target, tuning, state)
    (tuning, state), ladders, measured = (
        rounds(*given) if checkpoint is None else inference.checkpointed(checkpoint, rounds, *given)
    )
    _require_usable(tuning)
    return Pilot(
        tuning,
        state,
        measured.rates.mean["swap"],
        measured.rates.mean["local"],
        measured.loglikelihood.mean,
        measured.loglikelihood.variance,
        ladders,
    )


@functools.partial(jax.jit, static_argnames="metropolis")
def _start(
    target: TemperedTarget, tuning: Tuning, position: Position, metropolis: bool
) -> ReplicaExchangeState:
    return _build(target, tuning, metropolis).init(position)


@functools.partial(
    jax.jit, static_argnames=("num_rounds", "num_steps", "ladder", "target_acceptance")
)
def _all_rounds(
    rng_key: PRNGKey,
    target: TemperedTarget,
    tuning: Tuning,
    state: ReplicaExchangeState,
    *,
    num_rounds: int,
    num_steps: int,
    ladder: LadderRule,
    target_acceptance: float | None,
) -> tuple:
    """Run every round in one program; without a target acceptance, moves are unadjusted."""
    rule = None if target_acceptance is None else adaptation.step_size_rule(target_acceptance)

    def one_round(carry: tuple, inputs: tuple) -> tuple:
        tuning, state = carry
        key, r = inputs
        steps = num_steps // 2 * 2**r
        tuning, state, measured = _round(key, target, tuning, state, steps, rule=rule)
        kept = jax.tree.map(
            lambda old, new: jnp.where(r == num_rounds - 1, old, new),
            tuning,
            _retune(tuning, measured, ladder),
        )
        return (kept, state), (tuning.temperatures, measured)

    inputs = (jax.random.split(rng_key, num_rounds), jnp.arange(num_rounds))
    ladders: Array
    measured: _Measured
    carry, (ladders, measured) = jax.lax.scan(one_round, (tuning, state), inputs)
    return carry, ladders, jax.tree.map(lambda leaf: leaf[-1], measured)
