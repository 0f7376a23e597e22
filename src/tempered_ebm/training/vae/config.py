"""Configuration of the training of a variational autoencoder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Self

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.training.config import AdamConfig, BaseConfig, Count
from tempered_ebm.training.networks import GeneratorConfig


@dataclass(frozen=True)
class VAEModelConfig(GeneratorConfig):
    """Variational autoencoder: prior N(0, I), Gaussian likelihood around a generator."""

    encoder_width: Count | None = None
    """Units per hidden layer (mlp), or channels of the first layer, halved (deconv), of the
    encoder, which mirrors the generator. Default: --generator-width."""


@dataclass(frozen=True)
class VAEConfig(BaseConfig):
    """Everything that defines the training of a variational autoencoder."""

    kind: ClassVar[str] = "vae"

    model: VAEModelConfig = field(default_factory=VAEModelConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def resolve(self, dataset: ImageDataset) -> Self:
        """Fill in the options that depend on the data; see :meth:`BaseConfig.resolve`."""
        config = super().resolve(dataset)
        model = config.model.resolve(dataset)
        model = model.with_defaults(encoder_width=model.generator_width)
        config.optimizer.validate()
        return dataclasses.replace(config, model=model)
