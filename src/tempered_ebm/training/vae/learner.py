"""The variational autoencoder of a configuration, and its update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tempered_ebm.models import VAE, VAEParams, likelihoods
from tempered_ebm.training import state as states
from tempered_ebm.training.devices import shard_batch
from tempered_ebm.training.networks import build_encoder, build_generator
from tempered_ebm.training.state import Learner, TrainState, advance, begin, build_adam
from tempered_ebm.training.task import NUM_PICTURED
from tempered_ebm.training.vae.config import VAEConfig
from tempered_ebm.types import PRNGKey

_NAMES = ("loss", "loglikelihood", "kl", "reconstruction_error", "second_moment")


def build_model(config: VAEConfig, image_shape: tuple[int, int, int]) -> VAE:
    """Return the model of a resolved configuration."""
    model = config.model
    d = model.latent_dim or 1
    return VAE(
        encoder=build_encoder(model, model.encoder_width or 1, 2 * d),
        generator=build_generator(model, image_shape),
        likelihood=likelihoods.gaussian(model.sigma),
        latent_dim=d,
    )


def init_params(config: VAEConfig, event_shape: Any, rng_key: PRNGKey) -> VAEParams:
    """Return initial parameters of the model of a resolved configuration."""
    return build_model(config, event_shape).init(rng_key, jnp.zeros((1, *event_shape)))


def build_learner(config: VAEConfig, image_shape: tuple[int, int, int]) -> Learner:
    """Return a variational autoencoder of a resolved configuration as the training loop sees it."""
    model = build_model(config, image_shape)
    optimizer = build_adam(config.optimizer)
    decay = config.optimizer.average_decay

    def init(rng_key: PRNGKey) -> TrainState:
        params = init_params(config, image_shape, rng_key)
        return begin(params, optimizer, None, _NAMES, averages=decay is not None)

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        x = shard_batch(images[index])
        key = jax.random.fold_in(rng_key, state.step)

        def loss_fn(params: VAEParams) -> tuple[Array, tuple[Array, Array]]:
            loglikelihood, kl = model.evidence_terms(key, params, x)
            return jnp.mean(kl - loglikelihood), (loglikelihood.mean(), kl.mean())

        (loss, (loglikelihood, kl)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        z = model.sample_posterior(key, state.params, x)
        metrics = {
            "loss": loss,
            "loglikelihood": loglikelihood,
            "kl": kl,
            "reconstruction_error": jnp.mean((model.decode(state.params, z) - x) ** 2),
            "second_moment": jnp.mean(z**2),
        }
        return advance(state, optimizer, grads, None, metrics, average_decay=decay)

    def validate(rng_key: PRNGKey, params: VAEParams, x: Array) -> dict[str, Array]:
        return {
            "validation_loss": model.loss(rng_key, params, x),
            "validation_reconstruction_error": jnp.mean(
                (model.reconstruct(rng_key, params, x) - x) ** 2
            ),
        }

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        return model.generate(rng_key, states.sampling_params(state), NUM_PICTURED)

    return Learner(
        metric_names=_NAMES,
        init=init,
        update=update,
        shown="reconstruction_error",
        validation_names=("validation_loss", "validation_reconstruction_error"),
        validate=validate,
        picture=picture,
    )
