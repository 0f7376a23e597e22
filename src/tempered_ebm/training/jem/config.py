"""Configuration of the training of a joint energy-based model, and named ones.

``jem`` is the model of CIFAR-10 of Grathwohl et al. (2020), by their released code: 20 steps of
size 1 with noise of 0.01 on pixels in [-1, 1], a buffer of 10,000 chains of which 5 % start afresh
in uniform noise, normal noise of 0.03 on the data, both parts of the loss with weight 1 and no
other, Adam at 1e-4, batches of 64, leaky rectifiers, and no normalisation in the network. A tenth
of the training images is set apart for validation, and 200 epochs of the rest are 140,600 updates.

What differs: their network is a wide residual one, 28 layers of 160, 320 and 640 channels; here 12
residual blocks of 64 to 512. Their learning rate rises over the first 1,000 updates and falls to
0.3 of itself after 160 and after 180 epochs; here only the fall after 160 is left. They crop images
of a padded border at random and flip them, and classify images with the noise on them. Both are
left out. They stop by hand where training diverges; here the run returns to its last good
checkpoint.

``mnist-small`` and ``fashion-small`` are of no paper: a perceptron, short chains, and five times
the weight on the class, for two cores.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.training import config as base
from tempered_ebm.training import networks

Density = Literal["marginal", "joint", "none"]
Start = Literal["uniform", "class_gaussian", "data"]

_EPOCH = 45_000 // 64


@dataclass(frozen=True)
class JEMModelConfig(networks.NetworkConfig):
    """Density exp(f(x)[y]) / Z of examples and labels, from the logits of a classifier."""

    num_classes: Annotated[int, base.at_least(2)] | None = None
    """Number of labels. Default: one more than the largest of the training set."""


@dataclass(frozen=True)
class JEMObjectiveConfig(base.Options):
    """Loss: -classify log p(y|x), and -weight log p(x) or log p(x, y)."""

    density: Density = "marginal"
    """marginal: log p(x), by chains that follow p(x); joint: log p(x, y), by chains that keep the
    class of their slot; none: the classifier alone."""
    classify: base.Nonnegative = 1.0
    """Weight of log p(y|x)."""
    weight: base.Nonnegative = 1.0
    """Weight of the density."""
    energy_penalty: base.Nonnegative = 0.01
    """Weight of the squared energies of data and samples in the loss."""
    data_noise: base.Nonnegative = 0.03
    """Standard deviation of the normal noise on the data, for pixels in [-1, 1]."""
    pretrain: base.Natural = 0
    """Updates of the classifier alone before the density joins in."""


@dataclass(frozen=True)
class JEMChainConfig(networks.LangevinConfig):
    """Langevin chains, x' = x + h u(grad log p(x)) + s noise."""

    steps: base.Count | None = 20
    """Steps of a chain per update."""
    step_size: base.Positive | None = 1.0
    """Step size h."""
    noise_scale: base.Positive | None = None
    """Standard deviation s of the noise. Default: 0.01, a temperature far below 1; sqrt(2h) with
    --metropolis."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if self.metropolis:
            self._require_law("--metropolis corrects")


@dataclass(frozen=True)
class JEMReplayConfig(networks.BufferConfig):
    """Replay buffer of persistent chains; each slot keeps its class."""

    start: Start = "uniform"
    """Start of new chains: uniform in the box of the data, from the normal of the pixels of
    their class, or at a data point."""


@dataclass(frozen=True)
class JEMConfig(base.BaseConfig):
    """Everything that defines the training of a joint energy-based model."""

    kind: ClassVar[str] = "jem"

    model: JEMModelConfig = field(default_factory=JEMModelConfig)
    objective: JEMObjectiveConfig = field(default_factory=JEMObjectiveConfig)
    chain: JEMChainConfig = field(default_factory=JEMChainConfig)
    replay: JEMReplayConfig = field(default_factory=JEMReplayConfig)
    optimizer: base.AdamConfig = field(default_factory=lambda: base.AdamConfig(average_decay=0.998))

    @property
    def has_density(self) -> bool:
        """True if more than the classifier is trained."""
        return self.objective.density != "none"

    def validate(self) -> None:
        """Check every value that can be checked without the data."""
        super().validate()
        if self.has_density:
            networks.check_capacity(self.replay.capacity, self.optimizer.batch_size)

    def resolve(self, dataset: ImageDataset) -> Self:
        """Fill in the options that depend on the data; see :meth:`BaseConfig.resolve`.

        Raises:
            InputError: if the data have no labels, or more than ``--num-classes``.
        """
        if dataset.y_train is None or dataset.y_test is None:
            raise InputError(
                f"a joint energy-based model needs labels, and {dataset.name} has none"
            )
        found = int(max(dataset.y_train.max(), dataset.y_test.max())) + 1
        num_classes = self.model.num_classes or found
        if num_classes < max(found, 2):
            raise InputError(
                f"--num-classes must be at least {max(found, 2)}, for the labels of "
                f"{dataset.name}, got {num_classes}"
            )
        config = super().resolve(dataset)
        chain = config.chain
        config = dataclasses.replace(
            config,
            model=config.model.resolve(dataset).with_defaults(num_classes=num_classes),
            chain=chain if chain.metropolis else chain.with_defaults(noise_scale=0.01),
            replay=config.replay.resolve(dataset),
        )
        config.validate()
        return config


def _jem() -> JEMConfig:
    return JEMConfig(
        data=base.DataConfig(dataset="cifar10", validation=0.1),
        model=JEMModelConfig(
            network="residual", width=64, depth=3, activation="leaky_relu", num_classes=10
        ),
        objective=JEMObjectiveConfig(energy_penalty=0.0, data_noise=0.03),
        chain=JEMChainConfig(steps=20, step_size=1.0, noise_scale=0.01, sampling_steps=1000),
        replay=JEMReplayConfig(capacity=10_000, restart=0.05, start_low=-1.0, start_high=1.0),
        optimizer=base.AdamConfig(
            num_steps=200 * _EPOCH,
            batch_size=64,
            learning_rate=1e-4,
            rate_schedule="step",
            rate_decay=0.3,
            rate_decay_every=160 * _EPOCH,
        ),
    )


def _small(dataset: base.Dataset, width: int) -> JEMConfig:
    return JEMConfig(
        data=base.DataConfig(dataset=dataset),
        model=JEMModelConfig(network="mlp", width=width, depth=2),
        objective=JEMObjectiveConfig(classify=5.0),
        chain=JEMChainConfig(steps=10),
        optimizer=base.AdamConfig(num_steps=6_000, average_decay=0.998),
    )


PRESETS: dict[str, JEMConfig] = {
    "jem": _jem(),
    "mnist-small": _small("mnist", 512),
    "fashion-small": _small("fashion_mnist", 256),
}
"""Configurations by name. Data files are not part of them."""


def preset(name: str) -> JEMConfig:
    """Return the configuration of a name, to be resolved with the data.

    Raises:
        InputError: for a name that is none of ``PRESETS``.

    Example:
        >>> from tempered_ebm.training.jem.config import preset
        >>> preset("jem").optimizer.batch_size
        64
    """
    return base.find_preset(PRESETS, name)
