"""What a training run is: typed, validated, written to and read from JSON.

A field that may be None is filled in from the data by :func:`resolve`; the run folder
holds the resolved configuration.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tempered_ebm import checks, schedules
from tempered_ebm.datasets import (
    ImageDataset,
    load_digits,
    load_named,
    load_npz,
    prepared,
    split_validation,
    without_label,
)
from tempered_ebm.errors import InputError
from tempered_ebm.learning import PathWeight
from tempered_ebm.training import options
from tempered_ebm.training.options import (
    CheckpointConfig,
    GuardConfig,
    LoggingConfig,
    RateConfig,
    UpdateConfig,
)

Dataset = Literal[
    "digits",
    "npz",
    "mnist",
    "fashion_mnist",
    "kmnist",
    "svhn",
    "cifar10",
    "celeba",
    "folder",
    "huggingface",
]
Activation = Literal["gelu", "silu", "softplus", "leaky_relu"]
Generator = Literal["mlp", "deconv"]
Chains = Literal["persistent", "short_run"]
EstimatorName = Literal["posterior", "path", "covariance", "pooled"]
Schedule = Literal["uniform", "power", "sigmoid", "geometric", "beta", "cosine"]

_SMALL_IMAGE = 16


@dataclass(frozen=True)
class DataConfig:
    """Data."""

    dataset: Dataset = "digits"
    """The embedded 8x8 digits; an npz file of images; a known data set in the files of its authors;
    a folder of pictures; or a data set of the package datasets."""
    data_file: Path | None = None
    """npz file with x_train (n, height, width[, channels]), uint8 or floats in [0, 1]; optional
    x_test, y_train, y_test."""
    data_dir: Path | None = None
    """Folder with the files of the data set, or with pictures (subfolders are classes)."""
    data_name: str | None = None
    """Name of a Hugging Face data set, such as ylecun/mnist; --data-dir in its place is a folder
    written by save_to_disk."""
    image_size: int | None = None
    """Height and width that the centre square of every image is brought to. Default: 64 for
    celeba, else that of the images."""
    grayscale: bool = False
    """Turn colours into one channel."""
    validation: float | None = None
    """Fraction of the training images that is set apart for validation, class by class."""
    held_out_label: int | None = None
    """Class that is left out of every part, to be found as an anomaly."""


@dataclass(frozen=True)
class ModelConfig:
    """Latent EBM: prior exp(f(z)) N(z; 0, I) / Z, Gaussian likelihood around a generator."""

    latent_dim: int | None = None
    """Dimension of the latent vector z. Default: 16 for images up to 16 pixels, else 32."""
    sigma: float = 0.3
    """Standard deviation of the Gaussian likelihood, for pixels in [-1, 1]."""
    energy_widths: tuple[int, ...] | None = None
    """Hidden layers of the energy network. Default: 64 64 for images up to 16 pixels, else
    200 200."""
    generator: Generator | None = None
    """Generator network. Default: mlp for images up to 16 pixels, else deconv."""
    generator_width: int | None = None
    """Units per hidden layer (mlp), or channels of the last hidden layer, halved (deconv).
    Default: 128 for mlp, 8 for deconv."""
    activation: Activation = "silu"
    """Activation of both networks. Langevin chains want a smooth one."""


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

    @property
    def uses_ladder(self) -> bool:
        """Whether training draws at every temperature."""
        return self.estimator != "posterior" or self.replica_exchange

    @property
    def min_chains(self) -> int:
        """Fewest chains per image that the estimator works with."""
        return 2 if self.estimator == "covariance" else 1


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimisation by AdamW."""

    num_steps: int | None = None
    """Parameter updates. Default: 4000 for images up to 16 pixels, else 3000."""
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
class RunConfig:
    """Run folder."""

    seed: int = 0
    """Seed of parameters, chains and data order."""
    output_dir: Path = Path("runs")
    """Folder that receives the run folder; runs/LAST points to the newest."""
    name: str | None = None
    """Name of the run folder. Default: dataset, estimator, seed and time."""
    log_every: int = 50
    """Updates averaged into one row of metrics.csv."""
    checkpoint_every: int = 1000
    """Updates between checkpoints; one is also written at the end and on Ctrl-C."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that defines a training run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    learning: EstimatorConfig = field(default_factory=EstimatorConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    run: RunConfig = field(default_factory=RunConfig)


def validate(config: TrainConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    model, chain, run = config.model, config.chain, config.run
    _validate_data(config.data)
    checks.positive("--sigma", model.sigma)
    for name in ("latent_dim", "generator_width"):
        if getattr(model, name) is not None:
            checks.at_least(_flag(name), getattr(model, name), 1)
    for width in model.energy_widths or (1,):
        checks.at_least("--energy-widths", width, 1)
    if model.energy_widths == ():
        raise InputError("--energy-widths must name at least one layer, got none")
    for name in ("prior_steps", "posterior_steps", "sampling_steps"):
        checks.at_least(_flag(name), getattr(chain, name), 1)
    for name in ("prior_step_size", "posterior_step_size"):
        checks.positive(_flag(name), getattr(chain, name))
    _validate_ladder(config.learning)
    if config.optimizer.num_steps is not None:
        checks.at_least("--num-steps", config.optimizer.num_steps, 1)
    checks.at_least("--batch-size", config.optimizer.batch_size, 1)
    checks.positive("--prior-learning-rate", config.optimizer.prior_learning_rate)
    checks.positive("--generator-learning-rate", config.optimizer.generator_learning_rate)
    decay = config.optimizer.weight_decay
    if not 0 <= decay < math.inf:
        raise InputError(f"--weight-decay must be at least 0 and finite, got {decay}")
    options.validate_rates(config.rates, config.optimizer.num_steps)
    options.validate_update(config.update)
    options.validate_guard(config.guard)
    options.validate_records(config.checkpoint, config.logging)
    checks.seed("--seed", run.seed)
    checks.at_least("--log-every", run.log_every, 1)
    checks.at_least("--checkpoint-every", run.checkpoint_every, 1)
    if run.name is not None and (run.name in ("", "LAST") or Path(run.name).name != run.name):
        raise InputError(f"--name must be a plain folder name other than LAST, got {run.name!r}")


def _validate_data(data: DataConfig) -> None:
    if (data.dataset == "npz") != (data.data_file is not None):
        raise InputError(
            f"--data-file goes with --dataset npz, got --dataset {data.dataset} and "
            f"--data-file {data.data_file}"
        )
    if data.data_name is not None and data.dataset != "huggingface":
        raise InputError(
            f"--data-name goes with --dataset huggingface, got --dataset {data.dataset} and "
            f"--data-name {data.data_name}"
        )
    if data.dataset == "huggingface":
        if (data.data_name is None) == (data.data_dir is None):
            raise InputError(
                "--dataset huggingface takes either --data-name or --data-dir, got "
                f"{data.data_name} and {data.data_dir}"
            )
    elif (data.dataset in ("digits", "npz")) != (data.data_dir is None):
        raise InputError(
            "--data-dir goes with every --dataset but digits and npz, got --dataset "
            f"{data.dataset} and --data-dir {data.data_dir}"
        )
    if data.image_size is not None:
        checks.at_least("--image-size", data.image_size, 1)
    if data.validation is not None and not 0 < data.validation < 1:
        raise InputError(f"--validation must be between 0 and 1, got {data.validation}")
    if data.held_out_label is not None:
        checks.at_least("--held-out-label", data.held_out_label, 0)


def _validate_ladder(config: EstimatorConfig) -> None:
    fewest = 3 if config.schedule == "geometric" else 2
    checks.at_least("--num-temperatures", config.num_temperatures, fewest)
    for name in ("power", "steepness", "t_min", "alpha"):
        checks.positive(_flag(name), getattr(config, name))
    if config.num_chains is not None:
        checks.at_least("--num-chains", config.num_chains, config.min_chains)
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


def load_dataset(config: DataConfig) -> ImageDataset:
    """Load the configured data: without the held-out class, with the validation part apart.

    Raises:
        InputError: if the files are not what was asked for, or have no such class.
    """
    size, gray = config.image_size, config.grayscale
    if config.dataset == "digits":
        dataset = prepared(load_digits(), size, grayscale=gray)
    elif config.data_file is not None:
        dataset = prepared(load_npz(config.data_file), size, grayscale=gray)
    else:
        source = config.data_name or config.data_dir or ""
        dataset = load_named(config.dataset, source, size, grayscale=gray)
    if config.held_out_label is not None:
        dataset = without_label(dataset, config.held_out_label)
    if config.validation is not None:
        dataset = split_validation(dataset, config.validation)
    return dataset


def resolve(config: TrainConfig, dataset: ImageDataset) -> TrainConfig:
    """Fill in what depends on the data.

    Raises:
        InputError: if the batch is larger than the training set.
    """
    small = max(dataset.image_shape[:2]) <= _SMALL_IMAGE
    num_images = len(dataset.x_train)
    if config.optimizer.batch_size > num_images:
        raise InputError(
            f"--batch-size must be at most the {num_images} training images of {dataset.name}, "
            f"got {config.optimizer.batch_size}"
        )
    model = config.model
    generator: Generator = model.generator or ("mlp" if small else "deconv")
    model = dataclasses.replace(
        model,
        latent_dim=model.latent_dim or (16 if small else 32),
        energy_widths=model.energy_widths or ((64, 64) if small else (200, 200)),
        generator=generator,
        generator_width=model.generator_width or (128 if generator == "mlp" else 8),
    )
    optimizer = dataclasses.replace(
        config.optimizer, num_steps=config.optimizer.num_steps or (4000 if small else 3000)
    )
    learning = config.learning
    learning = dataclasses.replace(learning, num_chains=learning.num_chains or learning.min_chains)
    options.validate_rates(config.rates, optimizer.num_steps)
    data = config.data
    if data.data_file is not None:
        data = dataclasses.replace(data, data_file=data.data_file.absolute())
    if data.data_dir is not None:
        data = dataclasses.replace(data, data_dir=data.data_dir.absolute())
    if data.image_size is None and data.dataset == "celeba":
        data = dataclasses.replace(data, image_size=dataset.image_shape[0])
    return dataclasses.replace(
        config, data=data, model=model, learning=learning, optimizer=optimizer
    )


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Nested dictionary of plain JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value

    return plain(dataclasses.asdict(config))


def from_json(tree: Any) -> TrainConfig:
    """Rebuild a configuration from :func:`to_json`'s dictionary.

    Raises:
        InputError: if an entry is missing, unknown, or of the wrong type.
    """
    config = _build(TrainConfig, tree, "config")
    validate(config)
    return config


def _build(cls: Any, tree: Any, where: str) -> Any:
    hints = typing.get_type_hints(cls)
    if not isinstance(tree, dict) or set(tree) != set(hints):
        got = sorted(tree) if isinstance(tree, dict) else tree
        raise InputError(f"{where} must have the entries {sorted(hints)}, got {got}")
    return cls(**{name: _convert(hints[name], tree[name], f"{where}.{name}") for name in hints})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    options = get_args(hint) if get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if value is None and type(None) in options:
        return None
    hint = next(option for option in options if option is not type(None))
    if get_origin(hint) is Literal:
        matches = value in get_args(hint)
    elif get_origin(hint) is tuple:
        matches = isinstance(value, list) and all(type(item) is int for item in value)
        value = tuple(value) if matches else value
    elif hint is Path:
        matches = isinstance(value, str)
        value = Path(value) if matches else value
    elif hint is float:
        matches = type(value) in (int, float)
    else:
        matches = type(value) is hint
    if not matches:
        raise InputError(f"{where} must be {hint}, got {value!r}")
    return value
