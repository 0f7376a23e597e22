"""The optimiser of a latent EBM: a rate schedule, clipping and AdamW for each network."""

from __future__ import annotations

import jax
import optax

from tempered_ebm.models import LatentEBMParams
from tempered_ebm.training.config import OptimizerConfig
from tempered_ebm.training.options import RateConfig, RateSchedule, UpdateConfig


def rate_schedule(
    name: RateSchedule, initial: float, num_steps: int, config: RateConfig
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


def _adamw(
    schedule: optax.Schedule, b1: float, weight_decay: float, clip: float | None
) -> optax.GradientTransformation:
    adamw = optax.adamw(schedule, b1=b1, weight_decay=weight_decay)
    return adamw if clip is None else optax.chain(optax.clip_by_global_norm(clip), adamw)


def build_optimizer(
    config: OptimizerConfig, rates: RateConfig | None = None, update: UpdateConfig | None = None
) -> optax.GradientTransformation:
    """AdamW for each network; an update that is not finite is skipped.

    The energy network uses a first-moment decay of 0.5, as in Pang et al. (2020).

    Args:
        config: learning rates and weight decay; ``num_steps`` is resolved.
        rates: schedules of the learning rates; cosine by default.
        update: largest gradient norms, one for each network; none by default.
    """
    rates, update = rates or RateConfig(), update or UpdateConfig()
    num_steps, decay = config.num_steps or 1, config.weight_decay
    prior = rate_schedule(rates.prior_rate_schedule, config.prior_learning_rate, num_steps, rates)
    generator = rate_schedule(
        rates.generator_rate_schedule, config.generator_learning_rate, num_steps, rates
    )
    both = optax.partition(
        {
            "prior": _adamw(prior, 0.5, decay, update.prior_clip),
            "generator": _adamw(generator, 0.9, decay, update.generator_clip),
        },
        lambda params: LatentEBMParams(
            jax.tree.map(lambda _: "prior", params.prior),
            jax.tree.map(lambda _: "generator", params.generator),
        ),
    )
    return optax.apply_if_finite(both, max_consecutive_errors=2**31 - 1)
