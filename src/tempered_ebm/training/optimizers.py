"""Optimisers: schedules of learning rates, clipping and AdamW."""

from __future__ import annotations

import optax

from tempered_ebm.errors import InputError
from tempered_ebm.training.options import AdamConfig, RateSchedule, RateShape


def rate_schedule(
    name: RateSchedule, initial: float, num_steps: int, config: RateShape
) -> optax.Schedule:
    """Learning rate as a function of the number of updates made.

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
    """AdamW at the rates of a schedule, with first-moment decay ``b1``, after clipping."""
    step = optax.adamw(schedule, b1=b1, weight_decay=weight_decay)
    return step if clip is None else optax.chain(optax.clip_by_global_norm(clip), step)


def skip_nonfinite(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Skip every update that is not finite."""
    return optax.apply_if_finite(optimizer, max_consecutive_errors=2**31 - 1)


def build_adam(config: AdamConfig) -> optax.GradientTransformation:
    """AdamW for all parameters; an update that is not finite is skipped.

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
