"""The autoencoder with a latent energy-based model of a configuration, and its update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import (
    AutoencoderEBM,
    AutoencoderEBMParams,
    ChainSettings,
    likelihoods,
    replay,
)
from tempered_ebm.networks import mlp_decoder, mlp_encoder, mlp_network
from tempered_ebm.training import state as states
from tempered_ebm.training.autoencoder.config import AutoencoderConfig
from tempered_ebm.training.devices import shard_batch
from tempered_ebm.training.networks import ACTIVATIONS
from tempered_ebm.training.state import Learner, TrainState, advance, begin, build_adam
from tempered_ebm.training.task import NUM_PICTURED
from tempered_ebm.types import PRNGKey

_NAMES = (
    "loss",
    "reconstruction_loss",
    "reconstruction_error",
    "data_energy",
    "sample_energy",
    "energy_gap",
    "acceptance_rate",
    "code_second_moment",
)


def binarized(config: AutoencoderConfig, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Return images whose pixels above the threshold are 1, the others 0."""
    return (x > config.model.threshold).astype(x.dtype)


def build_model(
    config: AutoencoderConfig, event_shape: tuple[int, ...], *, sampling: bool = False
) -> AutoencoderEBM:
    """Return the model of a resolved configuration.

    Args:
        config: resolved configuration.
        event_shape: (height, width, channels).
        sampling: whether its chains are those of sampling, or of an update.
    """
    model, chain = config.model, config.chain
    activation, widths = ACTIVATIONS[model.activation], model.widths or (1,)
    return AutoencoderEBM(
        encoder=mlp_encoder(model.latent_dim, widths=widths, activation=activation),
        decoder=mlp_decoder(event_shape, widths=widths[::-1], activation=activation),
        prior_network=mlp_network(model.energy_widths, activation=activation),
        likelihood=likelihoods.bernoulli(),
        latent_dim=model.latent_dim,
        chain=ChainSettings(
            chain.sampling_steps if sampling else chain.steps, chain.step_size, metropolis=True
        ),
    )


def init_params(
    config: AutoencoderConfig, event_shape: tuple[int, ...], rng_key: PRNGKey
) -> AutoencoderEBMParams:
    """Return initial parameters of the model of a resolved configuration."""
    return build_model(config, event_shape).init(rng_key, jnp.zeros((2, *event_shape)))


def build_learner(config: AutoencoderConfig, dataset: ImageDataset) -> Learner:
    """Return an autoencoder with a latent EBM as the training loop sees it.

    The first updates train the autoencoder; then the codes of all training images are measured,
    once, and the others train the energy.

    Args:
        config: resolved configuration.
        dataset: its data.
    """
    model = build_model(config, dataset.event_shape)
    optimizer = build_adam(config.optimizer)
    decay = config.optimizer.average_decay
    start = replay.gaussian_start(jnp.zeros(model.latent_dim), 1.0)
    switch = config.autoencoder_updates
    is_persistent = config.chain.negatives == "persistent"

    def init(rng_key: PRNGKey) -> TrainState:
        params_key, buffer_key = jax.random.split(rng_key)
        params = init_params(config, dataset.event_shape, params_key)
        buffer = None
        if is_persistent:
            buffer = replay.init(buffer_key, config.chain.capacity, start)
        return begin(params, optimizer, buffer, _NAMES, averages=decay is not None)

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        state = jax.lax.cond(
            state.step == switch,
            lambda state: _freeze_autoencoder(model, state, binarized(config, images)),
            lambda state: state,
            state,
        )
        x = binarized(config, shard_batch(images[index]))
        key = jax.random.fold_in(rng_key, state.step)
        return jax.lax.cond(
            state.step < switch,
            lambda state: autoencoder_update(state, x),
            lambda state: energy_update(state, key, x),
            state,
        )

    def autoencoder_update(state: TrainState, x: Array) -> TrainState:
        loss, grads = jax.value_and_grad(model.reconstruction_loss)(state.params, x)
        params = state.params
        error = jnp.mean((model.decode(params, model.encode(params, x)) - x) ** 2)
        metrics = {
            **{name: jnp.zeros(()) for name in _NAMES},
            "loss": loss,
            "reconstruction_loss": loss,
            "reconstruction_error": error,
        }
        after = advance(state, optimizer, grads, state.chains, metrics, average_decay=decay)
        return _with_kept(after, state, ("prior", "location", "scale"))

    def energy_update(state: TrainState, key: PRNGKey, x: Array) -> TrainState:
        replay_key, chain_key = jax.random.split(key)
        params, buffer, batch = state.params, state.chains, None
        z = model.encode(params, x)
        initial = z
        if is_persistent:
            batch = replay.sample(replay_key, buffer, x.shape[0], start, config.chain.restart)
            initial = shard_batch(batch.position)
        end = model.codes.run_chains(chain_key, params.prior, initial)
        loss, grads = jax.value_and_grad(model.energy_loss)(params, x, end.position)
        if batch is not None:
            buffer = replay.update(buffer, batch, end.position, num_steps=config.chain.steps)
        data_energy = -model.codes.negative_energy(params.prior, z).mean()
        sample_energy = -end.negative_energy.mean()
        metrics = {
            "loss": loss,
            "reconstruction_loss": model.reconstruction_loss(params, x),
            "reconstruction_error": jnp.mean((model.decode(params, z) - x) ** 2),
            "data_energy": data_energy,
            "sample_energy": sample_energy,
            "energy_gap": sample_energy - data_energy,
            "acceptance_rate": end.statistic.mean(),
            "code_second_moment": jnp.mean(end.position**2),
        }
        after = advance(state, optimizer, grads, buffer, metrics, average_decay=decay)
        return _with_kept(after, state, ("encoder", "decoder", "location", "scale"))

    def validate(rng_key: PRNGKey, params: AutoencoderEBMParams, x: Array) -> dict[str, Array]:
        x = binarized(config, x)
        return {"validation_reconstruction_loss": model.reconstruction_loss(params, x)}

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        return 2 * model.generate(rng_key, states.sampling_params(state), NUM_PICTURED) - 1

    return Learner(
        metric_names=_NAMES,
        init=init,
        update=update,
        watched=states.WatchedMetrics(
            ("loss", "data_energy", "sample_energy"), ("code_second_moment",), "energy_gap"
        ),
        shown="reconstruction_error",
        validation_names=("validation_reconstruction_loss",),
        validate=validate,
        picture=picture,
    )


def _freeze_autoencoder(model: AutoencoderEBM, state: TrainState, x: Array) -> TrainState:
    """Fix the autoencoder as it is sampled from, and measure the codes of the training set."""
    sampled = states.sampling_params(state)
    params = model.standardize(
        state.params._replace(encoder=sampled.encoder, decoder=sampled.decoder), x
    )
    average = None if state.average is None else params
    return state._replace(params=params, average=average)


def _with_kept(after: TrainState, before: TrainState, names: tuple[str, ...]) -> TrainState:
    """Undo an update of the parts that it does not train: momenta would go on to move them."""

    def keep(new: Any, old: Any) -> Any:
        return new._replace(**{name: getattr(old, name) for name in names})

    average = None if after.average is None else keep(after.average, before.average)
    return after._replace(params=keep(after.params, before.params), average=average)
