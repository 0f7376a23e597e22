"""The study folder: its settings, and the jobs that are done."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path

from tempered_ebm import _files, metrics
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.study import table
from tempered_ebm.study.cells import Job, cells, jobs
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.study.run import JobResult, Judge
from tempered_ebm.training import config as configs
from tempered_ebm.training.run_folder import fingerprint

_MOST_IMAGES = 5000


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk.

    Attributes:
        path: the folder.
        config: the study.
    """

    path: Path
    config: StudyConfig

    def rows(self, job: Job) -> Path:
        """Table of a job's rows; it exists if and only if the job is done."""
        return self.path / "cells" / f"{job.name}.csv"

    def pending(self) -> list[Job]:
        """Jobs that are not done."""
        return [job for job in jobs(self.config) if not self.rows(job).exists()]

    def save(self, job: Job, result: JobResult) -> None:
        """Keep what a job left; the rows last, since they mark it as done.

        Raises:
            OSError: if the folder cannot be written.
        """
        _files.write_atomically(self.rows(job).with_suffix(".npz"), result.arrays)
        table.write_rows(self.rows(job), result.rows)


def _floor(dataset: ImageDataset, judge: Judge) -> dict[str, float]:
    features = judge.features(dataset.x_train[:_MOST_IMAGES])
    return {
        "frechet": metrics.frechet_distance(features, judge.held_out),
        "kernel": metrics.kernel_distance(features, judge.held_out),
    }


def open_study(config: StudyConfig, dataset: ImageDataset, judge: Judge) -> StudyFolder:
    """Make the folder of a study, or go on with it if it has the same settings and data.

    Raises:
        InputError: if the folder belongs to another study, or to something else.
        OSError: if it cannot be written.
    """
    path = config.place.output_dir / config.place.name
    settings = configs.to_json(config)
    place = settings.pop("place")
    tree = {
        "config": {**settings, "place": {"seed": place["seed"]}},
        "dataset": dataset.name,
        "image_shape": list(dataset.image_shape),
        "fingerprint": fingerprint(dataset),
        "cells": [cell.name for cell in cells(config)],
    }
    file = path / "config.json"
    if path.exists():
        _require_same(file, tree)
        return StudyFolder(path, config)
    (path / "cells").mkdir(parents=True)
    versions = {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("tempered-ebm", "jax", "blackjax")
    }
    _files.write_json(file, {**tree, "floor": _floor(dataset, judge), "versions": versions})
    return StudyFolder(path, config)


def _require_same(file: Path, tree: dict) -> None:
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{file.parent} is not a study folder: expected a config.json in it; give another "
            "--name"
        ) from None
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}") from error
    different = [
        f"{section}.{name}"
        for section, values in tree["config"].items()
        for name, value in values.items()
        if found.get("config", {}).get(section, {}).get(name) != value
    ]
    different += [name for name in ("fingerprint", "image_shape") if found.get(name) != tree[name]]
    if different:
        raise InputError(
            f"{file.parent} holds a study with another {', '.join(different)}; give another "
            "--name, or the same settings to go on with it"
        )
