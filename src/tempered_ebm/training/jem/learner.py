"""The joint energy-based model of a configuration, its chains, and its update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import JEM, JEMLoss, replay
from tempered_ebm.training import state as states
from tempered_ebm.training.devices import shard_batch
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.networks import build_chain, build_network
from tempered_ebm.training.state import Learner, TrainState, advance, begin, build_adam
from tempered_ebm.training.task import NUM_PICTURED
from tempered_ebm.types import Params, PRNGKey

_NAMES = (
    "loss",
    "cross_entropy",
    "accuracy",
    "data_energy",
    "sample_energy",
    "energy_gap",
    "sample_gradient_norm",
    "sample_second_moment",
    "chain_age",
)


def build_model(config: JEMConfig, event_shape: tuple[int, ...], *, sampling: bool = False) -> JEM:
    """Return the model of a resolved configuration.

    Args:
        config: resolved configuration.
        event_shape: shape of one observation.
        sampling: whether its chains are those of sampling, or of an update.
    """
    num_classes = config.model.num_classes or 2
    return JEM(
        classifier=build_network(config.model, num_classes),
        event_shape=event_shape,
        num_classes=num_classes,
        chain=build_chain(config.chain, sampling=sampling),
    )


def build_start(
    config: JEMConfig, dataset: ImageDataset, images: Array | None = None
) -> replay.Start:
    """Return where new chains start, given their class.

    Args:
        config: resolved configuration.
        dataset: its data.
        images: the training images where they already are on the device, so that a compiled
            update does not hold a copy of them.
    """
    x = dataset.x_train
    if config.replay.start == "uniform":
        low, high = config.replay.start_low or 0.0, config.replay.start_high or 0.0
        return replay.uniform_start(x.shape[1:], low, high)
    if config.replay.start == "data":
        return replay.data_start(jnp.asarray(x) if images is None else images)
    labels = np.asarray(dataset.y_train)
    classes = [x[labels == c] for c in range(config.model.num_classes or 0)]
    # A class without training images has the normal of all of them.
    classes = [mine if len(mine) else x for mine in classes]
    means = np.stack([mine.mean(0) for mine in classes])
    deviations = np.stack([mine.std(0) + 1e-3 for mine in classes])
    return replay.class_gaussian_start(jnp.asarray(means), jnp.asarray(deviations))


def build_learner(config: JEMConfig, dataset: ImageDataset) -> Learner:
    """Return a joint energy-based model as the training loop sees it.

    Args:
        config: resolved configuration.
        dataset: its data, with labels.
    """
    num_classes, goal = config.model.num_classes, config.objective
    model = build_model(config, dataset.event_shape)
    optimizer = build_adam(config.optimizer)
    decay = config.optimizer.average_decay
    labels = jnp.asarray(dataset.y_train, jnp.int32)
    mean_square = float(np.mean(np.square(dataset.x_train, dtype=np.float64)))

    def init(rng_key: PRNGKey) -> TrainState:
        params_key, buffer_key = jax.random.split(rng_key)
        buffer = None
        if config.has_density:
            start = build_start(config, dataset)
            buffer = replay.init(buffer_key, config.replay.capacity, start, num_classes=num_classes)
        return begin(model.init(params_key), optimizer, buffer, _NAMES, averages=decay is not None)

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        key = jax.random.fold_in(rng_key, state.step)
        noise_key, replay_key, chain_key = jax.random.split(key, 3)
        x, label = shard_batch(images[index]), shard_batch(labels[index])
        noisy = x + goal.data_noise * jax.random.normal(noise_key, x.shape, x.dtype)
        buffer, classified, of_chains = state.chains, noisy, {}
        samples: tuple[Any, ...] = ()
        density: dict[str, Any] = {}
        if config.has_density:
            start = build_start(config, dataset, images)
            batch = replay.sample(replay_key, buffer, len(index), start, config.replay.restart)
            classes = batch.label if goal.density == "joint" else None
            end = model.run_chains(chain_key, state.params, shard_batch(batch.position), classes)
            classified, samples = x, (end.position, classes)
            density = {
                "density": jnp.where(state.step < goal.pretrain, 0.0, goal.weight),
                "energy_penalty": goal.energy_penalty,
                "data": noisy,
            }
            buffer = replay.update(buffer, batch, end.position, num_steps=config.chain.steps or 1)
            of_chains = {
                "sample_gradient_norm": end.gradient_norm.mean(),
                "sample_second_moment": jnp.mean(end.position**2) / mean_square,
                "chain_age": replay.age_statistics(buffer).mean,
            }

        def loss(params: Params) -> tuple[Array, JEMLoss]:
            found = model.loss(
                params, classified, label, *samples, classify=goal.classify, **density
            )
            return found.total, found

        (_, found), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        # Zeros without chains; energies are minus f.
        parts = found._asdict()
        metrics = {
            **{name: jnp.zeros(()) for name in _NAMES},
            "loss": parts.pop("total"),
            **parts,
            "energy_gap": found.sample_energy - found.data_energy,
            **of_chains,
        }
        return advance(state, optimizer, grads, buffer, metrics, average_decay=decay)

    def validate(rng_key: PRNGKey, params: Params, x: Array) -> dict[str, Array]:
        y = jnp.asarray(dataset.y_test, jnp.int32)[: x.shape[0]]
        found = model.loss(params, x, y)
        return {
            "validation_accuracy": found.accuracy,
            "validation_cross_entropy": found.cross_entropy,
        }

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        return state.chains.position[:NUM_PICTURED]

    return Learner(
        metric_names=_NAMES,
        init=init,
        update=update,
        watched=states.WatchedMetrics(
            ("loss", "data_energy", "sample_energy"), ("sample_second_moment",), "energy_gap"
        ),
        shown="accuracy",
        validation_names=("validation_accuracy", "validation_cross_entropy"),
        validate=validate,
        picture=picture if config.has_density else None,
    )
