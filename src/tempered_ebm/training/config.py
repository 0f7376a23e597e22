"""What every training run is configured by, typed, validated, written to and read from JSON.

A model adds groups of options of its own (``latent/config.py``, ``vae/config.py``). A field
that may be None is filled in from the data when a configuration is resolved; the run folder
holds the resolved configuration.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.training import options
from tempered_ebm.training.data import AnyDataset, DataConfig, resolve_data, validate_data
from tempered_ebm.training.options import (
    AdamConfig,
    BaseOptimizerConfig,
    CheckpointConfig,
    GuardConfig,
    LoggingConfig,
    RunConfig,
)

_SMALL_IMAGE = 16
_POINT_RATE, _IMAGE_RATE = 3e-3, 1e-3


@dataclass(frozen=True)
class BaseConfig:
    """What every training run has; models add to it."""

    data: DataConfig = field(default_factory=DataConfig)
    optimizer: BaseOptimizerConfig = field(default_factory=BaseOptimizerConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def label(self) -> str:
        """What the name of a run folder says about the model."""
        raise NotImplementedError


Config = TypeVar("Config", bound=BaseConfig)


def validate_base(config: BaseConfig) -> None:
    """Check the options of every run that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    validate_data(config.data)
    if config.optimizer.num_steps is not None:
        checks.at_least("--num-steps", config.optimizer.num_steps, 1)
    checks.at_least("--batch-size", config.optimizer.batch_size, 1)
    decay = config.optimizer.weight_decay
    if not 0 <= decay < math.inf:
        raise InputError(f"--weight-decay must be at least 0 and finite, got {decay}")
    options.validate_guard(config.guard)
    options.validate_records(config.checkpoint, config.logging)
    options.validate_run(config.run)


def is_small(dataset: AnyDataset) -> bool:
    """Whether images have up to 16 pixels a side, and defaults are those of a quick run."""
    return max(dataset.event_shape[:2]) <= _SMALL_IMAGE


def resolve_base(config: Config, dataset: AnyDataset) -> Config:
    """Fill in the options of every run that depend on the data.

    Raises:
        InputError: if the batch is larger than the training set.
    """
    num_images = len(dataset.x_train)
    if config.optimizer.batch_size > num_images:
        raise InputError(
            f"--batch-size must be at most the {num_images} training images of {dataset.name}, "
            f"got {config.optimizer.batch_size}"
        )
    num_steps = config.optimizer.num_steps or (4000 if is_small(dataset) else 3000)
    optimizer = dataclasses.replace(config.optimizer, num_steps=num_steps)
    if isinstance(optimizer, AdamConfig) and optimizer.learning_rate is None:
        rate = _POINT_RATE if len(dataset.event_shape) == 1 else _IMAGE_RATE
        optimizer = dataclasses.replace(optimizer, learning_rate=rate)
    return dataclasses.replace(config, data=resolve_data(config.data, dataset), optimizer=optimizer)


def to_json(config: Any) -> dict[str, Any]:
    """Nested dictionary of plain JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value

    return plain(dataclasses.asdict(config))


def from_json(cls: type[Config], tree: Any) -> Config:
    """Rebuild a configuration from :func:`to_json`'s dictionary; its values are not checked.

    An entry that is missing, since it was no option yet when the dictionary was written, has its
    default.

    Raises:
        InputError: if an entry is unknown, or of the wrong type.
    """
    return _build(cls, tree, "config")


def _build(cls: Any, tree: Any, where: str) -> Any:
    hints = typing.get_type_hints(cls)
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
