"""Decoded pictures in one file, found again by what they were made of."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tempered_ebm.errors import InputError

_VERSION = 1
_DAMAGE = (ValueError, EOFError, OSError, MemoryError)


def key_of(files: Sequence[Path], root: Path, settings: Any) -> str:
    """Checksum of the names, sizes and modification times of files, and of settings.

    Args:
        files: paths under ``root`` that exist.
        root: folder that names are relative to, so that it may be moved.
        settings: plain values.

    Returns:
        32 hexadecimal digits of SHA-256.

    Raises:
        InputError: if a file does not exist.
    """
    digest = hashlib.sha256(json.dumps([_VERSION, settings]).encode())
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        line = [file.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()[:32]


def stored(
    path: Path, num_images: int, rows: Iterator[UInt8[np.ndarray, "h w c"]]
) -> UInt8[np.ndarray, "n h w c"]:
    """Map the array in ``path``, which is first made of ``rows`` if it is missing or damaged.

    The file appears whole or not at all, whatever happens to the process.

    Args:
        path: an ``.npy`` file.
        num_images: number of rows.
        rows: images of one shape, uint8; not read if the file is good.

    Returns:
        (num_images, height, width, channels), uint8: a read-only memory map, or an array if the
        folder cannot be written to, of which a warning tells.

    Raises:
        OSError: if the disk fails or is full while the file is written; it names the file.
    """
    kept = _mapped(path, num_images)
    if kept is not None:
        return kept
    first = next(rows)
    shape = (num_images, *first.shape)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        warnings.warn(
            f"cannot keep decoded pictures in {path.parent} ({error.strerror}): they are decoded "
            "again every time",
            stacklevel=2,
        )
        return np.stack([first, *rows])
    try:
        with os.fdopen(descriptor, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            for row in itertools.chain([first], rows):
                file.write(row.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _mapped(path: Path, num_images: int) -> np.ndarray | None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGE:
        return None
    is_good = (
        isinstance(array, np.ndarray)
        and array.dtype == np.uint8
        and array.ndim == 4
        and len(array) == num_images
    )
    return array if is_good else None
