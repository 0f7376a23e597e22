"""The optimiser of a latent EBM: a rate schedule, clipping and AdamW for each network."""

from __future__ import annotations

import jax
import optax

from tempered_ebm.models import LatentEBMParams
from tempered_ebm.training.latent.config import OptimizerConfig, RateConfig, UpdateConfig
from tempered_ebm.training.optimizers import adamw, rate_schedule, skip_nonfinite


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
            "prior": adamw(prior, 0.5, decay, update.prior_clip),
            "generator": adamw(generator, 0.9, decay, update.generator_clip),
        },
        lambda params: LatentEBMParams(
            jax.tree.map(lambda _: "prior", params.prior),
            jax.tree.map(lambda _: "generator", params.generator),
        ),
    )
    return skip_nonfinite(both)
