"""Images from a NumPy archive, and named arrays from ``.npz``, ``.csv`` and ``.json`` files."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tempered_ebm import _checks, _files
from tempered_ebm.datasets.dataset import ImageDataset, from_bytes, split_indices
from tempered_ebm.errors import InputError

_KEYS = ("x_train", "x_test", "y_train", "y_test")


def _to_images(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    where = f"{key} in {path}"
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise InputError(
            f"{where} has shape {array.shape}; expected (n, height, width) or "
            "(n, height, width, 1 or 3)"
        )
    if array.dtype == np.uint8:
        return from_bytes(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{where} has dtype {array.dtype}; expected uint8, or floats in [0, 1]")
    if not np.all(np.isfinite(array)):
        bad = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(1)))
        raise InputError(f"{where} holds NaN or infinity, first in image {bad}; expected [0, 1]")
    if array.min() < 0 or array.max() > 1:
        raise InputError(
            f"{where} has values from {array.min():g} to {array.max():g}; expected floats in "
            "[0, 1] (or uint8)"
        )
    return array.astype(np.float32) * 2.0 - 1.0


def _to_labels(path: Path, key: str, array: np.ndarray, num_images: int) -> np.ndarray:
    if array.shape not in ((num_images,), (num_images, 1)) or not np.issubdtype(
        array.dtype, np.integer
    ):
        raise InputError(
            f"{key} in {path} has shape {array.shape} and dtype {array.dtype}; expected "
            f"({num_images},) integers, one per image"
        )
    if array.min() < 0:
        raise InputError(f"{key} in {path} holds {array.min()}; expected classes from 0")
    return array.reshape(-1).astype(np.int32)


def load_npz(path: Path | str) -> ImageDataset:
    """Load images from an ``.npz`` file.

    Keys: ``x_train`` (n, height, width[, channels]), uint8 or floats in [0, 1]; optional
    ``x_test`` of the same image shape, without which a fixed fifth of ``x_train`` is
    held out; optional integer ``y_train`` and ``y_test``. Pickled content is refused.

    Args:
        path: the file.

    Raises:
        InputError: if the file is missing, damaged or pickled, or an array has another
            dtype, shape or range, or is not finite. The message names the file and the key.

    Example:
        >>> import pathlib, tempfile, numpy as np, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "images.npz"
        >>> np.savez(path, x_train=np.zeros((10, 8, 8), np.uint8))
        >>> te.datasets.load_npz(path).x_train.shape
        (8, 8, 8, 1)
    """
    path = _checks.path("path", path)
    arrays = _files.read_npz("data_file", path, any_of=["x_train"], keys=_KEYS)
    images = {key: _to_images(path, key, arrays[key]) for key in arrays if key.startswith("x_")}
    labels = {
        key: _to_labels(path, key, arrays[key], len(images["x_" + key[2:]]))
        for key in arrays
        if key.startswith("y_") and f"x_{key[2:]}" in images
    }
    if "x_test" not in images:
        train, test = split_indices(len(images["x_train"]))
        for kind, arrays in (("x", images), ("y", labels)):
            if (whole := arrays.get(f"{kind}_train")) is not None:
                arrays[f"{kind}_train"], arrays[f"{kind}_test"] = whole[train], whole[test]
    for key, array in images.items():
        if len(array) < 2:
            raise InputError(f"{key} in {path} has {len(array)} image; expected at least 2")
    if images["x_test"].shape[1:] != images["x_train"].shape[1:]:
        raise InputError(
            f"x_test in {path} has images of shape {images['x_test'].shape[1:]}; expected "
            f"{images['x_train'].shape[1:]}, as in x_train"
        )
    return ImageDataset(path.stem, **images, **labels)


def load_npz_held_out(path: Path | str) -> ImageDataset:
    """Load the held-out images of an ``.npz`` file, to compare others with.

    Args:
        path: a file as :func:`load_npz` takes it, or one without ``x_train``.

    Returns:
        A data set whose training and test images are both the held-out ones: ``x_test``, or the
        fifth of ``x_train`` that :func:`load_npz` holds out.

    Raises:
        InputError: as :func:`load_npz` does.

    Example:
        >>> import pathlib, tempfile, numpy as np, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "images.npz"
        >>> np.savez(path, x_test=np.zeros((10, 8, 8), np.uint8))
        >>> te.datasets.load_npz_held_out(path).x_test.shape
        (10, 8, 8, 1)
    """
    path = _checks.path("path", path)
    arrays = _files.read_npz("data_file", path, any_of=["x_test", "x_train"], keys=_KEYS)
    if "x_test" in arrays:
        x = _to_images(path, "x_test", arrays["x_test"])
    else:
        x = load_npz(path).x_test
    return ImageDataset(path.stem, x, x)


def load_arrays(path: Path | str) -> dict[str, Any]:
    r"""Load named arrays from an ``.npz``, ``.csv`` or ``.json`` file.

    An ``.npz`` archive holds arrays by name; nothing pickled is loaded. A ``.csv`` file has a
    row of names, then rows of numbers; lines that begin with ``#`` are left out, and a column
    of whole numbers is an integer array. A ``.json`` file is an object of numbers and nested
    lists of them. Single numbers come as Python numbers, so that a model can take
    sizes.

    Args:
        path: the file; its ending tells the format.

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
    path = _checks.path("path", path)
    read_npz: Callable = functools.partial(_files.read_npz, "data file")
    readers = {".npz": read_npz, ".csv": _read_csv, ".json": _read_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"data file {path} must end in .npz, .csv or .json")
    if not path.is_file():
        found = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"data file {path} {found}; expected a file")
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
