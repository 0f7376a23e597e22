"""CIFAR-10 in its binary version, or in the pickles of its Python version."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tempered_ebm.datasets import parts
from tempered_ebm.datasets.images import ImageDataset
from tempered_ebm.datasets.inert_pickle import load_inert_pickle
from tempered_ebm.errors import InputError

_PIXELS = 3 * 32 * 32
_BATCH = re.compile(r"data_batch_(\d+)(\.bin)?")
_SUBFOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")


def load_cifar10(data_dir: Path | str) -> ImageDataset:
    """Load CIFAR-10 (Krizhevsky 2009): photographs of ten classes, 32x32 in colour.

    The binary version has files ``data_batch_N.bin`` and ``test_batch.bin`` of records of 3073
    bytes: a label, then a red, a green and a blue plane. The Python version has pickles of the
    same names without an ending, read by :func:`load_inert_pickle`, which executes nothing. All
    the ``data_batch`` files that are there become the training set, in numerical order: the whole
    set has five, of 10,000 images each. Where both versions are, the binary one is read.

    Args:
        data_dir: folder with the files, or with ``cifar-10-batches-bin`` or
            ``cifar-10-batches-py`` in it.

    Returns:
        Images of shape (32, 32, 3) and labels from 0 to 9, in the order of the files.

    Raises:
        InputError: if files are missing or damaged, a pickle asks for anything but plain data,
            or labels and images do not match. The message names the file.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_cifar10("nowhere")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: data_dir nowhere does not exist; expected a folder
    """
    root = parts.folder(data_dir)
    for ending, read in ((".bin", _read_binary), ("", _read_pickle)):
        for path in (root, *(root / name for name in _SUBFOLDERS)):
            train = _batches(path, ending)
            if train:
                test = path / f"test_batch{ending}"
                if not test.is_file():
                    raise InputError(f"data_dir {path} has {train[0].name} but no {test.name}")
                return parts.assemble("cifar10", _together([read(f) for f in train]), read(test))
    raise InputError(
        f"data_dir {root} has no CIFAR-10: expected data_batch_1.bin and so on, or data_batch_1 "
        "and so on"
    )


def _batches(path: Path, ending: str) -> list[Path]:
    matches = [(_BATCH.fullmatch(file.name), file) for file in path.glob("data_batch_*")]
    found = [(int(m[1]), file) for m, file in matches if m and (m[2] or "") == ending]
    return [file for _, file in sorted(found)]


def _together(batches: list[parts.Part]) -> parts.Part:
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return parts.Part(np.concatenate([batch.pixels for batch in batches]), np.concatenate(labels))


def _images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _read_binary(file: Path) -> parts.Part:
    content = np.fromfile(file, np.uint8)
    if content.size == 0 or content.size % (1 + _PIXELS):
        raise InputError(
            f"{file} has {content.size} bytes; expected records of {1 + _PIXELS}, a label and "
            f"{_PIXELS} pixels each"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return parts.labelled(str(file), _images(records[:, 1:]), records[:, 0], 10)


def _read_pickle(file: Path) -> parts.Part:
    tree = {
        key.decode("latin-1") if isinstance(key, bytes) else key: value
        for key, value in load_inert_pickle(file).items()
    }
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
    return parts.labelled(f"labels in {file}", _images(pixels), np.array(labels, np.int32), 10)
