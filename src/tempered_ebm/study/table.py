"""The tidy table of a study: one row per cell, repeat and measurement."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tempered_ebm import _files
from tempered_ebm.errors import InputError

GROUPS = ("prior", "generator", "all")
STATISTICS = (
    "variance",
    "mcmc_variance",
    "minibatch_variance",
    "squared_norm",
    "signal_to_noise",
    "squared_bias",
    "squared_bias_error",
    "cosine",
    "legacy_variance",
)
TEXT = ("cell", "estimator", "schedule", "dataset")
SETTINGS = (
    "cell",
    "estimator",
    "schedule",
    "power",
    "num_temperatures",
    "batch_size",
    "posterior_steps",
    "metropolis",
    "replica_exchange",
    "dataset",
)
COLUMNS = (
    *SETTINGS,
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
    """Columns of equal length, by name: strings where ``TEXT`` says so, else floats.

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

    def measured(self, name: str) -> Table:
        """Rows in which a column was measured and is finite."""
        return self.rows(np.isfinite(self[name]))

    def cells(self) -> list[str]:
        """Cells in order of appearance."""
        return list(dict.fromkeys(self["cell"].tolist()))


class Mean(NamedTuple):
    """Mean over repeats with its standard error (NaN for a single one) and their number."""

    value: float
    error: float
    number: int


def mean(values: np.ndarray) -> Mean:
    """Mean of the finite values."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Mean(float("nan"), float("nan"), 0)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return Mean(float(values.mean()), float(error), len(values))


def over_repeats(table: Table, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps at which a column was measured, its means over repeats and their errors."""
    measured = table.measured(name)
    steps = np.unique(measured["step"])
    means = [mean(measured.where(step=step)[name]) for step in steps]
    return steps, np.array([m.value for m in means]), np.array([m.error for m in means])


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return ""
    if isinstance(value, float | np.floating):
        value = float(value)
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows atomically; what is missing, None or not finite becomes an empty field.

    Raises:
        OSError: if the file cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_text(row.get(name)) for name in COLUMNS] for row in rows)
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
        columns = dict(zip(COLUMNS, zip(*rows) if rows else [()] * len(COLUMNS)))
        return Table(
            {
                name: np.array(values, str)
                if name in TEXT
                else np.array([float(value) if value else np.nan for value in values])
                for name, values in columns.items()
            }
        )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected the table of a study") from None
    except ValueError as error:
        raise InputError(f"{path} is not the table of a study: {error}") from error


def merge(folder: Path) -> Table:
    """Merge the rows of all finished jobs into ``table.csv``, in the order of the grid.

    Where pyarrow is installed ``table.parquet`` is written beside it.

    Args:
        folder: the study folder.

    Raises:
        InputError: if it is not one, or a table in it is damaged.
        OSError: if it cannot be written.
    """
    order = {name: i for i, name in enumerate(settings(folder)["cells"])}
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
    buffer = io.BytesIO()
    pq.write_table(pa.table(table.columns), buffer)
    _files.write_atomically(path, buffer.getvalue())


def settings(folder: Path) -> dict[str, Any]:
    """What ``config.json`` of a study folder says.

    Raises:
        InputError: if the folder is not that of a study.
    """
    file = folder / "config.json"
    try:
        tree = json.loads(file.read_text())
        if not isinstance(tree, dict) or "cells" not in tree:
            raise ValueError("it lists no cells")
    except FileNotFoundError:
        raise InputError(f"{folder} is not a study folder: expected a config.json in it") from None
    except ValueError as error:
        raise InputError(f"{file} is not that of a study: {error}") from error
    return tree


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of all finished jobs, by ``"cell:name"``."""
    arrays: dict[str, np.ndarray] = {}
    for path in sorted((folder / "cells").glob("*.npz")):
        if path.with_suffix(".csv").exists():
            with np.load(path, allow_pickle=False) as archive:
                arrays |= {name: archive[name] for name in archive.files}
    return arrays
