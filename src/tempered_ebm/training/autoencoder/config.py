"""What the training of an autoencoder with a latent energy-based model is configured by."""

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
from tempered_ebm.training.generator_options import Activation
from tempered_ebm.training.options import AdamConfig

Negatives = Literal["contrastive", "persistent"]


@dataclass(frozen=True)
class ModelConfig:
    """Autoencoder of binary images, and the density exp(f(z)) N(z; 0, I) / Z of its codes."""

    latent_dim: int = 4
    """Dimension of the code z."""
    widths: tuple[int, ...] | None = None
    """Hidden layers of the encoder; the decoder has them in reverse. Default: 256 128 for images up
    to 16 pixels, else 1024 1024."""
    energy_widths: tuple[int, ...] = (64, 64)
    """Hidden layers of the energy network."""
    activation: Activation = "silu"
    """Activation of all networks."""
    threshold: float = 0.0
    """Pixels in [-1, 1] above this are 1, the others 0."""


@dataclass(frozen=True)
class ChainConfig:
    """Metropolis-adjusted Langevin chains on codes."""

    negatives: Negatives = "persistent"
    """persistent: chains go on from update to update; contrastive: they start at the codes of the
    batch."""
    steps: int = 20
    """Steps of a chain per update."""
    step_size: float = 0.1
    """Step size h, in units of the standardised codes."""
    sampling_steps: int = 1000
    """Steps of the chains with which a trained model is sampled; they start from N(0, I)."""
    capacity: int = 2_000
    """Persistent chains."""
    restart: float = 0.05
    """Probability that a persistent chain starts afresh from N(0, I)."""


@dataclass(frozen=True)
class OptimizerConfig(AdamConfig):
    """Optimisation of all parameters by AdamW, in two phases."""

    autoencoder_fraction: float = 0.5
    """Fraction of the updates that train the autoencoder; the rest train the energy of the codes,
    of a frozen autoencoder."""


@dataclass(frozen=True)
class AutoencoderConfig(BaseConfig):
    """Everything that defines the training of an autoencoder with a latent EBM."""

    model: ModelConfig = field(default_factory=ModelConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def label(self) -> str:
        """What the name of a run folder says about the model."""
        return "autoencoder"

    @property
    def autoencoder_updates(self) -> int:
        """Updates that train the autoencoder."""
        return max(1, round(self.optimizer.autoencoder_fraction * (self.optimizer.num_steps or 0)))


def validate(config: AutoencoderConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    validate_base(config)
    options.validate_adam(config.optimizer)
    model, chain = config.model, config.chain
    checks.at_least("--latent-dim", model.latent_dim, 1)
    for flag, widths in (("--widths", model.widths), ("--energy-widths", model.energy_widths)):
        if widths == ():
            raise InputError(f"{flag} must name at least one layer, got none")
        for width in widths or (1,):
            checks.at_least(flag, width, 1)
    if not math.isfinite(model.threshold):
        raise InputError(f"--threshold must be finite, got {model.threshold}")
    checks.at_least("--steps", chain.steps, 1)
    checks.at_least("--sampling-steps", chain.sampling_steps, 1)
    checks.positive("--step-size", chain.step_size)
    checks.in_unit_interval("--restart", chain.restart)
    checks.at_least("--capacity", chain.capacity, 1)
    if chain.negatives == "persistent" and chain.capacity < config.optimizer.batch_size:
        raise InputError(
            f"--capacity must be at least the --batch-size of {config.optimizer.batch_size}, got "
            f"{chain.capacity}"
        )
    options.proper_fraction("--autoencoder-fraction", config.optimizer.autoencoder_fraction)


def resolve(config: AutoencoderConfig, dataset: ImageDataset) -> AutoencoderConfig:
    """Fill in what depends on the data.

    Raises:
        InputError: if the batch is larger than the training set, or one phase would be empty.
    """
    config = resolve_base(config, dataset)
    if not 0 < config.autoencoder_updates < (config.optimizer.num_steps or 0):
        raise InputError(
            "--num-steps must leave updates to the autoencoder and to the energy, got "
            f"{config.optimizer.num_steps} with --autoencoder-fraction "
            f"{config.optimizer.autoencoder_fraction}"
        )
    widths = config.model.widths or ((256, 128) if is_small(dataset) else (1024, 1024))
    options.validate_adam(config.optimizer)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, widths=widths))


def scaled(config: AutoencoderConfig, scale: float) -> AutoencoderConfig:
    """The configuration with learning rate and step size multiplied by ``scale``."""
    return dataclasses.replace(
        config,
        optimizer=options.slowed(config.optimizer, scale),
        chain=dataclasses.replace(config.chain, step_size=config.chain.step_size * scale),
    )
