"""Named arrays from a file: the data of a model, by the names of its arguments."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tempered_ebm.errors import InputError

# A damaged header can claim any size, encryption or compression.
_DAMAGE = (ValueError, EOFError, OSError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def load_arrays(path: Path | str) -> dict[str, Any]:
    r"""Load named arrays from an ``.npz``, ``.csv`` or ``.json`` file.

    An ``.npz`` archive holds arrays by name; nothing pickled is loaded. A ``.csv`` file has a
    row of names, then rows of numbers; lines that begin with ``#`` are left out, and a column
    of whole numbers is an integer array. A ``.json`` file is an object of numbers and nested
    lists of them. Single numbers come as Python numbers, so that a model can take
    sizes.

    Args:
        path: the file; its ending says what it is.

    Raises:
        InputError: if the file is missing, damaged or of another kind, or a value is no array
            of numbers. The message names the file and the place.

    Example:
        >>> import pathlib, tempfile, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.csv"
        >>> _ = path.write_text("x,count\n0.5,3\n1.5,4\n")
        >>> te.datasets.load_arrays(path)
        {'x': array([0.5, 1.5]), 'count': array([3, 4])}
    """
    path = Path(path)
    reader = {".npz": _read_npz, ".csv": _read_csv, ".json": _read_json}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"data file {path} must end in .npz, .csv or .json")
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"data file {path} {what}")
    arrays = {name: _numbers(path, name, value) for name, value in reader(path).items()}
    if not arrays:
        raise InputError(f"data file {path} holds no array")
    return arrays


def _numbers(path: Path, name: str, value: Any) -> Any:
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{name} in {path} is a list of rows of unequal length") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} in {path} must hold numbers, got dtype {array.dtype}")
    return array.item() if array.ndim == 0 else array


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"data file {path} is a single array; expected an .npz archive")
        with archive:
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:
            reason = "it is no NumPy file, or holds pickled objects, which are never loaded"
        raise InputError(f"data file {path} cannot be read as an .npz archive: {reason}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"data file {path} is not UTF-8 text: {error.reason}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"data file {path} is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise InputError(
            f"data file {path} must hold an object of arrays by name, got {type(tree).__name__}"
        )
    return tree


def _read_csv(path: Path) -> dict[str, Any]:
    lines = enumerate(_text(path).splitlines(), 1)
    kept = [(n, line) for n, line in lines if line.strip() and not line.startswith("#")]
    try:
        rows = [(n, next(csv.reader([line], skipinitialspace=True))) for n, line in kept]
    except csv.Error as error:
        raise InputError(f"data file {path} is not CSV: {error}") from error
    if len(rows) < 2:
        raise InputError(f"data file {path} must have a row of names and rows of numbers")
    names = [name.strip() for name in rows[0][1]]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        raise InputError(f"data file {path} must name every column once, got {names}")
    for n, cells in rows[1:]:
        if len(cells) != len(names):
            raise InputError(
                f"line {n} of {path} has {len(cells)} values; expected {len(names)}, one for each "
                f"of {names}"
            )
    return {
        name: _column(path, name, [(n, cells[i]) for n, cells in rows[1:]])
        for i, name in enumerate(names)
    }


def _column(path: Path, name: str, cells: list[tuple[int, str]]) -> np.ndarray:
    try:
        return np.array([int(cell) for _, cell in cells], np.int64)
    except (ValueError, OverflowError):
        return np.array([_number(path, name, n, cell) for n, cell in cells])


def _number(path: Path, name: str, line: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(
            f"line {line} of {path}: {name} must be a number, got {cell.strip()!r}"
        ) from None
