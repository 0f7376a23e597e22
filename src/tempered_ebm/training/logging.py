"""Tables, pictures and TensorBoard events that a run writes into its folder."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tempered_ebm import _files, plotting
from tempered_ebm.errors import InputError
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.task import Evaluated

Row = Mapping[str, float]


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Return a table of metrics, one array per column.

    Raises:
        InputError: if the file is missing or no table of numbers with a ``step`` column.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        table = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a table of metrics") from None
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path} is not a table of metrics: {error}") from error
    if "step" not in table:
        raise InputError(f"{path} has no column step; found {sorted(table)}")
    return table


def truncate_table(path: Path, last_step: int) -> None:
    """Drop rows after ``last_step``, and a last line that was cut short by a crash.

    A table without rows is removed.
    """
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = lines[:1]
    for line in lines[1:]:
        step = line.partition(",")[0]
        if line.endswith("\n") and step.isdigit() and int(step) <= last_step:
            kept.append(line)
    if len(kept) > 1:
        _files.write_atomically(path, "".join(kept).encode())
    else:
        path.unlink()


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Append one row, with a header if the file is new. ``step`` comes first.

    Raises:
        OSError: if the row cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(row), lineterminator="\n")
    if not path.exists() or path.stat().st_size == 0:
        writer.writeheader()
    writer.writerow(row)
    with _files.errors_naming(path), path.open("a") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())


def _event_writer(folder: Path) -> Any:
    """Return a writer of TensorBoard events; those that the folder holds are removed."""
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise InputError(
            "--tensorboard needs the package tensorboardX; install 'tempered-ebm[train]'"
        ) from None
    shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder))


def _rows_until(path: Path, step: int) -> list[dict[str, float]]:
    if not path.exists():
        return []
    table = read_table(path)
    rows = (dict(zip(table, map(float, values))) for values in zip(*table.values()))
    return [row for row in rows if row["step"] <= step]


class Records:
    """The records of a run up to a step, and those to come.

    Args:
        folder: the run folder.
        step: later rows and pictures are removed.
        is_main_process: whether this process writes; the others only remember.

    Attributes:
        rows: rows of metrics until now.

    Raises:
        InputError: if events are asked for, and tensorboardX is not installed.
    """

    def __init__(self, folder: RunFolder, step: int, *, is_main_process: bool = True):
        self._folder, self._writes = folder, is_main_process
        self._events: Any = None
        self._tables = {
            "training": folder.metrics,
            "validation": folder.validation,
            "gradients": folder.gradients,
        }
        if is_main_process:
            for table in self._tables.values():
                truncate_table(table, step)
            for picture in folder.figures.glob("chains-*.png"):
                if int(picture.stem.removeprefix("chains-")) > step:
                    picture.unlink()
        past = {group: _rows_until(path, step) for group, path in self._tables.items()}
        self.rows = past["training"]
        self._validation: Row = past["validation"][-1] if past["validation"] else {}
        if is_main_process and folder.config.logging.tensorboard:
            self._events = _event_writer(folder.tensorboard)
            for group, rows in past.items():
                self._add_events(group, *rows)

    def _add_events(self, group: str, *rows: Row) -> None:
        """Write rows as events; they are in the file when this returns."""
        for row in rows:
            for name in row.keys() - {"step"}:
                self._events.add_scalar(f"{group}/{name}", row[name], int(row["step"]))
        self._events.flush()

    @property
    def seconds(self) -> float:
        """Seconds of training until the newest row."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    @property
    def newest(self) -> dict[str, float]:
        """Newest metrics and validation metrics by name."""
        both = {**(self.rows[-1] if self.rows else {}), **self._validation}
        return {name: value for name, value in both.items() if name not in ("step", "seconds")}

    def add(self, group: Literal["training", "validation", "gradients"], row: Row) -> None:
        """Append a row of metrics, validation metrics, or statistics of the learning gradient."""
        if group == "training":
            self.rows.append(dict(row))
        elif group == "validation":
            self._validation = dict(row)
        if self._writes:
            append_row(self._tables[group], row)
        if self._events is not None:
            self._add_events(group, row)

    def add_picture(self, step: int, images: Float[np.ndarray, "n h w c"]) -> None:
        """Write a picture of images in [-1, 1] into the folder of figures."""
        figure = plotting.image_panels({f"prior chains after {step} updates": images})
        path = self._folder.figures / f"chains-{step:08d}.png"
        _files.write_atomically(path, plotting.to_png(figure))

    def close(self) -> None:
        """Close what is open."""
        if self._events is not None:
            self._events.close()


def write_evaluation(folder: RunFolder, evaluated: Evaluated) -> None:
    """Write ``evaluation.json`` and the pictures of a run, with the curves of its training.

    Raises:
        OSError: if the folder cannot be written.
    """
    _files.write_json(folder.evaluation, asdict(evaluated.table))
    figures = dict(evaluated.figures)
    if folder.metrics.exists():
        held_out = read_table(folder.validation) if folder.validation.exists() else None
        figures["training_curves"] = plotting.training_curves(read_table(folder.metrics), held_out)
    folder.figures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        _files.write_atomically(folder.figures / f"{name}.png", plotting.to_png(figure))
