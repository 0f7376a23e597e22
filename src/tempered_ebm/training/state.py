"""What changes during training, and the half of an update that no model has to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm.types import Params

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
    """State before the first update.

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
    """The decay, less in the beginning: initial parameters are soon forgotten."""
    return jnp.minimum(0.0 if decay is None else decay, (1.0 + step) / (10.0 + step))


def sampling_params(state: TrainState) -> Params:
    """Parameters to sample and evaluate with: the moving average if one is kept."""
    return state.params if state.average is None else state.average


def consecutive_skips(state: TrainState) -> Int[Array, ""]:
    """Number of updates skipped in a row until now."""
    return state.optimizer_state.notfinite_count
