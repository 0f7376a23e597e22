"""CIFAR-10 in its binary version, or in the pickles of its Python version."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from tempered_ebm.datasets import dataset as data
from tempered_ebm.datasets.dataset import ImageDataset
from tempered_ebm.errors import InputError

_PIXELS = 3 * 32 * 32
_BATCH = re.compile(r"data_batch_(\d+)(\.bin)?")
_SUBFOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")


def load_cifar10(data_dir: Path | str) -> ImageDataset:
    """Load CIFAR-10 (Krizhevsky 2009): photographs of ten classes, 32x32 in colour.

    The binary version has files ``data_batch_N.bin`` and ``test_batch.bin`` of records of 3073
    bytes: a label, then a red, a green and a blue plane. The Python version has pickles of the
    same names without an ending. A pickle can name functions to be called; here one that names
    anything but the four names of an array of numbers is refused before anything is called. All
    the ``data_batch`` files in the folder become the training set, in numerical order: the whole
    set has five, of 10,000 images each. Where both versions are, the binary one is read.

    Args:
        data_dir: folder with the files, or with ``cifar-10-batches-bin`` or
            ``cifar-10-batches-py`` in it.

    Returns:
        Images of shape (32, 32, 3) and labels from 0 to 9, in the order of the files.

    Raises:
        InputError: if files are missing or damaged, a pickle names anything but arrays of numbers,
            or labels and images do not match. The message names the file.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_cifar10("nowhere")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: data_dir nowhere does not exist; expected a folder
    """
    root = data.require_folder(data_dir)
    for ending, read in ((".bin", _read_binary), ("", _read_pickle)):
        for path in (root, *(root / name for name in _SUBFOLDERS)):
            train = _batches(path, ending)
            if train:
                test = path / f"test_batch{ending}"
                if not test.is_file():
                    raise InputError(f"data_dir {path} has {train[0].name} but no {test.name}")
                return data.assemble("cifar10", _concatenate([read(f) for f in train]), read(test))
    raise InputError(
        f"data_dir {root} has no CIFAR-10: expected data_batch_1.bin and so on, or data_batch_1 "
        "and so on"
    )


def _batches(path: Path, ending: str) -> list[Path]:
    matches = [(_BATCH.fullmatch(file.name), file) for file in path.glob("data_batch_*")]
    found = [(int(m[1]), file) for m, file in matches if m and (m[2] or "") == ending]
    return [file for _, file in sorted(found)]


def _concatenate(batches: list[data.LabelledPixels]) -> data.LabelledPixels:
    labels = [batch.labels for batch in batches if batch.labels is not None]
    pixels = [batch.pixels for batch in batches]
    return data.LabelledPixels(np.concatenate(pixels), np.concatenate(labels))


def _images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _read_binary(file: Path) -> data.LabelledPixels:
    content = np.fromfile(file, np.uint8)
    if content.size == 0 or content.size % (1 + _PIXELS):
        raise InputError(
            f"{file} has {content.size} bytes; expected records of {1 + _PIXELS}, a label and "
            f"{_PIXELS} pixels each"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return data.label_pixels(str(file), _images(records[:, 1:]), records[:, 0], 10)


_NDARRAY = "numpy.ndarray"
"""Stands for the class of arrays in pickles, where nothing can call it."""


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if kind is not _NDARRAY or shape != (0,) or code not in ("b", b"b"):
        raise pickle.UnpicklingError("it makes an array in an unusual way")
    return np.empty(0, np.uint8)


def _numeric_dtype(code: Any, *_: Any) -> np.dtype:
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or not re.fullmatch("[biuf][1248]", text):
        raise pickle.UnpicklingError(f"it has an array of dtype {text!r}; expected numbers")
    return np.dtype(text)


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes text in an unusual way")
    return text.encode("latin-1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _numeric_dtype,
    ("_codecs", "encode"): _encode,
}


# The unpickler in C would let a few bytes ask for gigabytes of memo; the one in Python has a dict.
class _PlainUnpickler(pickle._Unpickler):
    """Reads containers, numbers, strings and arrays of numbers, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}; expected arrays and lists")
        value = _ADMITTED[module, name]
        # A new function each time, because a pickle may set attributes of what it finds.
        return (lambda *arguments: value(*arguments)) if callable(value) else value


def _read_pickle(file: Path) -> data.LabelledPixels:
    try:
        items = _PlainUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load().items()
        tree = {key.decode() if isinstance(key, bytes) else key: value for key, value in items}
    except Exception as error:  # A damaged byte can lead to any exception.
        raise InputError(f"{file} cannot be read as a pickle: {data.first_line(error)}") from error
    for key in ("data", "labels"):
        if key not in tree:
            raise InputError(f"{file} has no entry {key}; it holds {', '.join(map(str, tree))}")
    pixels, labels = tree["data"], tree["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise InputError(f"data in {file} has shape {np.shape(pixels)}; expected (n, {_PIXELS})")
    if pixels.dtype != np.uint8:
        raise InputError(f"data in {file} has dtype {pixels.dtype}; expected uint8")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"labels in {file} are no list of integers")
    if not all(0 <= label < 10 for label in labels):
        raise InputError(f"labels in {file} run from {min(labels)} to {max(labels)}; expected 0-9")
    return data.label_pixels(f"labels in {file}", _images(pixels), np.array(labels, np.int32), 10)
