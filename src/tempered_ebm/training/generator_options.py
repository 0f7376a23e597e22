"""Options of models that decode a latent vector into an image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, TypeVar

from tempered_ebm import _checks as checks
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.training.config import is_small

Activation = Literal["gelu", "silu", "softplus", "leaky_relu"]
Generator = Literal["mlp", "deconv"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Gaussian likelihood around a generator."""

    latent_dim: int | None = None
    """Dimension of the latent vector z. Default: 16 for images up to 16 pixels, else 32."""
    sigma: float = 0.3
    """Standard deviation of the Gaussian likelihood, for pixels in [-1, 1]."""
    generator: Generator | None = None
    """Generator network. Default: mlp for images up to 16 pixels, else deconv."""
    generator_width: int | None = None
    """Units per hidden layer (mlp), or channels of the last hidden layer, halved (deconv).
    Default: 128 for mlp, 8 for deconv."""
    activation: Activation = "silu"
    """Activation of the networks. Langevin chains want a smooth one."""


Config = TypeVar("Config", bound=GeneratorConfig)


def validate_generator(config: GeneratorConfig) -> None:
    """Check likelihood and generator.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.positive("--sigma", config.sigma)
    if config.latent_dim is not None:
        checks.at_least("--latent-dim", config.latent_dim, 1)
    if config.generator_width is not None:
        checks.at_least("--generator-width", config.generator_width, 1)


def resolve_generator(config: Config, dataset: ImageDataset) -> Config:
    """Fill in what depends on the size of the images."""
    small = is_small(dataset)
    generator: Generator = config.generator or ("mlp" if small else "deconv")
    return dataclasses.replace(
        config,
        latent_dim=config.latent_dim or (16 if small else 32),
        generator=generator,
        generator_width=config.generator_width or (128 if generator == "mlp" else 8),
    )
