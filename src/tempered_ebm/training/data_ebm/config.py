"""Configuration of the training of an energy-based model of data, and named ones.

``igebm`` is the unconditional model of CIFAR-10 of Du and Mordatch (2019), by their released code:
60 steps from a replay buffer that starts 5 % of its chains afresh, every coordinate of the gradient
bounded, spectral normalisation, squared energies in the loss with weight 1, batches of 128,
first-moment decay 0, 121,200 updates (the model they published). Their pixels are in [0, 1], where
the step size is 10, the noise scale 0.005 and the bound of the gradient 0.01. A pixel of [-1, 1] is
twice one of those and a gradient half, so here they are 40, 0.01 and 0.005: the same chains. What
differs: their buffer holds 50,000 chains and their learning rate is 3e-4 (here 10,000 and 1e-4, as
reimplementations have it); they clamp pixels to their box after every step, clip the gradient of
every weight at about three of its running standard deviations, and normalise all weights but the
last layer's, with a learned gain; their network has nine residual blocks of 128 to 512 channels
(here eight of 64 to 512) and dropout. Pixels are dequantised by uniform noise there, by normal
noise of the same variance here.

``anatomy`` and ``anatomy-persistent`` are those of CIFAR-10 of Nijkamp, Hill et al. (2020), by the
settings files ``cifar10_nonconvergent`` and ``cifar10_oscillate`` of their code: 150 steps of new
chains from uniform noise, or 500 steps of chains that persist, one for each training image and
never started afresh; normal noise of 0.03 on the data, Adam at 1e-4, batches of 100, 100,000
updates, and the same network but for the slope of its leaky rectifiers (0.05; here 0.2). Their step
is x' = x - f'(x) + 0.01 noise, which is step size 1 here. They read it as temperature 1 of the
energy 2f / 0.01^2, and multiply the loss by the same factor, to which Adam is blind. Their
convergent models descend by plain stochastic gradients, which is none of the options here.

``toy`` is the default for points of the plane by a name. The other presets are of no paper:
``mnist``, ``fashion_mnist``, ``svhn`` and ``cifar10`` are sized for an accelerator, and those that
end in ``-small`` for two CPU cores, at the cost of narrow networks and short chains. Grey images
have plain convolutions, or a perceptron where they are small, and colours residual ones, all with
swish. Chains of the small perceptrons start from the normal of each pixel: from uniform noise they
lose their way with two of three seeds.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np

from tempered_ebm.errors import InputError
from tempered_ebm.training import config as base
from tempered_ebm.training import networks

Objective = Literal["persistent", "contrastive", "score_matching"]
Start = Literal["uniform", "gaussian", "data"]

_POINT_UPDATES = 2000
_RUNGS = 6
_TRAINING_IMAGES = 50_000


@dataclass(frozen=True)
class DataModelConfig(networks.NetworkConfig):
    """Density exp(f(x)) / Z of the data, or exp(f(x)) N(x; 0, s^2 I) / Z."""

    base_scale: base.Positive | None = None
    """Standard deviation s of the reference normal. Default: twice the root mean square of the data
    for points, none for images."""


@dataclass(frozen=True)
class DataObjectiveConfig(base.Options):
    """Loss."""

    objective: Objective = "persistent"
    """persistent: contrastive divergence with chains from a replay buffer; contrastive: the same
    with chains that start at the data; score_matching: denoising score matching, without chains."""
    energy_penalty: base.Nonnegative | None = None
    """Weight of the squared energies of data and samples in the loss. Default: 0 for points, 0.01
    for images."""
    data_noise: base.Nonnegative | None = None
    """Standard deviation of the normal noise on the data. Default: 0 for points, 0.03 for images
    (pixels in [-1, 1])."""
    score_noise: base.Positive | None = None
    """Noise scale of score matching. Default: a twentieth of the root mean square of the data."""


@dataclass(frozen=True)
class DataChainConfig(networks.LangevinConfig):
    """Langevin chains, x' = x + h u(grad log p(x)) + s noise."""

    steps: base.Count | None = None
    """Steps of a chain per update. Default: 5 with a ladder, 20 for points without, 30 for
    images."""
    step_size: base.Positive | None = None
    """Step size h. Default: 1 for images; for points the mean square of the data times 0.015 with a
    ladder, 0.002 without."""
    sampling_steps: base.Count | None = None
    """Steps of the chains with which a trained model is sampled; they start like new chains.
    Default: 200 with a ladder, else 1000."""
    num_temperatures: base.Count | None = None
    """Replicas of every chain, on a ladder from the reference normal to the model, that swap places
    and let chains cross between modes; 1 for none. Their steps are Metropolis-adjusted. Default: 6
    for points with persistent chains, else 1."""
    power: base.Positive = 2.0
    """Exponent p of the ladder u^p."""

    @property
    def has_ladder(self) -> bool:
        """True if every chain is a ladder of replicas."""
        return self.num_temperatures is not None and self.num_temperatures > 1

    @property
    def is_adjusted(self) -> bool:
        """True if steps are Metropolis-adjusted."""
        return self.metropolis or self.has_ladder

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if self.is_adjusted:
            self._require_law("--metropolis and --num-temperatures correct")


@dataclass(frozen=True)
class DataReplayConfig(networks.BufferConfig):
    """Replay buffer of persistent chains."""

    start: Start = "uniform"
    """Start of new chains: uniform in the box of the data, from the normal of their mean and
    standard deviation, or at a data point."""


@dataclass(frozen=True)
class DataEBMConfig(base.BaseConfig):
    """Everything that defines the training of an energy-based model of data."""

    kind: ClassVar[str] = "data"

    data: base.AnyDataConfig = field(default_factory=base.AnyDataConfig)
    model: DataModelConfig = field(default_factory=DataModelConfig)
    objective: DataObjectiveConfig = field(default_factory=DataObjectiveConfig)
    chain: DataChainConfig = field(default_factory=DataChainConfig)
    replay: DataReplayConfig = field(default_factory=DataReplayConfig)
    optimizer: base.AdamConfig = field(
        default_factory=lambda: base.AdamConfig(batch_size=200, average_decay=0.998)
    )

    @property
    def label(self) -> str:
        """Part of the name of a run folder that tells the model."""
        return f"data-{self.objective.objective}"

    @property
    def is_persistent(self) -> bool:
        """True if chains go on from update to update."""
        return self.objective.objective == "persistent"

    def validate(self) -> None:
        """Check every value that can be checked without the data."""
        super().validate()
        if self.chain.has_ladder and not self.is_persistent:
            raise InputError(
                "--num-temperatures above 1 goes with --objective persistent, got "
                f"{self.objective.objective}"
            )
        if self.is_persistent:
            networks.check_capacity(self.replay.capacity, self.optimizer.batch_size)

    def resolve(self, dataset: base.AnyDataset) -> Self:
        """Fill in the options that depend on the data; see :meth:`BaseConfig.resolve`.

        Raises:
            InputError: if the network does not fit the data.
        """
        config, is_points = self, len(dataset.event_shape) == 1
        if is_points:
            optimizer = config.optimizer.with_defaults(num_steps=_POINT_UPDATES)
            config = dataclasses.replace(config, optimizer=optimizer)
        config = super(DataEBMConfig, config).resolve(dataset)
        model = config.model.resolve(dataset)
        if config.chain.has_ladder and not is_points and model.base_scale is None:
            raise InputError("--base-scale must be given with --num-temperatures above 1, got none")
        if is_points and model.network != "mlp":
            raise InputError(f"--network must be mlp for points, got {model.network}")
        mean_square = float(np.mean(np.square(dataset.x_train, dtype=np.float64)))
        if is_points:
            model = model.with_defaults(base_scale=_rounded(2 * math.sqrt(mean_square)))
        objective = config.objective.with_defaults(
            energy_penalty=0.0 if is_points else 0.01,
            data_noise=0.0 if is_points else 0.03,
            score_noise=_rounded(math.sqrt(mean_square) / 20),
        )
        config = dataclasses.replace(
            config,
            model=model,
            objective=objective,
            chain=_resolved_chain(config, mean_square, is_points=is_points),
            replay=config.replay.resolve(dataset),
        )
        config.validate()
        return config


def _resolved_chain(
    config: DataEBMConfig, mean_square: float, *, is_points: bool
) -> DataChainConfig:
    chain = config.chain
    wants_ladder = (
        is_points and config.is_persistent and not chain.metropolis and not chain.is_decoupled
    )
    chain = chain.with_defaults(num_temperatures=_RUNGS if wants_ladder else 1)
    if not is_points and not chain.is_adjusted:
        chain = chain.with_defaults(noise_scale=0.01)
    factor = 0.015 if chain.has_ladder else 0.002
    return chain.with_defaults(
        steps=5 if chain.has_ladder else 20 if is_points else 30,
        step_size=_rounded(factor * mean_square) if is_points else 1.0,
        sampling_steps=200 if chain.has_ladder else 1000,
    )


def _rounded(value: float) -> float:
    """Return two significant digits: a setting that a person can read."""
    return float(f"{value:.1e}")


def _igebm() -> DataEBMConfig:
    one_level = 2 / 256
    return DataEBMConfig(
        data=base.AnyDataConfig(dataset="cifar10"),
        model=DataModelConfig(
            network="residual", width=64, depth=2, activation="leaky_relu", spectral_norm=True
        ),
        objective=DataObjectiveConfig(
            energy_penalty=1.0, data_noise=round(one_level / math.sqrt(12), 5)
        ),
        chain=DataChainConfig(steps=60, step_size=40.0, noise_scale=0.01, max_drift=0.005),
        replay=DataReplayConfig(capacity=10_000, restart=0.05, start_low=-1.0, start_high=1.0),
        optimizer=base.AdamConfig(
            num_steps=121_200,
            batch_size=128,
            learning_rate=1e-4,
            rate_schedule="constant",
            first_moment_decay=0.0,
        ),
    )


def _anatomy(*, steps: int, restart: float, capacity: int) -> DataEBMConfig:
    return DataEBMConfig(
        data=base.AnyDataConfig(dataset="cifar10"),
        model=DataModelConfig(network="conv", width=32, activation="leaky_relu"),
        objective=DataObjectiveConfig(energy_penalty=0.0, data_noise=0.03),
        chain=DataChainConfig(steps=steps, step_size=1.0, noise_scale=0.01, sampling_steps=steps),
        replay=DataReplayConfig(capacity=capacity, restart=restart, start_low=-1.0, start_high=1.0),
        optimizer=base.AdamConfig(
            num_steps=100_000, batch_size=100, learning_rate=1e-4, rate_schedule="constant"
        ),
    )


def _images(dataset: base.Dataset, network: networks.Network, num_steps: int) -> DataEBMConfig:
    """Return a configuration for an accelerator."""
    return DataEBMConfig(
        data=base.AnyDataConfig(dataset=dataset),
        model=DataModelConfig(network=network, width=64, depth=2),
        chain=DataChainConfig(steps=40),
        optimizer=base.AdamConfig(
            num_steps=num_steps, batch_size=128, learning_rate=1e-4, average_decay=0.999
        ),
    )


def _small_gray(dataset: base.Dataset) -> DataEBMConfig:
    """Return a configuration for two CPU cores."""
    return DataEBMConfig(
        data=base.AnyDataConfig(dataset=dataset),
        model=DataModelConfig(network="mlp", width=512, depth=2),
        chain=DataChainConfig(steps=10, sampling_steps=500),
        replay=DataReplayConfig(start="gaussian"),
        optimizer=base.AdamConfig(num_steps=4_000, batch_size=200, average_decay=0.998),
    )


def _small_colour(dataset: base.Dataset, num_steps: int) -> DataEBMConfig:
    """Return a configuration for two CPU cores."""
    return DataEBMConfig(
        data=base.AnyDataConfig(dataset=dataset),
        model=DataModelConfig(network="residual", width=8, depth=1),
        chain=DataChainConfig(steps=10, sampling_steps=500),
        replay=DataReplayConfig(capacity=2_000),
        optimizer=base.AdamConfig(
            num_steps=num_steps, batch_size=50, learning_rate=5e-4, average_decay=0.998
        ),
    )


PRESETS: dict[str, DataEBMConfig] = {
    "igebm": _igebm(),
    "anatomy": _anatomy(steps=150, restart=1.0, capacity=100),
    "anatomy-persistent": _anatomy(steps=500, restart=0.0, capacity=_TRAINING_IMAGES),
    "mnist": _images("mnist", "conv", 50_000),
    "fashion_mnist": _images("fashion_mnist", "conv", 50_000),
    "svhn": _images("svhn", "residual", 100_000),
    "cifar10": _images("cifar10", "residual", 100_000),
    "toy": DataEBMConfig(),
    "mnist-small": _small_gray("mnist"),
    "fashion-small": _small_gray("fashion_mnist"),
    "svhn-small": _small_colour("svhn", 3_000),
    "cifar10-small": _small_colour("cifar10", 3_000),
}
"""Configurations by name. Data files are not part of them; points of the plane need none."""


def preset(name: str) -> DataEBMConfig:
    """Return the configuration of a name, to be resolved with the data.

    Raises:
        InputError: for a name that is none of ``PRESETS``.

    Example:
        >>> from tempered_ebm.training.data_ebm.config import preset
        >>> preset("igebm").chain.steps
        60
    """
    return base.find_preset(PRESETS, name)
