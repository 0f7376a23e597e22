"""What the training loop asks of a model: a handful of functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Array, Float, Int

from tempered_ebm.training.state import TrainState, sampling_params
from tempered_ebm.types import Params, PRNGKey

Shard = Callable[[Array, int], Array]
"""``(array, axis) -> array`` divided over devices along an axis."""


@dataclass(frozen=True)
class Learner:
    """A model as the training loop sees it.

    The loop batches, compiles, logs, guards and checkpoints; a learner says what one
    update is. Its functions are pure.

    Attributes:
        metric_names: names of the metrics of an update, without ``skipped_updates``.
        init: ``rng_key -> state``.
        update: ``(state, rng_key, images (n, ...), index (batch,)) -> state``. The key is
            the same for all updates; fold ``state.step`` into it.
        params: the part of the state to sample and evaluate with, kept apart in
            checkpoints.
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
    shown: str = "loss"
    validation_names: tuple[str, ...] = ()
    validate: Callable[[PRNGKey, Params, Array], Mapping[str, Array]] | None = None
    measure: Callable[[PRNGKey, TrainState, Array, Array], Mapping[str, Array]] | None = None
    picture: Callable[[PRNGKey, TrainState], Array] | None = None
