"""From a configuration to the objects it describes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from tempered_ebm import learning, likelihoods
from tempered_ebm.energies import mlp_energy
from tempered_ebm.generators import deconv_generator, mlp_generator
from tempered_ebm.models import ChainSettings, LatentEBM, LatentEBMParams
from tempered_ebm.training.config import OptimizerConfig, TrainConfig

ACTIVATIONS: dict[str, Callable] = {
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
}


def build_model(
    config: TrainConfig, image_shape: tuple[int, int, int], *, sampling: bool = False
) -> LatentEBM:
    """Assemble the model of a resolved configuration.

    Args:
        config: resolved configuration.
        image_shape: (height, width, channels).
        sampling: whether its chains have the length for sampling and evaluation, or the
            length for training.
    """
    model, chain = config.model, config.chain
    activation = ACTIVATIONS[model.activation]
    width = model.generator_width or 1
    if model.generator == "deconv":
        generator = deconv_generator(image_shape, width=width, activation=activation)
    else:
        generator = mlp_generator(image_shape, widths=(width, width), activation=activation)
    prior_steps = chain.sampling_steps if sampling else chain.prior_steps
    posterior_steps = chain.sampling_steps if sampling else chain.posterior_steps
    return LatentEBM(
        prior_energy=mlp_energy(model.energy_widths or (1,), activation=activation),
        generator=generator,
        likelihood=likelihoods.gaussian(model.sigma),
        latent_dim=model.latent_dim or 1,
        prior_chain=ChainSettings(prior_steps, chain.prior_step_size),
        posterior_chain=ChainSettings(posterior_steps, chain.posterior_step_size),
        metropolis=chain.metropolis,
        replica_exchange=config.learning.replica_exchange,
    )


def build_estimator(config: TrainConfig) -> learning.Estimator:
    """Learning-gradient estimator of a configuration."""
    match config.learning.estimator:
        case "posterior":
            return learning.posterior()
        case "path":
            return learning.path(config.learning.path_weight)
        case "covariance":
            return learning.covariance()
        case "pooled":
            return learning.pooled()


def build_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW with cosine decay for each network; an update that is not finite is skipped.

    The energy network uses a first-moment decay of 0.5, as in Pang et al. (2020).
    """
    num_steps = config.num_steps or 1

    def adam(learning_rate: float, b1: float) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
        return optax.adamw(schedule, b1=b1, weight_decay=config.weight_decay)

    adams = optax.partition(
        {
            "prior": adam(config.prior_learning_rate, 0.5),
            "generator": adam(config.generator_learning_rate, 0.9),
        },
        lambda params: LatentEBMParams(
            jax.tree.map(lambda _: "prior", params.prior),
            jax.tree.map(lambda _: "generator", params.generator),
        ),
    )
    return optax.apply_if_finite(adams, max_consecutive_errors=2**31 - 1)
