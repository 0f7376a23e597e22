"""The energy-based model of data of a configuration, its chains, and its update."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tempered_ebm import schedules
from tempered_ebm.diagnostics import virial_temperature
from tempered_ebm.models import ChainEnd, DataEBM, replay
from tempered_ebm.training import state as states
from tempered_ebm.training.config import AnyDataset
from tempered_ebm.training.data_ebm.config import DataEBMConfig
from tempered_ebm.training.devices import shard_batch
from tempered_ebm.training.networks import build_chain, build_network
from tempered_ebm.training.state import Learner, TrainState, advance, begin, build_adam
from tempered_ebm.training.task import NUM_PICTURED
from tempered_ebm.types import Params, PRNGKey


def build_model(
    config: DataEBMConfig, event_shape: tuple[int, ...], *, sampling: bool = False
) -> DataEBM:
    """Return the model of a resolved configuration.

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


def build_start(config: DataEBMConfig, x: np.ndarray | Array) -> replay.Start:
    """Return where new chains, or all replicas of new ladders, start.

    Args:
        config: resolved configuration.
        x: training data, (n, ...).
    """
    x, low, high = jnp.asarray(x), config.replay.start_low or 0.0, config.replay.start_high or 0.0
    one = {
        "uniform": lambda: replay.uniform_start(x.shape[1:], low, high),
        "gaussian": lambda: replay.gaussian_start(x.mean(0), x.std(0) + 1e-3),
        "data": lambda: replay.data_start(x),
    }[config.replay.start]()
    rungs = config.chain.num_temperatures or 1
    if rungs == 1:
        return one

    def ladder(rng_key: PRNGKey, label: Array) -> Array:
        position = one(rng_key, jnp.repeat(label, rungs))
        return position.reshape(*label.shape, rungs, *position.shape[1:])

    return ladder


def _chain_statistic(config: DataEBMConfig) -> str:
    """Return the name of what a chain reports of its steps."""
    return "acceptance_rate" if config.chain.is_adjusted else "drift_norm"


def metric_names(config: DataEBMConfig) -> tuple[str, ...]:
    """Return the names of the metrics of an update, in the order of their columns."""
    if config.objective.objective == "score_matching":
        return ("loss", "data_energy")
    return (
        "loss",
        "data_energy",
        "sample_energy",
        "energy_gap",
        "sample_gradient_norm",
        _chain_statistic(config),
        "virial_temperature",
        "sample_second_moment",
        *(("chain_age",) if config.is_persistent else ()),
        *(("swap_acceptance_rate",) if config.chain.has_ladder else ()),
    )


def run_chains(
    model: DataEBM, rng_key: PRNGKey, params: Params, initial: Array
) -> tuple[ChainEnd, Array, Array | None]:
    """Run chains, or ladders of replicas.

    Returns:
        The ends of the chains at the model, the positions to go on from (of all replicas), and
        the swap acceptance rates; None without ladders.
    """
    if model.temperatures is None:
        end = model.run_chains(rng_key, params, initial)
        return end, end.position, None
    ladders = model.run_ladders(rng_key, params, initial)
    return ladders.model, ladders.position, ladders.swap_acceptance_rate


def build_learner(config: DataEBMConfig, dataset: AnyDataset) -> Learner:
    """Return an energy-based model of data as the training loop sees it.

    Args:
        config: resolved configuration.
        dataset: its data; chains may start from them.
    """
    model = build_model(config, dataset.event_shape)
    sampler = build_model(config, dataset.event_shape, sampling=True)
    optimizer = build_adam(config.optimizer)
    goal, decay, names = config.objective, config.optimizer.average_decay, metric_names(config)
    mean_square = float(np.mean(np.square(dataset.x_train, dtype=np.float64)))

    def init(rng_key: PRNGKey) -> TrainState:
        params_key, buffer_key = jax.random.split(rng_key)
        buffer = None
        if config.is_persistent:
            start = build_start(config, dataset.x_train)
            buffer = replay.init(buffer_key, config.replay.capacity, start)
        return begin(model.init(params_key), optimizer, buffer, names, averages=decay is not None)

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        key = jax.random.fold_in(rng_key, state.step)
        noise_key, replay_key, chain_key, score_key = jax.random.split(key, 4)
        x = shard_batch(images[index])
        if goal.data_noise:
            x = x + goal.data_noise * jax.random.normal(noise_key, x.shape, x.dtype)
        if goal.objective == "score_matching":
            return score_matching_update(state, score_key, x)
        return contrastive_update(state, replay_key, chain_key, x, images)

    def score_matching_update(state: TrainState, rng_key: PRNGKey, x: Array) -> TrainState:
        def loss(params: Params) -> Array:
            return model.score_matching_loss(rng_key, params, x, goal.score_noise or 1.0)

        value, grads = jax.value_and_grad(loss)(state.params)
        energy = -model.negative_energy(state.params, x).mean()
        metrics = {"loss": value, "data_energy": energy}
        return advance(state, optimizer, grads, None, metrics, average_decay=decay)

    def contrastive_update(
        state: TrainState, replay_key: PRNGKey, chain_key: PRNGKey, x: Array, images: Array
    ) -> TrainState:
        buffer, batch, initial = state.chains, None, x
        if buffer is not None:
            start = build_start(config, images)
            batch = replay.sample(replay_key, buffer, len(x), start, config.replay.restart)
            initial = shard_batch(batch.position)
        end, position, swap_rate = run_chains(model, chain_key, state.params, initial)

        def loss(params: Params) -> Array:
            penalty = goal.energy_penalty or 0.0
            return model.contrastive_loss(params, x, end.position, energy_penalty=penalty)

        value, grads = jax.value_and_grad(loss)(state.params)
        # Energies are minus f, second moments relative to those of the data.
        data_energy = -model.negative_energy(state.params, x).mean()
        sample_energy = -end.negative_energy.mean()
        metrics = {
            "loss": value,
            "data_energy": data_energy,
            "sample_energy": sample_energy,
            "energy_gap": sample_energy - data_energy,
            "sample_gradient_norm": end.gradient_norm.mean(),
            _chain_statistic(config): end.statistic.mean(),
            "virial_temperature": virial_temperature(end.position, end.gradient).temperature,
            "sample_second_moment": jnp.mean(end.position**2) / mean_square,
        }
        if batch is not None:
            buffer = replay.update(buffer, batch, position, num_steps=config.chain.steps or 1)
            metrics["chain_age"] = replay.age_statistics(buffer).mean
        if swap_rate is not None:
            metrics["swap_acceptance_rate"] = swap_rate.mean()
        return advance(state, optimizer, grads, buffer, metrics, average_decay=decay)

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        if state.chains is not None:
            position = state.chains.position[:NUM_PICTURED]
            return position if model.temperatures is None else position[:, -1]
        start_key, chain_key = jax.random.split(rng_key)
        start = build_start(config, dataset.x_train[:NUM_PICTURED])
        initial = start(start_key, jnp.zeros(NUM_PICTURED, jnp.int32))
        return sampler.run_chains(chain_key, states.sampling_params(state), initial).position

    is_image = len(dataset.event_shape) == 3
    has_samples = "energy_gap" in names
    watched = states.WatchedMetrics(
        ("loss", "data_energy", "sample_energy"), ("sample_second_moment",), "energy_gap"
    )
    return Learner(
        metric_names=names,
        init=init,
        update=update,
        watched=watched if has_samples else states.WatchedMetrics(("loss", "data_energy")),
        shown="energy_gap" if has_samples else "data_energy",
        picture=picture if is_image else None,
    )
