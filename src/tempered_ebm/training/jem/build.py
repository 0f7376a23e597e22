"""From a configuration to a joint energy-based model and its update."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import DivergedError, InputError
from tempered_ebm.models import JEM, DataEBM, JEMLoss, replay
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.learner import Learner, Shard
from tempered_ebm.training.networks import build_chain, build_network
from tempered_ebm.training.optimizers import build_adam
from tempered_ebm.training.state import TrainState, advance, begin
from tempered_ebm.training.walks import Walk, segment
from tempered_ebm.types import Params, PRNGKey

_PICTURED = 100
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
    """Assemble the model of a resolved configuration.

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


def init_params(config: JEMConfig, event_shape: tuple[int, ...], rng_key: PRNGKey) -> Params:
    """Initial parameters of the model of a resolved configuration."""
    return build_model(config, event_shape).init(rng_key)


def build_start(
    config: JEMConfig, dataset: ImageDataset, images: Array | None = None
) -> replay.Start:
    """Where new chains start, given their class.

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


def build_learner(config: JEMConfig, dataset: ImageDataset, shard: Shard | None = None) -> Learner:
    """A joint energy-based model as the training loop sees it.

    Args:
        config: resolved configuration.
        dataset: its data, with labels.
        shard: divides examples and chains over devices; by default there is one.
    """
    num_classes = config.model.num_classes
    model = build_model(config, dataset.event_shape)
    optimizer = build_adam(config.optimizer)
    goal = config.objective
    decay = config.optimizer.average_decay
    divide = shard or (lambda array, axis: array)
    labels = jnp.asarray(dataset.y_train, jnp.int32)
    has_density = goal.density != "none"
    is_joint = goal.density == "joint"
    scale = float(np.mean(np.square(dataset.x_train, dtype=np.float64)))

    def init(rng_key: PRNGKey) -> TrainState:
        params_key, buffer_key = jax.random.split(rng_key)
        buffer = None
        if has_density:
            start = build_start(config, dataset)
            buffer = replay.init(buffer_key, config.replay.capacity, start, num_classes=num_classes)
        return begin(model.init(params_key), optimizer, buffer, _NAMES, averages=decay is not None)

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        key = jax.random.fold_in(rng_key, state.step)
        noise_key, replay_key, chain_key = jax.random.split(key, 3)
        x, label = divide(images[index], 0), divide(labels[index], 0)
        noisy = x + goal.data_noise * jax.random.normal(noise_key, x.shape, x.dtype)
        if not has_density:
            (_, found), grads = jax.value_and_grad(
                lambda params: _with_total(
                    model.loss(params, noisy, label, classify=goal.classify)
                ),
                has_aux=True,
            )(state.params)
            metrics = _metrics(found)
            return advance(state, optimizer, grads, None, metrics, average_decay=decay)
        buffer = state.chains
        start = build_start(config, dataset, images)
        batch = replay.sample(replay_key, buffer, len(index), start, config.replay.restart)
        initial = divide(batch.position, 0)
        end = model.run_chains(chain_key, state.params, initial, batch.label if is_joint else None)
        weight = jnp.where(state.step < goal.pretrain, 0.0, goal.weight)
        (_, found), grads = jax.value_and_grad(
            lambda params: _with_total(
                model.loss(
                    params,
                    x,
                    label,
                    end.position,
                    batch.label if is_joint else None,
                    classify=goal.classify,
                    density=weight,
                    energy_penalty=goal.energy_penalty,
                    data=noisy,
                )
            ),
            has_aux=True,
        )(state.params)
        buffer = replay.update(buffer, batch, end.position, num_steps=config.chain.steps or 1)
        metrics = _metrics(found)
        metrics["sample_gradient_norm"] = end.gradient_norm.mean()
        metrics["sample_second_moment"] = jnp.mean(end.position**2) / scale
        metrics["chain_age"] = replay.age_statistics(buffer).mean
        return advance(state, optimizer, grads, buffer, metrics, average_decay=decay)

    def validate(rng_key: PRNGKey, params: Params, x: Array) -> dict[str, Array]:
        y = jnp.asarray(dataset.y_test, jnp.int32)[: x.shape[0]]
        found = model.loss(params, x, y)
        return {
            "validation_accuracy": found.accuracy,
            "validation_cross_entropy": found.cross_entropy,
        }

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        return state.chains.position[:_PICTURED]

    return Learner(
        metric_names=_NAMES,
        init=init,
        update=update,
        shown="accuracy",
        validation_names=("validation_accuracy", "validation_cross_entropy"),
        validate=validate,
        picture=picture if has_density else None,
    )


def _with_total(found: JEMLoss) -> tuple[Array, JEMLoss]:
    return found.total, found


def _metrics(found: JEMLoss) -> dict[str, Array]:
    """Averages over one update; energies are minus f."""
    return {
        **{name: jnp.zeros(()) for name in _NAMES},
        "loss": found.total,
        "cross_entropy": found.cross_entropy,
        "accuracy": found.accuracy,
        "data_energy": found.data_energy,
        "sample_energy": found.sample_energy,
        "energy_gap": found.sample_energy - found.data_energy,
    }


def density(
    config: JEMConfig, event_shape: tuple[int, ...], num_steps: int | None = None
) -> DataEBM:
    """The density of images alone, with the chain of sampling, or one of ``num_steps`` steps.

    Raises:
        InputError: if the run trains the classifier alone.
    """
    if config.objective.density == "none":
        raise InputError("this needs a density, and the run was trained with --density none")
    steps = config.chain.sampling_steps if num_steps is None else num_steps
    chain = dataclasses.replace(config.chain, sampling_steps=steps)
    return build_model(
        dataclasses.replace(config, chain=chain), event_shape, sampling=True
    ).marginal


def walk(
    config: JEMConfig,
    dataset: ImageDataset,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
    label: np.ndarray | None = None,
) -> Walk:
    """Chains on p(x|y) that start like new chains of training; by default all classes in turn."""
    steps = segment(config.chain.sampling_steps, num_frames)
    chain = dataclasses.replace(config.chain, sampling_steps=steps)
    model = build_model(
        dataclasses.replace(config, chain=chain), dataset.event_shape, sampling=True
    )
    if label is None:
        label = np.arange(num_samples) % model.num_classes
    classes = jnp.asarray(label, jnp.int32)
    return Walk(
        build_start(config, dataset)(rng_key, classes),
        lambda key, x: model.run_chains(key, params, x, classes).position,
        lambda x: x,
    )


def generate(
    config: JEMConfig,
    dataset: ImageDataset,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    label: np.ndarray | None = None,
) -> np.ndarray:
    """Ends of chains of ``sampling_steps`` that start like new chains of training.

    Args:
        config: resolved configuration.
        dataset: its data.
        params: parameters of the classifier.
        rng_key: key of starts and chains.
        num_samples: number of chains.
        label: the class of each chain; by default all classes in turn. The chains of a model
            whose density is marginal are given a class, too: they follow p(x|y).

    Raises:
        DivergedError: if the chains are not finite.
    """
    start_key, chain_key = jax.random.split(rng_key)
    if label is None:
        label = np.arange(num_samples) % (config.model.num_classes or 1)
    model = build_model(config, dataset.event_shape, sampling=True)
    classes = jnp.asarray(label, jnp.int32)
    initial = build_start(config, dataset)(start_key, classes)
    samples = np.asarray(model.run_chains(chain_key, params, initial, classes).position)
    if not np.all(np.isfinite(samples)):
        raise DivergedError(
            "the chains of the trained model diverged: expected finite values; a smaller "
            "--step-size in training may help"
        )
    return samples
