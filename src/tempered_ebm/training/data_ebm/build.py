"""From a configuration to an energy-based model of data and its update."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tempered_ebm import schedules
from tempered_ebm.diagnostics import virial_temperature
from tempered_ebm.errors import DivergedError
from tempered_ebm.models import ChainEnd, DataEBM, replay
from tempered_ebm.training.data import AnyDataset
from tempered_ebm.training.data_ebm.config import DataEBMConfig, has_ladder, is_adjusted
from tempered_ebm.training.learner import Learner, Shard
from tempered_ebm.training.networks import build_chain, build_network
from tempered_ebm.training.optimizers import build_adam
from tempered_ebm.training.state import TrainState, advance, begin, sampling_params
from tempered_ebm.training.walks import Walk, segment
from tempered_ebm.types import Params, PRNGKey

_PICTURED = 100


def build_model(
    config: DataEBMConfig, event_shape: tuple[int, ...], *, sampling: bool = False
) -> DataEBM:
    """Assemble the model of a resolved configuration.

    Args:
        config: resolved configuration.
        event_shape: shape of one observation.
        sampling: whether its chains are those of sampling, or of an update.
    """
    model, chain = config.model, config.chain
    rungs = chain.num_temperatures or 1
    return DataEBM(
        network=build_network(model, 1),
        event_shape=event_shape,
        chain=build_chain(chain, sampling=sampling),
        base_scale=model.base_scale,
        temperatures=None if rungs == 1 else schedules.power(rungs, chain.power),
    )


def density(
    config: DataEBMConfig, event_shape: tuple[int, ...], num_steps: int | None = None
) -> DataEBM:
    """The model with the chain of sampling, or one of ``num_steps`` steps.

    In place of a ladder its chains are Metropolis-adjusted, as all steps of a ladder are.
    """
    chain = dataclasses.replace(
        config.chain,
        sampling_steps=config.chain.sampling_steps if num_steps is None else num_steps,
        metropolis=is_adjusted(config.chain),
    )
    return build_model(dataclasses.replace(config, chain=chain), event_shape, sampling=True)


def build_start(config: DataEBMConfig, x: np.ndarray | Array) -> replay.Start:
    """Where new chains, or all replicas of new ladders, start.

    Args:
        config: resolved configuration.
        x: training data, (n, ...).
    """
    one = _start_of_one(config, jnp.asarray(x))
    rungs = config.chain.num_temperatures or 1
    if rungs == 1:
        return one

    def ladder(rng_key: PRNGKey, label: Array) -> Array:
        position = one(rng_key, jnp.repeat(label, rungs))
        return position.reshape(*label.shape, rungs, *position.shape[1:])

    return ladder


def _start_of_one(config: DataEBMConfig, x: Array) -> replay.Start:
    if config.replay.start == "uniform":
        low, high = config.replay.start_low or 0.0, config.replay.start_high or 0.0
        return replay.uniform_start(x.shape[1:], low, high)
    if config.replay.start == "gaussian":
        return replay.gaussian_start(x.mean(0), x.std(0) + 1e-3)
    return replay.data_start(x)


def init_params(config: DataEBMConfig, event_shape: tuple[int, ...], rng_key: PRNGKey) -> Params:
    """Initial parameters of the model of a resolved configuration."""
    return build_model(config, event_shape).init(rng_key)


def metric_names(config: DataEBMConfig) -> tuple[str, ...]:
    """Names of the metrics of an update, in the order of their columns."""
    if config.objective.objective == "score_matching":
        return ("loss", "data_energy")
    statistic = "acceptance_rate" if is_adjusted(config.chain) else "drift_norm"
    names: tuple[str, ...] = (
        "loss",
        "data_energy",
        "sample_energy",
        "energy_gap",
        "sample_gradient_norm",
        statistic,
        "virial_temperature",
        "sample_second_moment",
    )
    if config.objective.objective == "persistent":
        names = (*names, "chain_age")
    return (*names, "swap_acceptance_rate") if has_ladder(config.chain) else names


def build_learner(
    config: DataEBMConfig, dataset: AnyDataset, shard: Shard | None = None
) -> Learner:
    """An energy-based model of data as the training loop sees it.

    Args:
        config: resolved configuration.
        dataset: its data; chains may start from them.
        shard: divides examples and chains over devices; by default there is one.
    """
    model = build_model(config, dataset.event_shape)
    sampler = build_model(config, dataset.event_shape, sampling=True)
    optimizer = build_adam(config.optimizer)
    goal = config.objective
    decay = config.optimizer.average_decay
    names = metric_names(config)
    divide = shard or (lambda array, axis: array)
    scale = float(np.mean(np.square(dataset.x_train, dtype=np.float64)))

    def init(rng_key: PRNGKey) -> TrainState:
        params_key, buffer_key = jax.random.split(rng_key)
        buffer = None
        if goal.objective == "persistent":
            start = build_start(config, dataset.x_train)
            buffer = replay.init(buffer_key, config.replay.capacity, start)
        return begin(model.init(params_key), optimizer, buffer, names, averages=decay is not None)

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        key = jax.random.fold_in(rng_key, state.step)
        noise_key, replay_key, chain_key, score_key = jax.random.split(key, 4)
        x = divide(images[index], 0)
        if goal.data_noise:
            x = x + goal.data_noise * jax.random.normal(noise_key, x.shape, x.dtype)
        if goal.objective == "score_matching":
            loss, grads = jax.value_and_grad(
                lambda params: model.score_matching_loss(
                    score_key, params, x, goal.score_noise or 1.0
                )
            )(state.params)
            metrics = {
                "loss": loss,
                "data_energy": -model.negative_energy(state.params, x).mean(),
            }
            return advance(state, optimizer, grads, None, metrics, average_decay=decay)
        buffer, batch, initial = state.chains, None, x
        if buffer is not None:
            batch = replay.sample(
                replay_key, buffer, len(index), build_start(config, images), config.replay.restart
            )
            initial = divide(batch.position, 0)
        ladders = None
        if model.temperatures is None:
            end = model.run_chains(chain_key, state.params, initial)
        else:
            ladders = model.run_ladders(chain_key, state.params, initial)
            end = ladders.model
        loss, grads = jax.value_and_grad(
            lambda params: model.contrastive_loss(
                params, x, end.position, energy_penalty=goal.energy_penalty or 0.0
            )
        )(state.params)
        metrics = _metrics(model, state.params, x, end, scale)
        metrics["loss"] = loss
        metrics[names[5]] = end.statistic.mean()
        if batch is not None:
            position = end.position if ladders is None else ladders.position
            buffer = replay.update(buffer, batch, position, num_steps=config.chain.steps or 1)
            metrics["chain_age"] = replay.age_statistics(buffer).mean
        if ladders is not None:
            metrics["swap_acceptance_rate"] = ladders.swap_acceptance_rate.mean()
        return advance(state, optimizer, grads, buffer, metrics, average_decay=decay)

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        if state.chains is not None:
            position = state.chains.position[:_PICTURED]
            return position if model.temperatures is None else position[:, -1]
        params = sampling_params(state)
        start_key, chain_key = jax.random.split(rng_key)
        start = build_start(config, dataset.x_train[:_PICTURED])
        initial = start(start_key, jnp.zeros(_PICTURED, jnp.int32))
        return sampler.run_chains(chain_key, params, initial).position

    is_image = len(dataset.event_shape) == 3
    return Learner(
        metric_names=names,
        init=init,
        update=update,
        shown="energy_gap" if "energy_gap" in names else "data_energy",
        picture=picture if is_image else None,
    )


def _metrics(
    model: DataEBM, params: Params, x: Array, end: ChainEnd, scale: float
) -> dict[str, Array]:
    """Averages over one update; energies are minus f, second moments relative to the data's."""
    data_energy = -model.negative_energy(params, x).mean()
    sample_energy = -end.negative_energy.mean()
    temperature = virial_temperature(end.position, end.gradient).temperature
    return {
        "data_energy": data_energy,
        "sample_energy": sample_energy,
        "energy_gap": sample_energy - data_energy,
        "sample_gradient_norm": end.gradient_norm.mean(),
        "virial_temperature": temperature,
        "sample_second_moment": jnp.mean(end.position**2) / scale,
    }


def walk(
    config: DataEBMConfig,
    x_train: np.ndarray,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
) -> Walk:
    """Chains, or the replicas at the model of ladders, that start like new chains of training."""
    steps = segment(config.chain.sampling_steps, num_frames)
    chain = dataclasses.replace(config.chain, sampling_steps=steps)
    model = build_model(dataclasses.replace(config, chain=chain), x_train.shape[1:], sampling=True)
    initial = build_start(config, x_train)(rng_key, jnp.zeros(num_samples, jnp.int32))
    if model.temperatures is None:
        return Walk(initial, lambda key, x: model.run_chains(key, params, x).position, lambda x: x)
    return Walk(
        initial,
        lambda key, x: model.run_ladders(key, params, x).position,
        lambda x: x[:, -1],
    )


def generate(
    config: DataEBMConfig,
    x_train: np.ndarray,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
) -> np.ndarray:
    """Ends of chains of ``sampling_steps`` that start like new chains of training.

    Raises:
        DivergedError: if the chains are not finite.
    """
    start_key, chain_key = jax.random.split(rng_key)
    start = build_start(config, x_train)
    initial = start(start_key, jnp.zeros(num_samples, jnp.int32))
    model = build_model(config, x_train.shape[1:], sampling=True)
    if model.temperatures is None:
        samples = np.asarray(model.run_chains(chain_key, params, initial).position)
    else:
        samples = np.asarray(model.run_ladders(chain_key, params, initial).model.position)
    if not np.all(np.isfinite(samples)):
        raise DivergedError(
            "the chains of the trained model diverged: expected finite values; a smaller "
            "--step-size in training may help"
        )
    return samples
