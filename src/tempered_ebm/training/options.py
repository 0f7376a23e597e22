"""Options of the training system itself: optimiser, rates, guard, checkpoints, logs, devices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError

RateSchedule = Literal["constant", "cosine", "warmup_cosine", "exponential", "step"]


@dataclass(frozen=True)
class BaseOptimizerConfig:
    """Optimisation, as the training loop knows it."""

    num_steps: int | None = None
    """Parameter updates. Default: 4000 for images up to 16 pixels, else 3000."""
    batch_size: int = 100
    """Training images per update."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""


@dataclass(frozen=True)
class RateShape:
    """Parameters of the schedules of learning rates."""

    rate_warmup: int = 100
    """Updates in which warmup_cosine rises from 0."""
    rate_decay: float = 0.5
    """Factor of exponential and step."""
    rate_decay_every: int = 1000
    """Updates after which exponential and step have applied the factor once."""


@dataclass(frozen=True)
class AdamConfig(RateShape, BaseOptimizerConfig):
    """Optimisation of all parameters by AdamW."""

    learning_rate: float | None = None
    """Initial learning rate. Default: 0.003 for points of the plane, 0.001 for images."""
    rate_schedule: RateSchedule = "cosine"
    """Learning rate: constant; cosine, to 0 at the end; warmup_cosine, up from 0 before;
    exponential, smoothly by --rate-decay every --rate-decay-every updates; step, the same in
    steps."""
    clip: float | None = None
    """Largest norm of the gradient; a longer one is shortened to it. Default: no limit."""
    first_moment_decay: float = 0.9
    """Decay of Adam's moving average of the gradient; 0 for the newest gradient alone."""
    average_decay: float | None = None
    """Decay of an exponential moving average of the parameters, such as 0.999; sampling and
    evaluation then use the average. Default: none is kept."""


Adam = TypeVar("Adam", bound=AdamConfig)


def slowed(config: Adam, scale: float) -> Adam:
    """An optimiser with the learning rate, if it has one yet, multiplied by ``scale``."""
    rate = config.learning_rate
    return dataclasses.replace(config, learning_rate=None if rate is None else rate * scale)


@dataclass(frozen=True)
class GuardConfig:
    """What to do when training goes wrong."""

    max_skipped: int = 10
    """Updates in a row with a gradient that is not finite after which the run rolls back; so does
    it if all updates of a logging interval are."""
    explosion: float = 100.0
    """The run rolls back if loss, energies or second moments of a row exceed this multiple of their
    running median (or of 1, if that is larger)."""
    max_rollbacks: int = 3
    """Times that a run returns to its last good checkpoint before it stops with an error."""
    rollback_factor: float = 0.5
    """Factor on learning rates and step sizes at every rollback."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints stay."""

    keep_last: int = 2
    """Newest checkpoints that stay; 2 or more leave one to go on from if the newest is damaged."""
    best_metric: str | None = None
    """Column of metrics.csv or validation.csv whose best checkpoint stays as well, such as
    validation_reconstruction_error. Default: none."""
    best_mode: Literal["min", "max"] = "min"
    """Whether the smallest or the largest value is best."""


@dataclass(frozen=True)
class LoggingConfig:
    """What is logged besides metrics.csv."""

    validate_every: int = 0
    """Updates between rows of validation.csv, measured on held-out images; 0 for none."""
    validation_images: int = 200
    """Held-out images of a validation."""
    gradients_every: int = 0
    """Updates between rows of gradients.csv: variance of the learning gradient, split into chains
    and images, from repeated estimates; 0 for none."""
    gradient_batches: int = 4
    """Minibatches of such a row."""
    gradient_repeats: int = 2
    """Estimates for each minibatch, at least 2."""
    pictures_every: int = 0
    """Updates between pictures of the prior chains in figures/; 0 for none."""
    tensorboard: bool = False
    """Write the rows of these tables as TensorBoard events as well."""


@dataclass(frozen=True)
class RunConfig:
    """Run folder."""

    seed: int = 0
    """Seed of parameters, chains and data order."""
    output_dir: Path = Path("runs")
    """Folder that receives the run folder; runs/LAST points to the newest."""
    name: str | None = None
    """Name of the run folder. Default: dataset, model, seed and time."""
    log_every: int = 50
    """Updates averaged into one row of metrics.csv."""
    checkpoint_every: int = 1000
    """Updates between checkpoints; one is also written at the end and on Ctrl-C."""


@dataclass(frozen=True)
class ParallelConfig:
    """Devices and processes that share the examples and chains of each batch."""

    devices: int = 1
    """Devices of each process among which a batch is divided."""
    coordinator: str | None = None
    """Address host:port of process 0, if there are several processes."""
    num_processes: int = 1
    """Processes in all, each started with the same command but for --process-id."""
    process_id: int = 0
    """Which of them this is; process 0 writes the run folder."""


def validate_rates(
    names: Collection[RateSchedule], shape: RateShape, num_steps: int | None
) -> None:
    """Check the learning-rate schedules.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.at_least("--rate-warmup", shape.rate_warmup, 0)
    checks.at_least("--rate-decay-every", shape.rate_decay_every, 1)
    proper_fraction("--rate-decay", shape.rate_decay)
    if "warmup_cosine" in names and num_steps is not None and shape.rate_warmup >= num_steps:
        raise InputError(
            f"--rate-warmup must be below the {num_steps} updates of --num-steps, "
            f"got {shape.rate_warmup}"
        )


def validate_adam(config: AdamConfig) -> None:
    """Check the optimiser of all parameters.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    if config.learning_rate is not None:
        checks.positive("--learning-rate", config.learning_rate)
    validate_rates((config.rate_schedule,), config, config.num_steps)
    if config.clip is not None:
        checks.positive("--clip", config.clip)
    if not 0 <= config.first_moment_decay < 1:
        raise InputError(
            f"--first-moment-decay must be at least 0 and below 1, got {config.first_moment_decay}"
        )
    if config.average_decay is not None:
        proper_fraction("--average-decay", config.average_decay)


def validate_guard(config: GuardConfig) -> None:
    """Check the guard.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.at_least("--max-skipped", config.max_skipped, 1)
    checks.at_least("--max-rollbacks", config.max_rollbacks, 0)
    if not 1 < config.explosion < math.inf:
        raise InputError(f"--explosion must be above 1 and finite, got {config.explosion}")
    proper_fraction("--rollback-factor", config.rollback_factor)


def validate_records(checkpoint: CheckpointConfig, logging: LoggingConfig) -> None:
    """Check what checkpoints and logs are to be kept.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.at_least("--keep-last", checkpoint.keep_last, 1)
    checks.at_least("--validate-every", logging.validate_every, 0)
    checks.at_least("--validation-images", logging.validation_images, 1)
    checks.at_least("--pictures-every", logging.pictures_every, 0)
    checks.at_least("--gradients-every", logging.gradients_every, 0)
    checks.at_least("--gradient-batches", logging.gradient_batches, 2)
    checks.at_least("--gradient-repeats", logging.gradient_repeats, 2)
    best = checkpoint.best_metric
    if best is not None and best.startswith("validation_") and not logging.validate_every:
        raise InputError(f"--best-metric {best} needs --validate-every above 0, got 0")


def validate_run(config: RunConfig) -> None:
    """Check what concerns the run folder.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.seed("--seed", config.seed)
    checks.at_least("--log-every", config.log_every, 1)
    checks.at_least("--checkpoint-every", config.checkpoint_every, 1)
    name = config.name
    if name is not None and (name in ("", "LAST") or Path(name).name != name):
        raise InputError(f"--name must be a plain folder name other than LAST, got {name!r}")


def validate_parallel(config: ParallelConfig) -> None:
    """Check devices and processes.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.at_least("--devices", config.devices, 1)
    checks.at_least("--num-processes", config.num_processes, 1)
    checks.at_least("--process-id", config.process_id, 0)
    if config.process_id >= config.num_processes:
        raise InputError(
            f"--process-id must be below --num-processes {config.num_processes}, "
            f"got {config.process_id}"
        )
    if (config.num_processes > 1) != (config.coordinator is not None):
        raise InputError(
            "--coordinator goes with --num-processes above 1, got --coordinator "
            f"{config.coordinator} and --num-processes {config.num_processes}"
        )


def proper_fraction(name: str, value: float) -> None:
    """Require a value between 0 and 1, both excluded.

    Raises:
        InputError: naming the option and the value.
    """
    if not 0 < value < 1:
        raise InputError(f"{name} must be between 0 and 1, both excluded, got {value}")
