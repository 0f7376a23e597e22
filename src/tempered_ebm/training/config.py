"""Configuration of a training run: groups of options, validated, resolved, and kept as JSON.

A model adds groups of its own (``latent/config.py``, ``vae/config.py``). An option that may be None
is filled in from the data when a configuration is resolved; the run folder holds the resolved
configuration. This module is light enough to be imported for ``--help``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, TypeVar, get_args, get_origin

from tempered_ebm import _checks as checks
from tempered_ebm.datasets import (
    ImageDataset,
    PointDataset,
    load_digits,
    load_named,
    load_npz,
    load_toy,
    prepared,
    split_validation,
    without_label,
)
from tempered_ebm.errors import InputError

AnyDataset: TypeAlias = ImageDataset | PointDataset
"""Data that a model can be trained on."""

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

Points = Literal[
    "eight_gaussians",
    "pinwheel",
    "moons",
    "swiss_roll",
    "spirals",
    "ring",
    "rings",
    "checkerboard",
    "squares",
    "banana",
    "rosenbrock",
    "double_well",
    "muller_brown",
    "egg_crate",
    "gamma_pair",
]
POINTS: tuple[str, ...] = get_args(Points)
"""Densities of the plane whose draws can be trained on."""
RateSchedule = Literal["constant", "cosine", "warmup_cosine", "exponential", "step"]

_SMALL_IMAGE = 16
_POINT_RATE, _IMAGE_RATE = 3e-3, 1e-3


def check_fraction(name: str, value: float) -> None:
    """Require a value between 0 and 1, both excluded.

    Raises:
        InputError: naming the option and the value.
    """
    if not 0 < value < 1:
        raise InputError(f"{name} must be between 0 and 1, both excluded, got {value}")


def check_nonnegative(name: str, value: float) -> None:
    """Require a finite value of at least 0.

    Raises:
        InputError: naming the option and the value.
    """
    if not 0 <= value < math.inf:
        raise InputError(f"{name} must be at least 0 and finite, got {value}")


def at_least(minimum: int) -> Callable[[str, Any], None]:
    """Return the check of an option that is an integer of at least ``minimum``."""
    return functools.partial(checks.at_least, minimum=minimum)


# Types of options that carry their check, which ``Options.validate`` makes.
Natural = Annotated[int, at_least(0)]
Count = Annotated[int, at_least(1)]
Seed = Annotated[int, checks.seed]
Positive = Annotated[float, checks.positive]
Nonnegative = Annotated[float, check_nonnegative]
Fraction = Annotated[float, check_fraction]
Probability = Annotated[float, checks.in_unit_interval]


@dataclass(frozen=True)
class Options:
    """A group of options, a frozen dataclass."""

    def validate(self) -> None:
        """Check every value that can be checked without the data.

        A check of one option is in its type; groups add those that concern several.

        Raises:
            InputError: naming the option, the value and what was expected.
        """
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            _make_checks("--" + name.replace("_", "-"), hint, getattr(self, name))

    def scaled(self, factor: float) -> Self:
        """Return the options with learning rates and step sizes multiplied by ``factor``."""
        return self

    def with_defaults(self, **defaults: Any) -> Self:
        """Return the options in which every None of those named has its default."""
        missing = {name: x for name, x in defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)

    def _times(self, factor: float, *names: str) -> Self:
        """Return the options with those of these that are given multiplied by ``factor``."""
        given = {name: x for name in names if (x := getattr(self, name)) is not None}
        return dataclasses.replace(self, **{name: x * factor for name, x in given.items()})


def _make_checks(name: str, hint: Any, value: Any) -> None:
    """Make the checks that a type carries, itself or inside, on a value other than None."""
    if value is None:
        return
    for check in getattr(hint, "__metadata__", ()):
        check(name, value)
    for inner in get_args(hint):
        for item in value if get_origin(hint) is tuple else (value,):
            _make_checks(name, inner, item)


@dataclass(frozen=True)
class DataConfig(Options):
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
    image_size: Count | None = None
    """Height and width that the centre square of every image is brought to. Default: 64 for
    celeba, else that of the images."""
    grayscale: bool = False
    """Turn colours into one channel."""
    validation: Fraction | None = None
    """Fraction of the training images that is set apart for validation, class by class."""
    held_out_label: Natural | None = None
    """Class that is left out of every part, to be found as an anomaly."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if (self.dataset == "npz") != (self.data_file is not None):
            raise InputError(
                f"--data-file goes with --dataset npz, got --dataset {self.dataset} and "
                f"--data-file {self.data_file}"
            )
        if self.data_name is not None and self.dataset != "huggingface":
            raise InputError(
                f"--data-name goes with --dataset huggingface, got --dataset {self.dataset} and "
                f"--data-name {self.data_name}"
            )
        if self.dataset == "huggingface":
            if (self.data_name is None) == (self.data_dir is None):
                raise InputError(
                    "--dataset huggingface takes either --data-name or --data-dir, got "
                    f"{self.data_name} and {self.data_dir}"
                )
        elif (self.dataset in ("digits", "npz", *POINTS)) != (self.data_dir is None):
            raise InputError(
                "--data-dir goes with every --dataset but digits, npz and points, got --dataset "
                f"{self.dataset} and --data-dir {self.data_dir}"
            )
        of_images = (self.image_size, self.grayscale, self.validation, self.held_out_label)
        if self.dataset in POINTS and of_images != (None, False, None, None):
            raise InputError(
                "--image-size, --grayscale, --validation and --held-out-label are about images, "
                f"got --dataset {self.dataset}"
            )

    def resolve(self, dataset: AnyDataset) -> Self:
        """Make paths absolute, and fill in the size of images that depends on the data."""
        paths = {"data_file": self.data_file, "data_dir": self.data_dir}
        absolute: dict[str, Any] = {
            name: path.absolute() for name, path in paths.items() if path is not None
        }
        config = dataclasses.replace(self, **absolute)
        if self.dataset != "celeba":
            return config
        return config.with_defaults(image_size=dataset.event_shape[0])


@dataclass(frozen=True)
class AnyDataConfig(DataConfig):
    """Images, or points of the plane."""

    dataset: Points | Dataset = "eight_gaussians"  # type: ignore[assignment]
    """Exact draws from a density of the plane; the embedded 8x8 digits; an npz file of images; a
    known data set in the files of its authors; a folder of pictures; or a data set of the package
    datasets."""
    num_points: Annotated[int, at_least(2)] = 10_000
    """Draws from a density of the plane, a fifth of which is held out."""
    data_seed: Seed = 0
    """Seed of these draws."""


@dataclass(frozen=True)
class BaseOptimizerConfig(Options):
    """Optimisation, as the training loop knows it."""

    num_steps: Count | None = None
    """Parameter updates. Default: 4000 for images up to 16 pixels, else 3000."""
    batch_size: Count = 100
    """Training images per update."""
    weight_decay: Nonnegative = 0.0
    """Decoupled weight decay."""


@dataclass(frozen=True)
class RateShape(Options):
    """Parameters of the schedules of learning rates."""

    rate_warmup: Natural = 100
    """Updates in which warmup_cosine rises from 0."""
    rate_decay: Fraction = 0.5
    """Factor of exponential and step."""
    rate_decay_every: Count = 1000
    """Updates after which exponential and step have applied the factor once."""

    def validate_rates(self, names: Collection[RateSchedule], num_steps: int | None) -> None:
        """Check the warm-up against the schedules that are used and the length of the run.

        Raises:
            InputError: naming the option, the value and what was expected.
        """
        if "warmup_cosine" in names and num_steps is not None and self.rate_warmup >= num_steps:
            raise InputError(
                f"--rate-warmup must be below the {num_steps} updates of --num-steps, "
                f"got {self.rate_warmup}"
            )


@dataclass(frozen=True)
class AdamConfig(RateShape, BaseOptimizerConfig):
    """Optimisation of all parameters by AdamW."""

    learning_rate: Positive | None = None
    """Initial learning rate. Default: 0.003 for points of the plane, 0.001 for images."""
    rate_schedule: RateSchedule = "cosine"
    """Learning rate: constant; cosine, to 0 at the end; warmup_cosine, up from 0 before;
    exponential, smoothly by --rate-decay every --rate-decay-every updates; step, the same in
    steps."""
    clip: Positive | None = None
    """Largest norm of the gradient; a longer one is shortened to it. Default: no limit."""
    first_moment_decay: float = 0.9
    """Decay of Adam's moving average of the gradient; 0 for the newest gradient alone."""
    average_decay: Fraction | None = None
    """Decay of an exponential moving average of the parameters, such as 0.999; sampling and
    evaluation then use the average. Default: none is kept."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        self.validate_rates((self.rate_schedule,), self.num_steps)
        if not 0 <= self.first_moment_decay < 1:
            raise InputError(
                "--first-moment-decay must be at least 0 and below 1, got "
                f"{self.first_moment_decay}"
            )

    def scaled(self, factor: float) -> Self:
        """Return the options with the learning rate multiplied by ``factor``."""
        return self._times(factor, "learning_rate")


@dataclass(frozen=True)
class GuardConfig(Options):
    """Limits of divergence, and rollbacks."""

    max_skipped: Count = 10
    """Updates in a row with a gradient that is not finite after which the run rolls back; so does
    it if all updates of a logging interval are."""
    explosion: float = 100.0
    """The run rolls back if loss, energies or second moments of a row exceed this multiple of their
    running median (or of 1, if that is larger)."""
    max_rollbacks: Natural = 3
    """Times that a run returns to its last good checkpoint before it stops with an error."""
    rollback_factor: Fraction = 0.5
    """Factor on learning rates and step sizes at every rollback."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if not 1 < self.explosion < math.inf:
            raise InputError(f"--explosion must be above 1 and finite, got {self.explosion}")


@dataclass(frozen=True)
class CheckpointConfig(Options):
    """Which checkpoints stay."""

    keep_last: Count = 2
    """Newest checkpoints that stay; 2 or more leave one to go on from if the newest is damaged."""
    best_metric: str | None = None
    """Column of metrics.csv or validation.csv whose best checkpoint stays as well, such as
    validation_reconstruction_error. Default: none."""
    best_mode: Literal["min", "max"] = "min"
    """Smallest or largest value as the best."""


@dataclass(frozen=True)
class LoggingConfig(Options):
    """Logs besides metrics.csv."""

    validate_every: Natural = 0
    """Updates between rows of validation.csv, measured on held-out images; 0 for none."""
    validation_images: Count = 200
    """Held-out images of a validation."""
    gradients_every: Natural = 0
    """Updates between rows of gradients.csv: variance of the learning gradient, split into chains
    and images, from repeated estimates; 0 for none."""
    gradient_batches: Annotated[int, at_least(2)] = 4
    """Minibatches of such a row."""
    gradient_repeats: Annotated[int, at_least(2)] = 2
    """Estimates for each minibatch, at least 2."""
    pictures_every: Natural = 0
    """Updates between pictures of the prior chains in figures/; 0 for none."""
    tensorboard: bool = False
    """Write the rows of these tables as TensorBoard events as well."""


@dataclass(frozen=True)
class RunConfig(Options):
    """Run folder."""

    seed: Seed = 0
    """Seed of parameters, chains and data order."""
    output_dir: Path = Path("runs")
    """Folder that receives the run folder; runs/LAST points to the newest."""
    name: str | None = None
    """Name of the run folder. Default: dataset, model, seed and time."""
    log_every: Count = 50
    """Updates averaged into one row of metrics.csv."""
    checkpoint_every: Count = 1000
    """Updates between checkpoints; one is also written at the end and on Ctrl-C."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        name = self.name
        if name is not None and (name in ("", "LAST") or Path(name).name != name):
            raise InputError(f"--name must be a plain folder name other than LAST, got {name!r}")


@dataclass(frozen=True)
class ParallelConfig(Options):
    """Devices and processes that share the examples and chains of each batch."""

    devices: Count = 1
    """Devices of each process among which a batch is divided."""
    coordinator: str | None = None
    """Address host:port of process 0, if there are several processes."""
    num_processes: Count = 1
    """Processes in all, each started with the same command but for --process-id."""
    process_id: Natural = 0
    """Which of them this is; process 0 writes the run folder."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if self.process_id >= self.num_processes:
            raise InputError(
                f"--process-id must be below --num-processes {self.num_processes}, "
                f"got {self.process_id}"
            )
        if (self.num_processes > 1) != (self.coordinator is not None):
            raise InputError(
                "--coordinator goes with --num-processes above 1, got --coordinator "
                f"{self.coordinator} and --num-processes {self.num_processes}"
            )


@dataclass(frozen=True)
class BaseConfig:
    """Options of every training run; models add groups to them.

    Attributes:
        kind: name of the model, on the command line and in ``config.json``.
    """

    kind: ClassVar[str]

    data: DataConfig = field(default_factory=DataConfig)
    optimizer: BaseOptimizerConfig = field(default_factory=BaseOptimizerConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def label(self) -> str:
        """Part of the name of a run folder that tells the model."""
        return self.kind

    def _groups(self) -> dict[str, Options]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def validate(self) -> None:
        """Check every value that can be checked without the data.

        Raises:
            InputError: naming the option, the value and what was expected.
        """
        for group in self._groups().values():
            group.validate()
        best = self.checkpoint.best_metric
        if best is not None and best.startswith("validation_") and not self.logging.validate_every:
            raise InputError(f"--best-metric {best} needs --validate-every above 0, got 0")

    def resolve(self, dataset: Any) -> Self:
        """Fill in the options that depend on the data.

        Raises:
            InputError: if the batch is larger than the training set, or the model does not fit.
        """
        num_images = len(dataset.x_train)
        if self.optimizer.batch_size > num_images:
            raise InputError(
                f"--batch-size must be at most the {num_images} training images of {dataset.name}, "
                f"got {self.optimizer.batch_size}"
            )
        optimizer = self.optimizer.with_defaults(num_steps=4000 if is_small(dataset) else 3000)
        if isinstance(optimizer, AdamConfig):
            rate = _POINT_RATE if len(dataset.event_shape) == 1 else _IMAGE_RATE
            optimizer = optimizer.with_defaults(learning_rate=rate)
        return dataclasses.replace(self, data=self.data.resolve(dataset), optimizer=optimizer)

    def scaled(self, factor: float) -> Self:
        """Return the configuration with learning rates and step sizes multiplied by ``factor``."""
        groups: Any = {name: group.scaled(factor) for name, group in self._groups().items()}
        return dataclasses.replace(self, **groups)


Config = TypeVar("Config", bound=BaseConfig)


def is_small(dataset: AnyDataset) -> bool:
    """Return whether images have up to 16 pixels a side: defaults are then those of a quick run."""
    return max(dataset.event_shape[:2]) <= _SMALL_IMAGE


def with_sampling_steps(config: Any, num_steps: int | None) -> Any:
    """Return a configuration of chains with other steps of sampling, if their number is given."""
    if num_steps is None:
        return config
    chain = dataclasses.replace(config.chain, sampling_steps=num_steps)
    return dataclasses.replace(config, chain=chain)


def find_preset(presets: Mapping[str, Config], name: str) -> Config:
    """Return the configuration of a name.

    Raises:
        InputError: for a name that is none of ``presets``.
    """
    if name not in presets:
        raise InputError(f"--preset must be one of {', '.join(presets)}, got {name!r}")
    return presets[name]


def load_dataset(config: DataConfig) -> AnyDataset:
    """Load the configured data, whatever they are.

    Raises:
        InputError: if the files are not what was asked for, or have no such class.
    """
    if isinstance(config, AnyDataConfig) and config.dataset in POINTS:
        return load_toy(config.dataset, config.num_points, config.data_seed)
    return load_images(config)


def load_images(config: DataConfig) -> ImageDataset:
    """Load the configured images: without the held-out class, with the validation part apart.

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


def from_json(cls: type[Config], tree: Any) -> Config:
    """Rebuild a configuration from its plain values (``_files.plain``), which are not checked.

    An entry that is missing, since it was no option yet when they were written, has its
    default.

    Raises:
        InputError: if an entry is unknown, or of the wrong type.
    """
    return _build(cls, tree, "config")


def _build(cls: Any, tree: Any, where: str) -> Any:
    # Class variables, such as the kind of model, are no entries.
    names = {f.name for f in dataclasses.fields(cls)}
    hints = {name: hint for name, hint in typing.get_type_hints(cls).items() if name in names}
    if not isinstance(tree, dict) or not set(tree) <= set(hints):
        got = sorted(tree) if isinstance(tree, dict) else tree
        raise InputError(f"{where} must have no entries but {sorted(hints)}, got {got}")
    return cls(**{name: _convert(hints[name], tree[name], f"{where}.{name}") for name in tree})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    options = get_args(hint) if get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if value is None and type(None) in options:
        return None
    known = [option for option in options if option is not type(None)]
    hint = known[0]
    if get_origin(hint) is Literal:
        hint = [choice for option in known for choice in get_args(option)]
        matches = value in hint
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
        expected = f"one of {', '.join(map(str, hint))}" if isinstance(hint, list) else hint
        raise InputError(f"{where} must be {expected}, got {value!r}")
    return value
