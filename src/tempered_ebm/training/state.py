"""State of training, the optimiser that advances it, and a model as the loop sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm.errors import InputError
from tempered_ebm.training.config import AdamConfig, RateSchedule, RateShape
from tempered_ebm.types import Params, PRNGKey

SKIPPED = "skipped_updates"
"""The metric that counts updates skipped because their gradient was not finite."""


class TrainState(NamedTuple):
    """All that changes during training; a checkpoint of it resumes bit for bit.

    Attributes:
        step: updates made, skipped ones included.
        params: parameters of the model.
        average: exponential moving average of them, or None.
        optimizer_state: state of the optimiser.
        chains: what the model keeps between updates, such as persistent chains, or None.
        metric_sums: metrics summed over the updates since the last logged row.
    """

    step: Int[Array, ""]
    params: Params
    average: Params | None
    optimizer_state: Any
    chains: Any
    metric_sums: dict[str, Float[Array, ""]]


def begin(
    params: Params,
    optimizer: optax.GradientTransformation,
    chains: Any,
    metric_names: Iterable[str],
    *,
    averages: bool = False,
) -> TrainState:
    """Return the state before the first update.

    Args:
        params: initial parameters.
        optimizer: as for :func:`advance`.
        chains: what the model keeps between updates.
        metric_names: names of the metrics of an update.
        averages: whether to keep a moving average of the parameters.
    """
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        jax.tree.map(jnp.copy, params) if averages else None,
        optimizer.init(params),
        chains,
        {name: jnp.zeros(()) for name in (*metric_names, SKIPPED)},
    )


def advance(
    state: TrainState,
    optimizer: optax.GradientTransformation,
    grads: Params,
    chains: Any,
    metrics: Mapping[str, Float[Array, ""]],
    *,
    average_decay: float | None = None,
) -> TrainState:
    """Take one descent step; skip it, and count that, if the gradient is not finite.

    Metrics of a skipped update do not enter the sums.

    Args:
        state: before the update.
        optimizer: wrapped in ``optax.apply_if_finite``.
        grads: gradient of the loss.
        chains: what the model keeps for the next update.
        metrics: scalars of this update, by the names given to :func:`begin`.
        average_decay: decay of the moving average, if the state keeps one.
    """
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
    params, is_made = optax.apply_updates(state.params, updates), optimizer_state.last_finite
    average = state.average
    if average is not None:
        rate = jnp.where(is_made, 1 - _decay(average_decay, state.step), 0.0)
        average = jax.tree.map(lambda mean, new: mean + rate * (new - mean), average, params)
    counted = {name: jnp.where(is_made, value, 0.0) for name, value in metrics.items()}
    counted[SKIPPED] = 1.0 * ~is_made
    return TrainState(
        state.step + 1,
        params,
        average,
        optimizer_state,
        chains,
        {name: state.metric_sums[name] + value for name, value in counted.items()},
    )


def _decay(decay: float | None, step: Array) -> Array:
    """Return the decay, less in the beginning: initial parameters are soon forgotten."""
    return jnp.minimum(0.0 if decay is None else decay, (1.0 + step) / (10.0 + step))


def sampling_params(state: TrainState) -> Params:
    """Return the parameters to sample with: the moving average if one is kept."""
    return state.params if state.average is None else state.average


def consecutive_skips(state: TrainState) -> Int[Array, ""]:
    """Return the number of updates skipped in a row until now."""
    return state.optimizer_state.notfinite_count


def rate_schedule(
    name: RateSchedule, initial: float, num_steps: int, config: RateShape
) -> optax.Schedule:
    """Return the learning rate as a function of the number of updates made.

    Args:
        name: which family.
        initial: rate it starts from, or warms up to.
        num_steps: updates of the whole run.
        config: parameters of the families.
    """
    match name:
        case "constant":
            return optax.constant_schedule(initial)
        case "cosine":
            return optax.cosine_decay_schedule(initial, num_steps)
        case "warmup_cosine":
            return optax.warmup_cosine_decay_schedule(0.0, initial, config.rate_warmup, num_steps)
        case "exponential" | "step":
            return optax.exponential_decay(
                initial, config.rate_decay_every, config.rate_decay, staircase=name == "step"
            )


def adamw(
    schedule: optax.Schedule, b1: float, weight_decay: float, clip: float | None
) -> optax.GradientTransformation:
    """Return AdamW at the rates of a schedule, with first-moment decay ``b1``, after clipping."""
    step = optax.adamw(schedule, b1=b1, weight_decay=weight_decay)
    return step if clip is None else optax.chain(optax.clip_by_global_norm(clip), step)


def skip_nonfinite(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Skip every update that is not finite."""
    return optax.apply_if_finite(optimizer, max_consecutive_errors=2**31 - 1)


def build_adam(config: AdamConfig) -> optax.GradientTransformation:
    """Return AdamW for all parameters; an update that is not finite is skipped.

    Args:
        config: its options, resolved.

    Raises:
        InputError: if the learning rate is not resolved.
    """
    if config.learning_rate is None:
        raise InputError("learning_rate must be resolved before an optimiser is built, got None")
    num_steps = config.num_steps or 1
    rates = rate_schedule(config.rate_schedule, config.learning_rate, num_steps, config)
    return skip_nonfinite(adamw(rates, config.first_moment_decay, config.weight_decay, config.clip))


class WatchedMetrics(NamedTuple):
    """Metrics whose growth tells that training diverges, by the scale they are held against.

    Attributes:
        in_nats: losses and energies; they explode relative to their running median.
        second_moments: of chains, about 1 while all is well, even before there is a median.
        energy_gap: energy of samples minus that of data; it grows slowly when chains no longer
            follow their density. None for a model without.
    """

    in_nats: tuple[str, ...] = ("loss",)
    second_moments: tuple[str, ...] = ()
    energy_gap: str | None = None


LOSS_ALONE = WatchedMetrics()


@dataclass(frozen=True)
class Learner:
    """A model as the training loop sees it.

    The loop batches, compiles, logs, rolls back and checkpoints; a learner defines one update.
    Its functions are pure.

    Attributes:
        metric_names: names of the metrics of an update, without ``skipped_updates``.
        init: ``rng_key -> state``.
        update: ``(state, rng_key, images (n, ...), index (batch,)) -> state``. The key is
            the same for all updates; fold ``state.step`` into it.
        params: the part of the state to sample and evaluate with, kept apart in
            checkpoints.
        watched: metrics whose growth tells that training diverges.
        shown: one metric for the progress bar, beside the loss.
        validation_names: names of the validation metrics.
        validate: ``(rng_key, params, held-out images) -> validation metrics``, or None.
        measure: ``(rng_key, state, images (n, ...), index (B, batch)) -> statistics`` of the
            learning gradient on B minibatches, or None.
        picture: ``(rng_key, state) -> images (n, height, width, channels)`` in [-1, 1] to
            look at during training, or None.
    """

    metric_names: tuple[str, ...]
    init: Callable[[PRNGKey], TrainState]
    update: Callable[[TrainState, PRNGKey, Float[Array, "n ..."], Int[Array, "batch"]], TrainState]
    params: Callable[[TrainState], Params] = sampling_params
    watched: WatchedMetrics = LOSS_ALONE
    shown: str = "loss"
    validation_names: tuple[str, ...] = ()
    validate: Callable[[PRNGKey, Params, Array], Mapping[str, Array]] | None = None
    measure: Callable[[PRNGKey, TrainState, Array, Array], Mapping[str, Array]] | None = None
    picture: Callable[[PRNGKey, TrainState], Array] | None = None
