"""The run folder: what a training run leaves on disk, and how it is found again."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tempered_ebm import _files
from tempered_ebm.datasets import checksum
from tempered_ebm.errors import InputError
from tempered_ebm.training import config as configs
from tempered_ebm.training.autoencoder.config import AutoencoderConfig
from tempered_ebm.training.config import AnyDataset, BaseConfig
from tempered_ebm.training.data_ebm.config import DataEBMConfig
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.latent.config import LatentConfig
from tempered_ebm.training.task import Task
from tempered_ebm.training.vae.config import VAEConfig

LAST = "LAST"

CONFIGS: dict[str, type[BaseConfig]] = {
    config.kind: config
    for config in (LatentConfig, DataEBMConfig, AutoencoderConfig, JEMConfig, VAEConfig)
}
"""Class of configurations of every kind of model."""

_TASKS = {
    "latent": ("latent", "LatentTask"),
    "data": ("data_ebm", "DataEBMTask"),
    "autoencoder": ("autoencoder", "AutoencoderTask"),
    "jem": ("jem", "JEMTask"),
    "vae": ("vae", "VAETask"),
}


def task_of(config: BaseConfig) -> Task:
    """Return the task of a configuration, whose module is imported when it is asked for."""
    package, name = _TASKS[config.kind]
    return getattr(importlib.import_module(f"tempered_ebm.training.{package}.task"), name)()


def _inside(name: str) -> property:
    """Return a property that is the path of this name inside the folder ``self.path``."""
    return property(lambda self: self.path / name)


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder.

    Attributes:
        path: the folder.
        config: the resolved configuration of the run.
        event_shape: shape of one of its observations, (height, width, channels) for images.
        fingerprint: checksum of its training images.
    """

    path: Path
    config: BaseConfig
    event_shape: tuple[int, ...]
    fingerprint: int

    @property
    def task(self) -> Task:
        """Building, sampling and evaluation of the model."""
        return task_of(self.config)

    def load_dataset(self) -> AnyDataset:
        """Load the data of the run.

        Raises:
            InputError: if they cannot be read, or are not those that the run began with.
        """
        dataset = configs.load_dataset(self.config.data)
        if dataset.event_shape != self.event_shape or checksum(dataset) != self.fingerprint:
            files = self.config.data
            where = files.data_file or files.data_dir or dataset.name
            raise InputError(
                f"the training data in {where} have changed; expected those that {self.path} "
                "began with"
            )
        return dataset

    metrics = _inside("metrics.csv")
    """Table of training metrics."""
    validation = _inside("validation.csv")
    """Table of validation metrics."""
    gradients = _inside("gradients.csv")
    """Table of statistics of the learning gradient."""
    events = _inside("events.csv")
    """Table of rollbacks."""
    tensorboard = _inside("tensorboard")
    """Folder of TensorBoard events."""
    checkpoints = _inside("checkpoints")
    """Folder of checkpoints."""
    figures = _inside("figures")
    """Folder of pictures."""
    evaluation = _inside("evaluation.json")
    """Table of the last evaluation."""


def create(config: BaseConfig, dataset: AnyDataset) -> RunFolder:
    """Make a new run folder, to which ``LAST`` then points.

    Args:
        config: resolved configuration.
        dataset: its data, which name the folder if the configuration does not.

    Raises:
        InputError: if the named folder exists.
        OSError: if the folder cannot be written; nothing of it is left.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    default = f"{dataset.name}-{config.label}-seed{config.run.seed}-{stamp}"
    path = config.run.output_dir / (config.run.name or default)
    try:
        path.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError):
        if not config.run.output_dir.is_dir():
            raise InputError(
                f"--output-dir must be a folder, got {config.run.output_dir}, which is a file or "
                "lies under one"
            ) from None
        raise InputError(f"run folder {path} exists; give another --name, or --resume it") from None
    folder = RunFolder(path, config, dataset.event_shape, checksum(dataset))
    try:
        folder.checkpoints.mkdir()
        folder.figures.mkdir()
        tree = {
            "kind": config.kind,
            "event_shape": list(folder.event_shape),
            "fingerprint": folder.fingerprint,
            "config": _files.plain(config),
        }
        _files.write_json(path / "config.json", tree)
        _point_last_to(path)
    except OSError:
        shutil.rmtree(path)
        raise
    return folder


def _point_last_to(path: Path) -> None:
    link = path.parent / f".{LAST}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(path.name)
    os.replace(link, path.parent / LAST)


def open_run(path: Path) -> RunFolder:
    """Open an existing run folder.

    Raises:
        InputError: if it is not one, or its configuration is damaged.
    """
    file = path / "config.json"
    if not file.is_file():
        raise InputError(f"{path} is not a run folder: expected a config.json in it")
    tree = _files.read_json(file)
    try:
        event_shape = tuple(int(size) for size in tree["event_shape"])
        fingerprint = int(tree["fingerprint"])
        if tree["kind"] not in CONFIGS:
            raise InputError(f"kind must be one of {', '.join(CONFIGS)}, got {tree['kind']!r}")
        config = configs.from_json(CONFIGS[tree["kind"]], tree["config"])
        config.validate()
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{file} is damaged: {reason}") from error
    return RunFolder(path, config, event_shape, fingerprint)
