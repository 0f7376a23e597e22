"""Configuration of the training of a latent EBM, and named ones: of papers, and for two CPU cores.

The ``pang2020`` presets follow the official script of Pang et al. (2020) for SVHN: 100 latent
dimensions, an energy network of 200-200, a transposed-convolution generator of 512-256-128
channels, sigma 0.3, 60 prior and 20 posterior steps from N(0, I) with noise scales 0.4 and 0.1,
learning rates 2e-5 and 1e-4 times 0.998 an epoch, batches of 100, no weight decay, 201 epochs. On
CIFAR-10 and CelebA they are the same settings, with a generator of one more doubling for 64
pixels: no script for these was published. The ``thermo`` presets follow the settings file of
JAX-ThermoEBM (2024): ten temperatures, frozen thermodynamic integration, batches of 32, an energy
network of 100-100. Its power is an axis of its study; here it is 1.

Two things differ from both: one activation serves both networks (gelu; the originals' generator
has leaky rectifiers), and the generator's first-moment decay is 0.9 (theirs is 0.5).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.learning import PathWeight
from tempered_ebm.training import config as base
from tempered_ebm.training.networks import GeneratorConfig, Widths

Chains = Literal["persistent", "short_run"]
EstimatorName = Literal["posterior", "path", "covariance", "pooled"]
Precision = Literal["float32", "bf16"]
Schedule = Literal["uniform", "power", "sigmoid", "geometric", "beta", "cosine"]

_EPOCHS = 201
_TRAINING_IMAGES: dict[base.Dataset, int] = {
    "svhn": 73_257,
    "cifar10": 50_000,
    "celeba": 162_770,
}


@dataclass(frozen=True)
class LatentModelConfig(GeneratorConfig):
    """Latent EBM: prior exp(f(z)) N(z; 0, I) / Z, Gaussian likelihood around a generator."""

    energy_widths: Widths | None = None
    """Hidden layers of the energy network. Default: 64 64 for images up to 16 pixels, else
    200 200."""


@dataclass(frozen=True)
class LatentChainConfig(base.Options):
    """Langevin chains, z' = z + h grad log p(z) + sqrt(2h) noise."""

    chains: Chains = "persistent"
    """persistent: every training image and the prior keep their chains between updates;
    short_run: chains start afresh from N(0, I), as in Pang et al. (2020)."""
    prior_steps: base.Count = 60
    """Steps of a prior chain per update."""
    prior_step_size: base.Positive = 0.08
    """Step size h of the prior chains (noise scale s = 0.4, h = s^2 / 2)."""
    posterior_steps: base.Count = 20
    """Steps of a posterior chain per update."""
    posterior_step_size: base.Positive = 0.005
    """Step size h of the posterior chains at temperature 1 (noise scale s = 0.1)."""
    sampling_steps: base.Count = 300
    """Steps of the prior and posterior chains with which a trained model is sampled and
    evaluated; they start from N(0, I)."""
    metropolis: bool = False
    """Correct every step by a Metropolis test (MALA); without it the chains are biased (ULA)."""

    def scaled(self, factor: float) -> Self:
        """Return the options with step sizes multiplied by ``factor``."""
        return self._times(factor, "prior_step_size", "posterior_step_size")


@dataclass(frozen=True)
class EstimatorConfig(base.Options):
    """Learning gradient."""

    estimator: EstimatorName = "posterior"
    """posterior: maximum likelihood from draws at t = 1; pooled: the same, from the draws of the
    whole ladder by reweighting; covariance: the same, by thermodynamic integration by parts;
    path: weights over the ladder, which maximises another objective than log p(x)."""
    path_weight: PathWeight = "uniform"
    """Weight w(t) of the path estimator: uniform (w = 1), inverse (w = 1/t), or frozen_ti, the
    original thermodynamic-integration training, which never trains the prior."""
    replica_exchange: bool = False
    """Let posterior chains of neighbouring temperatures swap places; posterior then runs a ladder
    too."""
    num_chains: int | None = None
    """Independent posterior chains (ladders of them) per image. Default: as few as the estimator
    can do with, 2 for covariance, else 1."""
    num_temperatures: int = 8
    """Temperatures on the ladder from 0 (prior) to 1 (posterior)."""
    schedule: Schedule = "power"
    """Family of the ladder."""
    power: base.Positive = 3.0
    """Exponent p of the power ladder u^p; above 1 it crowds temperatures towards the prior."""
    steepness: base.Positive = 4.0
    """Steepness a of the sigmoid ladder."""
    t_min: base.Positive = 0.001
    """Smallest positive temperature of the geometric ladder."""
    alpha: base.Positive = 0.3
    """Shape of the Beta(alpha, 1) ladder."""
    temperature_block: base.Count | None = None
    """Temperatures at which the generator is evaluated at a time, to save memory; results do not
    depend on it but for rounding. Default: all at once."""

    @property
    def uses_ladder(self) -> bool:
        """True if training draws at every temperature."""
        return self.estimator != "posterior" or self.replica_exchange

    @property
    def min_chains(self) -> int:
        """Fewest chains per image that the estimator works with."""
        return 2 if self.estimator == "covariance" else 1

    def ladder(self) -> Any:
        """Return the temperatures of the configured family, shape (K,).

        Raises:
            InputError: if the family's parameter is out of range.
        """
        shapes = {"power": "power", "sigmoid": "steepness", "geometric": "t_min", "beta": "alpha"}
        options = [getattr(self, shapes[self.schedule])] if self.schedule in shapes else []
        return getattr(schedules, self.schedule)(self.num_temperatures, *options)

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        fewest = 3 if self.schedule == "geometric" else 2
        checks.at_least("--num-temperatures", self.num_temperatures, fewest)
        if self.num_chains is not None:
            checks.at_least("--num-chains", self.num_chains, self.min_chains)
        if self.t_min >= 1:
            raise InputError(f"--t-min must be below 1, got {self.t_min}")
        self.ladder()


@dataclass(frozen=True)
class LatentOptimizerConfig(base.BaseOptimizerConfig):
    """Optimisation by AdamW."""

    batch_size: base.Count = 100
    """Training images, and prior chains, per update."""
    prior_learning_rate: base.Positive = 1e-3
    """Initial learning rate of the energy network."""
    generator_learning_rate: base.Positive = 1e-3
    """Initial learning rate of the generator."""
    weight_decay: base.Nonnegative = 0.1
    """Decoupled weight decay of both networks; it keeps the energy from growing so steep that
    unadjusted chains leave."""

    def scaled(self, factor: float) -> Self:
        """Return the options with learning rates multiplied by ``factor``."""
        return self._times(factor, "prior_learning_rate", "generator_learning_rate")


@dataclass(frozen=True)
class RateConfig(base.RateShape):
    """Schedules of the learning rates."""

    prior_rate_schedule: base.RateSchedule = "cosine"
    """Learning rate of the energy network: constant; cosine, to 0 at the end; warmup_cosine, up
    from 0 before; exponential, smoothly by --rate-decay every --rate-decay-every updates; step,
    the same in steps."""
    generator_rate_schedule: base.RateSchedule = "cosine"
    """Learning rate of the generator, by the same names."""


@dataclass(frozen=True)
class UpdateConfig(base.Options):
    """Clipping, averages of parameters, and precision of an update."""

    prior_clip: base.Positive | None = None
    """Largest norm of the gradient of the energy network; a longer one is shortened to it.
    Default: no limit."""
    generator_clip: base.Positive | None = None
    """Largest norm of the gradient of the generator. Default: no limit."""
    average_decay: base.Fraction | None = None
    """Decay of an exponential moving average of the parameters, such as 0.999; sampling and
    evaluation then use the average. Default: none is kept."""
    precision: Precision = "float32"
    """float32, or bf16: matrix products of the networks in bfloat16; chains, log-densities and
    optimiser stay in float32."""


@dataclass(frozen=True)
class LatentConfig(base.BaseConfig):
    """Everything that defines the training of a latent EBM."""

    kind: ClassVar[str] = "latent"

    model: LatentModelConfig = field(default_factory=LatentModelConfig)
    chain: LatentChainConfig = field(default_factory=LatentChainConfig)
    learning: EstimatorConfig = field(default_factory=EstimatorConfig)
    optimizer: LatentOptimizerConfig = field(default_factory=LatentOptimizerConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)

    @property
    def label(self) -> str:
        """Part of the name of a run folder that tells the model."""
        return self.learning.estimator

    def validate(self) -> None:
        """Check every value that can be checked without the data."""
        super().validate()
        self._validate_rates()

    def _validate_rates(self) -> None:
        names = (self.rates.prior_rate_schedule, self.rates.generator_rate_schedule)
        self.rates.validate_rates(names, self.optimizer.num_steps)

    def resolve(self, dataset: ImageDataset) -> Self:
        """Fill in the options that depend on the data; see :meth:`BaseConfig.resolve`."""
        config = super().resolve(dataset)
        model = config.model.resolve(dataset)
        widths = (64, 64) if base.is_small(dataset) else (200, 200)
        # Not all of validate: the ladder would start JAX, after which no process can be forked.
        config._validate_rates()
        return dataclasses.replace(
            config,
            model=model.with_defaults(energy_widths=widths),
            learning=config.learning.with_defaults(num_chains=config.learning.min_chains),
        )


def _paper(
    dataset: base.Dataset, batch_size: int, energy_width: int, learning: EstimatorConfig
) -> LatentConfig:
    epoch = _TRAINING_IMAGES[dataset] // batch_size
    return LatentConfig(
        data=base.DataConfig(dataset=dataset),
        model=LatentModelConfig(
            latent_dim=100,
            sigma=0.3,
            energy_widths=(energy_width, energy_width),
            generator="deconv",
            generator_width=64,
            activation="gelu",
        ),
        chain=LatentChainConfig(chains="short_run"),
        learning=learning,
        optimizer=LatentOptimizerConfig(
            num_steps=_EPOCHS * epoch,
            batch_size=batch_size,
            prior_learning_rate=2e-5,
            generator_learning_rate=1e-4,
            weight_decay=0.0,
        ),
        rates=RateConfig(
            prior_rate_schedule="exponential",
            generator_rate_schedule="exponential",
            rate_decay=0.998,
            rate_decay_every=epoch,
        ),
    )


_PANG2020 = EstimatorConfig()
_THERMO = EstimatorConfig(estimator="path", path_weight="frozen_ti", num_temperatures=10, power=1.0)
PRESETS: dict[str, LatentConfig] = {
    **{f"pang2020-{name}": _paper(name, 100, 200, _PANG2020) for name in _TRAINING_IMAGES},
    **{f"thermo-{name}": _paper(name, 32, 100, _THERMO) for name in _TRAINING_IMAGES},
    "digits": LatentConfig(),
    "mnist": LatentConfig(data=base.DataConfig(dataset="mnist")),
    "svhn-small": LatentConfig(
        data=base.DataConfig(dataset="svhn"),
        model=LatentModelConfig(latent_dim=64, generator_width=16),
    ),
}
"""Configurations by name. Data files are not part of them, but for the embedded digits."""


def preset(name: str) -> LatentConfig:
    """Return the configuration of a name, to be resolved with the data.

    Raises:
        InputError: for a name that is none of ``PRESETS``.

    Example:
        >>> from tempered_ebm.training.latent.config import preset
        >>> preset("pang2020-svhn").optimizer.batch_size
        100
    """
    return base.find_preset(PRESETS, name)
