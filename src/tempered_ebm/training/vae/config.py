"""What the training of a variational autoencoder is configured by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from tempered_ebm import _checks as checks
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.training import options
from tempered_ebm.training.config import BaseConfig, resolve_base, validate_base
from tempered_ebm.training.generator_options import (
    GeneratorConfig,
    resolve_generator,
    validate_generator,
)
from tempered_ebm.training.options import AdamConfig


@dataclass(frozen=True)
class ModelConfig(GeneratorConfig):
    """Variational autoencoder: prior N(0, I), Gaussian likelihood around a generator."""

    encoder_width: int | None = None
    """Units per hidden layer (mlp), or channels of the first layer, halved (deconv), of the
    encoder, which mirrors the generator. Default: --generator-width."""


@dataclass(frozen=True)
class VAEConfig(BaseConfig):
    """Everything that defines the training of a variational autoencoder."""

    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    @property
    def label(self) -> str:
        """What the name of a run folder says about the model."""
        return "vae"


def validate(config: VAEConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    validate_base(config)
    validate_generator(config.model)
    if config.model.encoder_width is not None:
        checks.at_least("--encoder-width", config.model.encoder_width, 1)
    options.validate_adam(config.optimizer)


def resolve(config: VAEConfig, dataset: ImageDataset) -> VAEConfig:
    """Fill in what depends on the data.

    Raises:
        InputError: if the batch is larger than the training set.
    """
    config = resolve_base(config, dataset)
    model = resolve_generator(config.model, dataset)
    model = dataclasses.replace(model, encoder_width=model.encoder_width or model.generator_width)
    options.validate_adam(config.optimizer)
    return dataclasses.replace(config, model=model)


def scaled(config: VAEConfig, scale: float) -> VAEConfig:
    """The configuration with the learning rate multiplied by ``scale``."""
    return dataclasses.replace(config, optimizer=options.slowed(config.optimizer, scale))
