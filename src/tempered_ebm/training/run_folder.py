"""The run folder: what a training run leaves on disk, and how it is found again."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tempered_ebm import _files
from tempered_ebm.datasets import checksum
from tempered_ebm.errors import InputError
from tempered_ebm.training import config as configs
from tempered_ebm.training import data, kinds
from tempered_ebm.training.data import AnyDataset

LAST = "LAST"


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
    config: configs.BaseConfig
    event_shape: tuple[int, ...]
    fingerprint: int

    @property
    def metrics(self) -> Path:
        """Table of training metrics."""
        return self.path / "metrics.csv"

    @property
    def validation(self) -> Path:
        """Table of validation metrics."""
        return self.path / "validation.csv"

    @property
    def gradients(self) -> Path:
        """Table of statistics of the learning gradient."""
        return self.path / "gradients.csv"

    @property
    def events(self) -> Path:
        """Table of rollbacks."""
        return self.path / "events.csv"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.path / "figures"

    @property
    def evaluation(self) -> Path:
        """Table of the last evaluation."""
        return self.path / "evaluation.json"


def fingerprint(dataset: AnyDataset) -> int:
    """Checksum of the training images, in order: their CRC-32."""
    return checksum(dataset)


def create(config: configs.BaseConfig, dataset: AnyDataset) -> RunFolder:
    """Make a new run folder and point ``LAST`` to it.

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
    folder = RunFolder(path, config, dataset.event_shape, fingerprint(dataset))
    try:
        folder.checkpoints.mkdir()
        folder.figures.mkdir()
        tree = {
            "kind": kinds.of(config).name,
            "event_shape": list(folder.event_shape),
            "fingerprint": folder.fingerprint,
            "config": configs.to_json(config),
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
        checksum = int(tree["fingerprint"])
        kind = kinds.named(tree["kind"])
        config = configs.from_json(kind.config, tree["config"])
        kind.validate(config)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{file} is damaged: {reason}") from error
    return RunFolder(path, config, event_shape, checksum)


def load_dataset(folder: RunFolder) -> AnyDataset:
    """Load the data of a run.

    Raises:
        InputError: if they cannot be read, or are not those that the run began with.
    """
    dataset = data.load_dataset(folder.config.data)
    if dataset.event_shape != folder.event_shape or fingerprint(dataset) != folder.fingerprint:
        files = folder.config.data
        where = files.data_file or files.data_dir or dataset.name
        raise InputError(
            f"the training data in {where} have changed; expected those that {folder.path} "
            "began with"
        )
    return dataset
