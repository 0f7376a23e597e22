"""From a configuration to the objects it describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tempered_ebm import learning
from tempered_ebm.errors import DivergedError
from tempered_ebm.models import ChainSettings, LatentEBM, LatentEBMParams, likelihoods
from tempered_ebm.networks import in_bfloat16, mlp_network
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent import step
from tempered_ebm.training.latent.config import LatentConfig
from tempered_ebm.training.latent.optimizers import build_optimizer
from tempered_ebm.training.learner import Learner, Shard
from tempered_ebm.training.networks import ACTIVATIONS, build_generator
from tempered_ebm.training.state import TrainState, sampling_params
from tempered_ebm.training.walks import Walk, segment
from tempered_ebm.types import PRNGKey

_PICTURED = 100


def build_model(
    config: LatentConfig, image_shape: tuple[int, int, int], *, sampling: bool = False
) -> LatentEBM:
    """Assemble the model of a resolved configuration.

    Args:
        config: resolved configuration.
        image_shape: (height, width, channels).
        sampling: whether it samples and evaluates, by long chains in float32, or trains,
            by short ones in the configured precision.
    """
    model, chain = config.model, config.chain
    generator: Any = build_generator(model, image_shape)
    activation = ACTIVATIONS[model.activation]
    energy: Any = mlp_network(model.energy_widths or (1,), activation=activation)
    if config.update.precision == "bf16" and not sampling:
        energy, generator = in_bfloat16(energy), in_bfloat16(generator)
    prior_steps = chain.sampling_steps if sampling else chain.prior_steps
    posterior_steps = chain.sampling_steps if sampling else chain.posterior_steps
    return LatentEBM(
        prior_network=energy,
        generator=generator,
        likelihood=likelihoods.gaussian(model.sigma),
        latent_dim=model.latent_dim or 1,
        prior_chain=ChainSettings(prior_steps, chain.prior_step_size),
        posterior_chain=ChainSettings(posterior_steps, chain.posterior_step_size),
        metropolis=chain.metropolis,
        replica_exchange=config.learning.replica_exchange,
        temperature_block=config.learning.temperature_block,
    )


def require_finite(name: str, values: np.ndarray) -> None:
    """Require that chains have not run away.

    Args:
        name: which chains, "prior" or "posterior".
        values: their positions, or what was made of them.

    Raises:
        DivergedError: if a value is not finite.
    """
    if not np.all(np.isfinite(values)):
        raise DivergedError(
            f"the {name} chains of the trained model diverged: expected finite values; a smaller "
            f"--{name}-step-size or --metropolis in training may help"
        )


def init_params(
    config: LatentConfig, image_shape: tuple[int, int, int], rng_key: PRNGKey
) -> LatentEBMParams:
    """Initial parameters of the model of a resolved configuration."""
    return build_model(config, image_shape).init(rng_key)


def generate(
    config: LatentConfig,
    image_shape: tuple[int, int, int],
    params: LatentEBMParams,
    rng_key: PRNGKey,
    num_samples: int,
) -> np.ndarray:
    """Images from the learned prior, by chains of ``sampling_steps``.

    Raises:
        DivergedError: if the chains are not finite.
    """
    model = build_model(config, image_shape, sampling=True)
    images = np.asarray(model.generate(rng_key, params, num_samples))
    require_finite("prior", images)
    return images


def walk(
    config: LatentConfig,
    image_shape: tuple[int, int, int],
    params: LatentEBMParams,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
) -> Walk:
    """Prior chains from N(0, I), shown as images."""
    steps = segment(config.chain.sampling_steps, num_frames)
    chain = dataclasses.replace(config.chain, sampling_steps=steps)
    model = build_model(dataclasses.replace(config, chain=chain), image_shape, sampling=True)
    return Walk(
        jax.random.normal(rng_key, (num_samples, model.latent_dim)),
        lambda key, z: model.sample_prior(key, params, num_samples, initial=z),
        lambda z: model.decode(params, z),
        lambda z: -model.logprior(params, z),
    )


def build_estimator(config: LatentConfig) -> learning.Estimator:
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


def _build_measure(
    gradient: step.Gradient, temperatures: Array | None, num_repeats: int
) -> Callable[[PRNGKey, TrainState, Array, Array], dict[str, Array]]:
    """Statistics of the gradient of an update, from where the chains of the run stand."""

    def measure(rng_key: PRNGKey, state: TrainState, images: Array, index: Array) -> dict:
        def once(key: PRNGKey, index: Array) -> LatentEBMParams:
            return gradient(key, state.params, state.chains, temperatures, images, index).gradient

        keys = jax.random.split(rng_key, (len(index), num_repeats))
        estimates = jax.vmap(jax.vmap(once, in_axes=(0, None)))(keys, index)
        single = jax.tree.map(lambda leaf: leaf[0, 0], estimates)
        legacy = learning.parameter_groups(single)
        return {
            f"{group}_{name}": value
            for group, statistics in learning.gradient_statistics(estimates).items()
            for name, value in (
                *statistics._asdict().items(),
                ("legacy_variance", learning.legacy_gradient_variance(legacy[group])),
            )
            if not name.startswith("squared_bias")
        }

    return measure


def build_learner(
    config: LatentConfig,
    image_shape: tuple[int, int, int],
    num_images: int,
    *,
    shard: Shard | None = None,
) -> Learner:
    """A latent EBM as the training loop sees it.

    Args:
        config: resolved configuration.
        image_shape: (height, width, channels).
        num_images: training images.
        shard: divides examples and chains over devices; by default there is one.
    """
    model = build_model(config, image_shape)
    optimizer = build_optimizer(config.optimizer, config.rates, config.update)
    temperatures = configs.ladder(config.learning) if config.learning.uses_ladder else None
    rungs = 1 if temperatures is None else len(temperatures)
    names = step.metric_names(model, rungs, image_shape)
    decay = config.update.average_decay
    latent_update = step.build_update(
        model,
        build_estimator(config),
        optimizer,
        num_chains=config.learning.num_chains or 1,
        average_decay=decay,
        shard=shard,
    )

    def init(rng_key: PRNGKey) -> TrainState:
        return step.init_state(
            model,
            optimizer,
            rungs,
            rng_key,
            num_chains=config.learning.num_chains or 1,
            num_images=num_images,
            batch_size=config.optimizer.batch_size,
            persistent=config.chain.chains == "persistent",
            names=names,
            averages=decay is not None,
        )

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        return latent_update(state, rng_key, temperatures, images, index)

    sampler = build_model(config, image_shape, sampling=True)

    def validate(rng_key: PRNGKey, params: LatentEBMParams, x: Array) -> dict[str, Array]:
        error = jnp.mean((sampler.reconstruct(rng_key, params, x) - x) ** 2)
        return {"validation_reconstruction_error": error}

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        params = sampling_params(state)
        if state.chains is None:
            return model.generate(rng_key, params, _PICTURED)
        return model.decode(params, state.chains.prior[:_PICTURED])

    return Learner(
        metric_names=names,
        init=init,
        update=update,
        shown="reconstruction_error",
        validation_names=("validation_reconstruction_error",),
        validate=validate,
        measure=_build_measure(
            step.build_gradient(
                model, build_estimator(config), num_chains=config.learning.num_chains or 1
            ),
            temperatures,
            config.logging.gradient_repeats,
        ),
        picture=picture,
    )
