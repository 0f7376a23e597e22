"""What the training of an energy-based model of data is configured by."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.training import options
from tempered_ebm.training.config import BaseConfig, is_small, resolve_base, validate_base
from tempered_ebm.training.data import AnyDataConfig, AnyDataset
from tempered_ebm.training.network_options import (
    BufferConfig,
    LangevinConfig,
    Network,
    NetworkConfig,
    is_decoupled,
    validate_buffer,
    validate_langevin,
    validate_network,
    with_smaller_steps,
)
from tempered_ebm.training.options import AdamConfig

Objective = Literal["persistent", "contrastive", "score_matching"]
Start = Literal["uniform", "gaussian", "data"]

_POINT_UPDATES = 2000
_RUNGS = 6


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """Density exp(f(x)) / Z of the data, or exp(f(x)) N(x; 0, s^2 I) / Z."""

    base_scale: float | None = None
    """Standard deviation s of the reference normal. Default: twice the root mean square of the data
    for points, none for images."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is descended."""

    objective: Objective = "persistent"
    """persistent: contrastive divergence with chains from a replay buffer; contrastive: the same
    with chains that start at the data; score_matching: denoising score matching, without chains."""
    energy_penalty: float | None = None
    """Weight of the squared energies of data and samples in the loss. Default: 0 for points, 0.01
    for images."""
    data_noise: float | None = None
    """Standard deviation of the normal noise on the data. Default: 0 for points, 0.03 for images
    (pixels in [-1, 1])."""
    score_noise: float | None = None
    """Noise scale of score matching. Default: a twentieth of the root mean square of the data."""


@dataclass(frozen=True)
class ChainConfig(LangevinConfig):
    """Langevin chains, x' = x + h u(grad log p(x)) + s noise."""

    steps: int | None = None
    """Steps of a chain per update. Default: 5 with a ladder, 20 for points without, 30 for
    images."""
    step_size: float | None = None
    """Step size h. Default: 1 for images; for points the mean square of the data times 0.015 with a
    ladder, 0.002 without."""
    sampling_steps: int | None = None
    """Steps of the chains with which a trained model is sampled; they start like new chains.
    Default: 200 with a ladder, else 1000."""
    num_temperatures: int | None = None
    """Replicas of every chain, on a ladder from the reference normal to the model, that swap places
    and let chains cross between modes; 1 for none. Their steps are Metropolis-adjusted. Default: 6
    for points with persistent chains, else 1."""
    power: float = 2.0
    """Exponent p of the ladder u^p."""


@dataclass(frozen=True)
class ReplayConfig(BufferConfig):
    """Replay buffer of persistent chains."""

    start: Start = "uniform"
    """Where new chains start: uniform in the box of the data, from the normal of their mean and
    standard deviation, or at a data point."""


@dataclass(frozen=True)
class DataEBMConfig(BaseConfig):
    """Everything that defines the training of an energy-based model of data."""

    data: AnyDataConfig = field(default_factory=AnyDataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    optimizer: AdamConfig = field(
        default_factory=lambda: AdamConfig(batch_size=200, average_decay=0.998)
    )

    @property
    def label(self) -> str:
        """What the name of a run folder says about the model."""
        return f"data-{self.objective.objective}"


def has_ladder(chain: ChainConfig) -> bool:
    """Whether every chain is a ladder of replicas."""
    return chain.num_temperatures is not None and chain.num_temperatures > 1


def is_adjusted(chain: ChainConfig) -> bool:
    """Whether steps are Metropolis-adjusted."""
    return chain.metropolis or has_ladder(chain)


def validate(config: DataEBMConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    validate_base(config)
    options.validate_adam(config.optimizer)
    replay, chain = config.replay, config.chain
    validate_network(config.model)
    validate_langevin(chain)
    validate_buffer(replay)
    for flag, value in (
        ("--base-scale", config.model.base_scale),
        ("--score-noise", config.objective.score_noise),
    ):
        if value is not None:
            checks.positive(flag, value)
    for flag, value in (
        ("--energy-penalty", config.objective.energy_penalty),
        ("--data-noise", config.objective.data_noise),
    ):
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"{flag} must be at least 0 and finite, got {value}")
    if chain.num_temperatures is not None:
        checks.at_least("--num-temperatures", chain.num_temperatures, 1)
    checks.positive("--power", chain.power)
    if has_ladder(chain) and config.objective.objective != "persistent":
        raise InputError(
            "--num-temperatures above 1 goes with --objective persistent, got "
            f"{config.objective.objective}"
        )
    if is_adjusted(chain) and is_decoupled(chain):
        raise InputError(
            "--metropolis and --num-temperatures correct chains whose law --final-step-size, "
            "--noise-scale and --max-drift would change; expected none of them, got "
            f"{chain.final_step_size}, {chain.noise_scale} and {chain.max_drift}"
        )
    if config.objective.objective == "persistent" and replay.capacity < config.optimizer.batch_size:
        raise InputError(
            f"--capacity must be at least the --batch-size of {config.optimizer.batch_size}, got "
            f"{replay.capacity}"
        )


def resolve(config: DataEBMConfig, dataset: AnyDataset) -> DataEBMConfig:
    """Fill in what depends on the data.

    Raises:
        InputError: if the batch is larger than the training set, or the network does not fit.
    """
    is_points = len(dataset.event_shape) == 1
    if is_points and config.optimizer.num_steps is None:
        optimizer = dataclasses.replace(config.optimizer, num_steps=_POINT_UPDATES)
        config = dataclasses.replace(config, optimizer=optimizer)
    config = resolve_base(config, dataset)
    x = dataset.x_train
    mean_square = float(np.mean(np.square(x, dtype=np.float64)))
    network = default_network(config.model, dataset)
    if has_ladder(config.chain) and not is_points and config.model.base_scale is None:
        raise InputError("--base-scale must be given with --num-temperatures above 1, got none")
    if is_points and network != "mlp":
        raise InputError(f"--network must be mlp for points, got {network}")
    base_scale = config.model.base_scale
    if base_scale is None and is_points:
        base_scale = _rounded(2 * math.sqrt(mean_square))
    model = dataclasses.replace(
        config.model,
        network=network,
        width=config.model.width or (128 if network == "mlp" else 32),
        base_scale=base_scale,
    )
    goal = config.objective
    objective = dataclasses.replace(
        goal,
        energy_penalty=_default(goal.energy_penalty, 0.0 if is_points else 0.01),
        data_noise=_default(goal.data_noise, 0.0 if is_points else 0.03),
        score_noise=_default(goal.score_noise, _rounded(math.sqrt(mean_square) / 20)),
    )
    chain = config.chain
    if chain.num_temperatures is None:
        is_plain = (
            not is_points
            or goal.objective != "persistent"
            or chain.metropolis
            or is_decoupled(chain)
        )
        chain = dataclasses.replace(chain, num_temperatures=1 if is_plain else _RUNGS)
    noise = chain.noise_scale
    step_size = _rounded((0.015 if has_ladder(chain) else 0.002) * mean_square)
    if not is_points:
        step_size = 1.0
    if noise is None and not is_points and not is_adjusted(chain):
        noise = 0.01
    chain = dataclasses.replace(
        chain,
        steps=chain.steps or (5 if has_ladder(chain) else 20 if is_points else 30),
        step_size=_default(chain.step_size, step_size),
        noise_scale=noise,
        sampling_steps=chain.sampling_steps or (200 if has_ladder(chain) else 1000),
    )
    replay = dataclasses.replace(
        config.replay,
        start_low=_default(config.replay.start_low, float(x.min())),
        start_high=_default(config.replay.start_high, float(x.max())),
    )
    options.validate_adam(config.optimizer)
    config = dataclasses.replace(
        config, model=model, objective=objective, chain=chain, replay=replay
    )
    validate(config)
    return config


def default_network(config: NetworkConfig, dataset: AnyDataset) -> Network:
    """The network that is chosen, or the default for these data."""
    return config.network or ("mlp" if is_small(dataset) else "conv")


def _default(value: float | None, default: float) -> float:
    return default if value is None else value


def _rounded(value: float) -> float:
    """Two significant digits: a setting that a person can read."""
    return float(f"{value:.1e}")


def scaled(config: DataEBMConfig, scale: float) -> DataEBMConfig:
    """The configuration with learning rate and step sizes multiplied by ``scale``."""
    return dataclasses.replace(
        config,
        optimizer=options.slowed(config.optimizer, scale),
        chain=with_smaller_steps(config.chain, scale),
    )
