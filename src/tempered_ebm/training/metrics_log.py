"""The table of training metrics: one row per logging interval, appended as training goes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tempered_ebm import _files
from tempered_ebm.errors import InputError


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a table of metrics as one array per column.

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


def truncate(path: Path, last_step: int) -> None:
    """Drop rows after ``last_step``, and a last line that was cut short by a crash.

    A table without rows is removed.
    """
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = lines[:1] + [
        line
        for line in lines[1:]
        if line.endswith("\n")
        and line.partition(",")[0].isdigit()
        and int(line.partition(",")[0]) <= last_step
    ]
    if len(kept) > 1:
        _files.write_atomically(path, "".join(kept).encode())
    else:
        path.unlink()


def append(path: Path, row: Mapping[str, float]) -> None:
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
