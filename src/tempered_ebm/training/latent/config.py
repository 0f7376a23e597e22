"""What the training of a latent EBM is configured by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.learning import PathWeight
from tempered_ebm.training import options
from tempered_ebm.training.config import BaseConfig, is_small, resolve_base, validate_base
from tempered_ebm.training.generator_options import (
    GeneratorConfig,
    resolve_generator,
    validate_generator,
)
from tempered_ebm.training.options import BaseOptimizerConfig, RateSchedule, RateShape

Chains = Literal["persistent", "short_run"]
EstimatorName = Literal["posterior", "path", "covariance", "pooled"]
Precision = Literal["float32", "bf16"]
Schedule = Literal["uniform", "power", "sigmoid", "geometric", "beta", "cosine"]


@dataclass(frozen=True)
class ModelConfig(GeneratorConfig):
    """Latent EBM: prior exp(f(z)) N(z; 0, I) / Z, Gaussian likelihood around a generator."""

    energy_widths: tuple[int, ...] | None = None
    """Hidden layers of the energy network. Default: 64 64 for images up to 16 pixels, else
    200 200."""


@dataclass(frozen=True)
class ChainConfig:
    """Langevin chains, z' = z + h grad log p(z) + sqrt(2h) noise."""

    chains: Chains = "persistent"
    """persistent: every training image and the prior keep their chains between updates;
    short_run: chains start afresh from N(0, I), as in Pang et al. (2020)."""
    prior_steps: int = 60
    """Steps of a prior chain per update."""
    prior_step_size: float = 0.08
    """Step size h of the prior chains (noise scale s = 0.4, h = s^2 / 2)."""
    posterior_steps: int = 20
    """Steps of a posterior chain per update."""
    posterior_step_size: float = 0.005
    """Step size h of the posterior chains at temperature 1 (noise scale s = 0.1)."""
    sampling_steps: int = 300
    """Steps of the prior and posterior chains with which a trained model is sampled and
    evaluated; they start from N(0, I)."""
    metropolis: bool = False
    """Correct every step by a Metropolis test (MALA); without it the chains are biased (ULA)."""


@dataclass(frozen=True)
class EstimatorConfig:
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
    power: float = 3.0
    """Exponent p of the power ladder u^p; above 1 it crowds temperatures towards the prior."""
    steepness: float = 4.0
    """Steepness a of the sigmoid ladder."""
    t_min: float = 0.001
    """Smallest positive temperature of the geometric ladder."""
    alpha: float = 0.3
    """Shape of the Beta(alpha, 1) ladder."""
    temperature_block: int | None = None
    """Temperatures at which the generator is evaluated at a time, to save memory; results do not
    depend on it but for rounding. Default: all at once."""

    @property
    def uses_ladder(self) -> bool:
        """Whether training draws at every temperature."""
        return self.estimator != "posterior" or self.replica_exchange

    @property
    def min_chains(self) -> int:
        """Fewest chains per image that the estimator works with."""
        return 2 if self.estimator == "covariance" else 1


@dataclass(frozen=True)
class OptimizerConfig(BaseOptimizerConfig):
    """Optimisation by AdamW."""

    batch_size: int = 100
    """Training images, and prior chains, per update."""
    prior_learning_rate: float = 1e-3
    """Initial learning rate of the energy network."""
    generator_learning_rate: float = 1e-3
    """Initial learning rate of the generator."""
    weight_decay: float = 0.1
    """Decoupled weight decay of both networks; it keeps the energy from growing so steep that
    unadjusted chains leave."""


@dataclass(frozen=True)
class RateConfig(RateShape):
    """How learning rates change from their initial values."""

    prior_rate_schedule: RateSchedule = "cosine"
    """Learning rate of the energy network: constant; cosine, to 0 at the end; warmup_cosine, up
    from 0 before; exponential, smoothly by --rate-decay every --rate-decay-every updates; step,
    the same in steps."""
    generator_rate_schedule: RateSchedule = "cosine"
    """Learning rate of the generator, by the same names."""


@dataclass(frozen=True)
class UpdateConfig:
    """What else happens to gradients and parameters in an update."""

    prior_clip: float | None = None
    """Largest norm of the gradient of the energy network; a longer one is shortened to it.
    Default: no limit."""
    generator_clip: float | None = None
    """Largest norm of the gradient of the generator. Default: no limit."""
    average_decay: float | None = None
    """Decay of an exponential moving average of the parameters, such as 0.999; sampling and
    evaluation then use the average. Default: none is kept."""
    precision: Precision = "float32"
    """float32, or bf16: matrix products of the networks in bfloat16; chains, log-densities and
    optimiser stay in float32."""


@dataclass(frozen=True)
class LatentConfig(BaseConfig):
    """Everything that defines the training of a latent EBM."""

    model: ModelConfig = field(default_factory=ModelConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    learning: EstimatorConfig = field(default_factory=EstimatorConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)

    @property
    def label(self) -> str:
        """What the name of a run folder says about the model."""
        return self.learning.estimator


def validate(config: LatentConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    model, chain = config.model, config.chain
    validate_base(config)
    validate_generator(model)
    for width in model.energy_widths or (1,):
        checks.at_least("--energy-widths", width, 1)
    if model.energy_widths == ():
        raise InputError("--energy-widths must name at least one layer, got none")
    for name in ("prior_steps", "posterior_steps", "sampling_steps"):
        checks.at_least(_flag(name), getattr(chain, name), 1)
    for name in ("prior_step_size", "posterior_step_size"):
        checks.positive(_flag(name), getattr(chain, name))
    _validate_ladder(config.learning)
    checks.positive("--prior-learning-rate", config.optimizer.prior_learning_rate)
    checks.positive("--generator-learning-rate", config.optimizer.generator_learning_rate)
    _validate_rates(config.rates, config.optimizer.num_steps)
    _validate_update(config.update)


def _validate_rates(config: RateConfig, num_steps: int | None) -> None:
    names = (config.prior_rate_schedule, config.generator_rate_schedule)
    options.validate_rates(names, config, num_steps)


def _validate_update(config: UpdateConfig) -> None:
    for flag, norm in (
        ("--prior-clip", config.prior_clip),
        ("--generator-clip", config.generator_clip),
    ):
        if norm is not None:
            checks.positive(flag, norm)
    if config.average_decay is not None:
        options.proper_fraction("--average-decay", config.average_decay)


def _validate_ladder(config: EstimatorConfig) -> None:
    fewest = 3 if config.schedule == "geometric" else 2
    checks.at_least("--num-temperatures", config.num_temperatures, fewest)
    for name in ("power", "steepness", "t_min", "alpha"):
        checks.positive(_flag(name), getattr(config, name))
    if config.num_chains is not None:
        checks.at_least("--num-chains", config.num_chains, config.min_chains)
    if config.temperature_block is not None:
        checks.at_least("--temperature-block", config.temperature_block, 1)
    if config.t_min >= 1:
        raise InputError(f"--t-min must be below 1, got {config.t_min}")
    ladder(config)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def ladder(config: EstimatorConfig) -> Any:
    """Temperature ladder of the configured family, shape (K,).

    Raises:
        InputError: if the family's parameter is out of range.
    """
    K = config.num_temperatures
    match config.schedule:
        case "uniform":
            return schedules.uniform(K)
        case "power":
            return schedules.power(K, config.power)
        case "sigmoid":
            return schedules.sigmoid(K, config.steepness)
        case "geometric":
            return schedules.geometric(K, config.t_min)
        case "beta":
            return schedules.beta(K, config.alpha)
        case "cosine":
            return schedules.cosine(K)


def resolve(config: LatentConfig, dataset: ImageDataset) -> LatentConfig:
    """Fill in what depends on the data.

    Raises:
        InputError: if the batch is larger than the training set.
    """
    config = resolve_base(config, dataset)
    model = resolve_generator(config.model, dataset)
    widths = model.energy_widths or ((64, 64) if is_small(dataset) else (200, 200))
    model = dataclasses.replace(model, energy_widths=widths)
    learning = config.learning
    learning = dataclasses.replace(learning, num_chains=learning.num_chains or learning.min_chains)
    _validate_rates(config.rates, config.optimizer.num_steps)
    return dataclasses.replace(config, model=model, learning=learning)


def scaled(config: LatentConfig, scale: float) -> LatentConfig:
    """The configuration with learning rates and step sizes multiplied by ``scale``."""
    optimizer = dataclasses.replace(
        config.optimizer,
        prior_learning_rate=config.optimizer.prior_learning_rate * scale,
        generator_learning_rate=config.optimizer.generator_learning_rate * scale,
    )
    chain = dataclasses.replace(
        config.chain,
        prior_step_size=config.chain.prior_step_size * scale,
        posterior_step_size=config.chain.posterior_step_size * scale,
    )
    return dataclasses.replace(config, optimizer=optimizer, chain=chain)
