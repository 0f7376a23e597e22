"""The study folder: its settings, the jobs that are done, and the table of all measurements.

The table is tidy: one row per cell, repeat and measurement.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tempered_ebm import _files
from tempered_ebm.datasets import ImageDataset, checksum
from tempered_ebm.errors import InputError
from tempered_ebm.learning import GradientStatistics
from tempered_ebm.study.config import Cell, Job, StudyConfig, cells, jobs

GROUPS = ("prior", "generator", "all")
STATISTICS = (*GradientStatistics._fields, "legacy_variance")
_TEXT = ("cell", "estimator", "schedule", "dataset")
COLUMNS = (
    "cell",
    *(field.name for field in fields(Cell)),
    "dataset",
    "repeat",
    "step",
    "gradient_evaluations",
    "seconds",
    "loss",
    "loglikelihood",
    "reconstruction_error",
    "skipped_updates",
    "frechet",
    "kernel",
    *(f"{group}_{name}" for group in GROUPS for name in STATISTICS),
)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, by name: four of strings, the others of floats.

    Attributes:
        columns: arrays; NaN is "not measured".
    """

    columns: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        """One column."""
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["cell"])

    def where(self, **values: Any) -> Table:
        """Rows whose columns have these values."""
        keep = np.ones(len(self), bool)
        for name, value in values.items():
            keep &= self[name] == value
        return self.rows(keep)

    def rows(self, keep: np.ndarray) -> Table:
        """Rows by a mask or by indices."""
        return Table({name: column[keep] for name, column in self.columns.items()})

    def measured(self, *names: str) -> Table:
        """Rows in which these columns were measured and are finite."""
        return self.rows(np.all([np.isfinite(self[name]) for name in names], axis=0))

    def cells(self) -> list[str]:
        """Names of the cells in order of appearance."""
        return list(dict.fromkeys(self["cell"].tolist()))

    def by_cell(self) -> list[Table]:
        """Rows of each cell, in order of appearance."""
        return [self.where(cell=cell) for cell in self.cells()]

    def ends(self) -> Table:
        """Rows of the last measurement of every cell."""
        last = {rows["cell"][0]: rows["step"].max() for rows in self.by_cell()}
        keep = [last[cell] == step for cell, step in zip(self["cell"], self["step"])]
        return self.rows(np.array(keep, bool))


def smallest_variance(cells: Sequence[Table]) -> Table:
    """Return the cell whose gradient has the smallest mean variance."""
    # A comparison with NaN is false: without this a cell that diverged could come out best.
    return min(cells, key=lambda rows: np.nan_to_num(mean(rows["all_variance"]).value, nan=np.inf))


class Mean(NamedTuple):
    """Mean over repeats with its standard error (NaN for a single one) and their number."""

    value: float
    error: float
    number: int


def mean(values: np.ndarray) -> Mean:
    """Return the mean of the finite values."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Mean(float("nan"), float("nan"), 0)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return Mean(float(values.mean()), float(error), len(values))


def over_repeats(table: Table, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps at which a column was measured, its means over repeats and their errors."""
    measured = table.measured(name)
    steps = np.unique(measured["step"])
    means = [mean(measured.where(step=step)[name]) for step in steps]
    return steps, np.array([m.value for m in means]), np.array([m.error for m in means])


def _field(value: Any) -> str:
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float):
        if not np.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(float(value))
    return "" if value is None else str(value)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows atomically; what is missing, None or not finite becomes an empty field.

    Raises:
        OSError: if the file cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_field(row.get(name)) for name in COLUMNS] for row in rows)
    _files.write_atomically(path, buffer.getvalue().encode())


def read_rows(path: Path) -> Table:
    """Read a table.

    Raises:
        InputError: if the file is missing, or no table of a study.
    """
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError(f"its columns are not the {len(COLUMNS)} of a study")
        columns = zip(*rows) if rows else [()] * len(COLUMNS)
        return Table(
            {
                name: np.array(values, str)
                if name in _TEXT
                else np.array([float(value or "nan") for value in values])
                for name, values in zip(COLUMNS, columns)
            }
        )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected the table of a study") from None
    except ValueError as error:
        raise InputError(f"{path} is not the table of a study: {error}") from error


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` of a study folder says.

    Raises:
        InputError: if the folder is not that of a study.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"{folder} is not a study folder: expected a config.json in it")
    tree = _files.read_json(file)
    if not isinstance(tree, dict) or "cells" not in tree:
        raise InputError(f"{file} is not that of a study: it lists no cells")
    return tree


def merge(folder: Path) -> Table:
    """Merge the rows of all finished jobs into ``table.csv``, in the order of the grid.

    Where pyarrow is installed ``table.parquet`` is written beside it.

    Args:
        folder: the study folder.

    Raises:
        InputError: if it is not one, or a table in it is damaged.
        OSError: if it cannot be written.
    """
    order = {name: i for i, name in enumerate(read_settings(folder)["cells"])}
    parts = [read_rows(path) for path in sorted((folder / "cells").glob("*.csv"))]
    if not parts:
        raise InputError(f"{folder} has no finished job yet; expected tables in its folder cells")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    cell = np.array([order.get(name, len(order)) for name in columns["cell"]])
    merged = Table(columns).rows(np.lexsort((columns["step"], columns["repeat"], cell)))
    rows = [dict(zip(COLUMNS, row)) for row in zip(*(merged[c].tolist() for c in COLUMNS))]
    write_rows(folder / "table.csv", rows)
    _write_parquet(folder / "table.parquet", merged)
    return merged


def _write_parquet(path: Path, table: Table) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return
    with _files.open_atomically(path) as file:
        pq.write_table(pa.table(table.columns), file)


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of all finished jobs, by ``"cell:name"``."""
    arrays: dict[str, np.ndarray] = {}
    for path in sorted((folder / "cells").glob("*.npz")):
        if path.with_suffix(".csv").exists():
            with np.load(path, allow_pickle=False) as archive:
                arrays |= {name: archive[name] for name in archive.files}
    return arrays


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

    def save(
        self, job: Job, rows: Iterable[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Keep the rows and arrays of a job; the rows last, since they mark it as done.

        Raises:
            OSError: if the folder cannot be written.
        """
        with _files.open_atomically(self.rows(job).with_suffix(".npz")) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        write_rows(self.rows(job), rows)


def open_study(
    config: StudyConfig, dataset: ImageDataset, training_distances: Mapping[str, float]
) -> StudyFolder:
    """Make the folder of a study, or continue one that has the same settings and data.

    Args:
        config: the study.
        dataset: its data.
        training_distances: distances of the training images to the held-out ones, for comparison.

    Raises:
        InputError: if the folder belongs to another study, or to something else.
        OSError: if it cannot be written.
    """
    path = config.place.output_dir / config.place.name
    settings = _files.plain(config)
    # Where a study runs, and how many runs at once, does not change what it is.
    settings["place"] = {"seed": config.place.seed}
    tree = {
        "config": settings,
        "dataset": dataset.name,
        "image_shape": list(dataset.image_shape),
        "fingerprint": checksum(dataset),
        "cells": [cell.name for cell in cells(config)],
    }
    if path.exists():
        _require_same(path, tree)
        return StudyFolder(path, config)
    (path / "cells").mkdir(parents=True)
    versions = {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("tempered-ebm", "jax", "blackjax")
    }
    tree |= {"floor": dict(training_distances), "versions": versions}
    _files.write_json(path / "config.json", tree)
    return StudyFolder(path, config)


def _require_same(path: Path, tree: dict[str, Any]) -> None:
    try:
        found = read_settings(path)
    except InputError as error:
        raise InputError(f"{error}; give another --name") from error
    different = [
        f"{section}.{name}"
        for section, values in tree["config"].items()
        for name, value in values.items()
        if found.get("config", {}).get(section, {}).get(name) != value
    ]
    different += [name for name in ("fingerprint", "image_shape") if found.get(name) != tree[name]]
    if different:
        raise InputError(
            f"{path} holds a study with another {', '.join(different)}; give another --name, or "
            "the same settings to continue it"
        )
