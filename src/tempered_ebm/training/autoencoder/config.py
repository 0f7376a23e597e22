"""Configuration of the training of an autoencoder with a latent energy-based model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.training import config as base
from tempered_ebm.training.networks import Activation, Widths, check_capacity

Negatives = Literal["contrastive", "persistent"]


@dataclass(frozen=True)
class AutoencoderModelConfig(base.Options):
    """Autoencoder of binary images, and the density exp(f(z)) N(z; 0, I) / Z of its codes."""

    latent_dim: base.Count = 4
    """Dimension of the code z."""
    widths: Widths | None = None
    """Hidden layers of the encoder; the decoder has them in reverse. Default: 256 128 for images up
    to 16 pixels, else 1024 1024."""
    energy_widths: Widths = (64, 64)
    """Hidden layers of the energy network."""
    activation: Activation = "silu"
    """Activation of all networks."""
    threshold: float = 0.0
    """Pixels in [-1, 1] above this are 1, the others 0."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if not math.isfinite(self.threshold):
            raise InputError(f"--threshold must be finite, got {self.threshold}")


@dataclass(frozen=True)
class CodeChainConfig(base.Options):
    """Metropolis-adjusted Langevin chains on codes."""

    negatives: Negatives = "persistent"
    """persistent: chains go on from update to update; contrastive: they start at the codes of the
    batch."""
    steps: base.Count = 20
    """Steps of a chain per update."""
    step_size: base.Positive = 0.1
    """Step size h, in units of the standardised codes."""
    sampling_steps: base.Count = 1000
    """Steps of the chains with which a trained model is sampled; they start from N(0, I)."""
    capacity: base.Count = 2_000
    """Persistent chains."""
    restart: base.Probability = 0.05
    """Probability that a persistent chain starts afresh from N(0, I)."""

    def scaled(self, factor: float) -> Self:
        """Return the options with the step size multiplied by ``factor``."""
        return self._times(factor, "step_size")


@dataclass(frozen=True)
class AutoencoderOptimizerConfig(base.AdamConfig):
    """Optimisation of all parameters by AdamW, in two phases."""

    autoencoder_fraction: base.Fraction = 0.5
    """Fraction of the updates that train the autoencoder; the rest train the energy of the codes,
    of a frozen autoencoder."""


@dataclass(frozen=True)
class AutoencoderConfig(base.BaseConfig):
    """Everything that defines the training of an autoencoder with a latent EBM."""

    kind: ClassVar[str] = "autoencoder"

    model: AutoencoderModelConfig = field(default_factory=AutoencoderModelConfig)
    chain: CodeChainConfig = field(default_factory=CodeChainConfig)
    optimizer: AutoencoderOptimizerConfig = field(default_factory=AutoencoderOptimizerConfig)

    @property
    def autoencoder_updates(self) -> int:
        """Updates that train the autoencoder."""
        return max(1, round(self.optimizer.autoencoder_fraction * (self.optimizer.num_steps or 0)))

    def validate(self) -> None:
        """Check every value that can be checked without the data."""
        super().validate()
        if self.chain.negatives == "persistent":
            check_capacity(self.chain.capacity, self.optimizer.batch_size)

    def resolve(self, dataset: ImageDataset) -> Self:
        """Fill in the options that depend on the data; see :meth:`BaseConfig.resolve`.

        Raises:
            InputError: if one phase would be empty.
        """
        config = super().resolve(dataset)
        if not 0 < config.autoencoder_updates < (config.optimizer.num_steps or 0):
            raise InputError(
                "--num-steps must leave updates to the autoencoder and to the energy, got "
                f"{config.optimizer.num_steps} with --autoencoder-fraction "
                f"{config.optimizer.autoencoder_fraction}"
            )
        widths = (256, 128) if base.is_small(dataset) else (1024, 1024)
        config.optimizer.validate()
        return dataclasses.replace(config, model=config.model.with_defaults(widths=widths))
