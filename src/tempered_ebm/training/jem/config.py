"""What the training of a joint energy-based model is configured by."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from tempered_ebm import _checks as checks
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.training import options
from tempered_ebm.training.config import BaseConfig, is_small, resolve_base, validate_base
from tempered_ebm.training.network_options import (
    BufferConfig,
    LangevinConfig,
    NetworkConfig,
    is_decoupled,
    validate_buffer,
    validate_langevin,
    validate_network,
    with_smaller_steps,
)
from tempered_ebm.training.options import AdamConfig

Density = Literal["marginal", "joint", "none"]
Start = Literal["uniform", "class_gaussian", "data"]


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """Density exp(f(x)[y]) / Z of examples and labels, from the logits of a classifier."""

    num_classes: int | None = None
    """Number of labels. Default: one more than the largest of the training set."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is descended: -classify log p(y|x), and -weight log p(x) or log p(x, y)."""

    density: Density = "marginal"
    """marginal: log p(x), by chains that follow p(x); joint: log p(x, y), by chains that keep the
    class of their slot; none: the classifier alone."""
    classify: float = 1.0
    """Weight of log p(y|x)."""
    weight: float = 1.0
    """Weight of the density."""
    energy_penalty: float = 0.01
    """Weight of the squared energies of data and samples in the loss."""
    data_noise: float = 0.03
    """Standard deviation of the normal noise on the data, for pixels in [-1, 1]."""
    pretrain: int = 0
    """Updates of the classifier alone before the density joins in."""


@dataclass(frozen=True)
class ChainConfig(LangevinConfig):
    """Langevin chains, x' = x + h u(grad log p(x)) + s noise."""

    steps: int | None = 20
    """Steps of a chain per update."""
    step_size: float | None = 1.0
    """Step size h."""
    noise_scale: float | None = None
    """Standard deviation s of the noise. Default: 0.01, a temperature far below 1; sqrt(2h) with
    --metropolis."""


@dataclass(frozen=True)
class ReplayConfig(BufferConfig):
    """Replay buffer of persistent chains; each slot keeps its class."""

    start: Start = "uniform"
    """Where new chains start: uniform in the box of the data, from the normal of the pixels of
    their class, or at a data point."""


@dataclass(frozen=True)
class JEMConfig(BaseConfig):
    """Everything that defines the training of a joint energy-based model."""

    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(average_decay=0.998))

    @property
    def label(self) -> str:
        """What the name of a run folder says about the model."""
        return "jem"


def validate(config: JEMConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    validate_base(config)
    options.validate_adam(config.optimizer)
    validate_network(config.model)
    validate_langevin(config.chain)
    validate_buffer(config.replay)
    if config.model.num_classes is not None:
        checks.at_least("--num-classes", config.model.num_classes, 2)
    goal = config.objective
    for name in ("classify", "weight", "energy_penalty", "data_noise"):
        value = getattr(goal, name)
        if not 0 <= value < math.inf:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag} must be at least 0 and finite, got {value}")
    checks.at_least("--pretrain", goal.pretrain, 0)
    if goal.density != "none" and config.replay.capacity < config.optimizer.batch_size:
        raise InputError(
            f"--capacity must be at least the --batch-size of {config.optimizer.batch_size}, got "
            f"{config.replay.capacity}"
        )
    if config.chain.metropolis and is_decoupled(config.chain):
        raise InputError(
            "--metropolis corrects chains whose law --final-step-size, --noise-scale and "
            "--max-drift would change; expected none of them, got "
            f"{config.chain.final_step_size}, {config.chain.noise_scale} and "
            f"{config.chain.max_drift}"
        )


def resolve(config: JEMConfig, dataset: ImageDataset) -> JEMConfig:
    """Fill in what depends on the data.

    Raises:
        InputError: if the data have no labels, or the batch is larger than the training set.
    """
    if dataset.y_train is None or dataset.y_test is None:
        raise InputError(f"a joint energy-based model needs labels, and {dataset.name} has none")
    found = int(max(dataset.y_train.max(), dataset.y_test.max())) + 1
    num_classes = config.model.num_classes or found
    if num_classes < max(found, 2):
        raise InputError(
            f"--num-classes must be at least {max(found, 2)}, for the labels of {dataset.name}, "
            f"got {num_classes}"
        )
    config = resolve_base(config, dataset)
    network = config.model.network or ("mlp" if is_small(dataset) else "conv")
    width = config.model.width or (128 if network == "mlp" else 32)
    chain, replay = config.chain, config.replay
    noise = chain.noise_scale
    if noise is None and not chain.metropolis:
        noise = 0.01
    low, high = replay.start_low, replay.start_high
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, network=network, width=width, num_classes=num_classes
        ),
        chain=dataclasses.replace(chain, noise_scale=noise),
        replay=dataclasses.replace(
            replay,
            start_low=float(dataset.x_train.min()) if low is None else low,
            start_high=float(dataset.x_train.max()) if high is None else high,
        ),
    )
    validate(config)
    return config


def scaled(config: JEMConfig, scale: float) -> JEMConfig:
    """The configuration with learning rate and step sizes multiplied by ``scale``."""
    return dataclasses.replace(
        config,
        optimizer=options.slowed(config.optimizer, scale),
        chain=with_smaller_steps(config.chain, scale),
    )
