"""MNIST, Fashion-MNIST and Kuzushiji-MNIST in their idx format, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from tempered_ebm import _checks
from tempered_ebm.datasets import dataset as data
from tempered_ebm.datasets.dataset import ImageDataset
from tempered_ebm.errors import InputError

_UNSIGNED_BYTE = 0x08
_CHUNK = 1 << 20


def load_mnist(data_dir: Path | str) -> ImageDataset:
    """Load MNIST (LeCun, Cortes and Burges 1998): handwritten digits, 28x28, classes 0 to 9.

    Args:
        data_dir: folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
            ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or as ``.gz``.

    Returns:
        Images of shape (28, 28, 1) and labels, in the order of the files.

    Raises:
        InputError: if a file is missing or damaged, or labels and images do not match. The
            message names the file.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_mnist("nowhere")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: data_dir nowhere does not exist; expected a folder
    """
    return _load("mnist", data_dir)


def load_fashion_mnist(data_dir: Path | str) -> ImageDataset:
    """Load Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): clothes, 28x28, classes 0 to 9.

    Args:
        data_dir: folder with files of the same four names as MNIST's, plain or as ``.gz``.

    Raises:
        InputError: as for :func:`load_mnist`.
    """
    return _load("fashion_mnist", data_dir)


def load_kmnist(data_dir: Path | str) -> ImageDataset:
    """Load Kuzushiji-MNIST (Clanuwat et al. 2018): cursive Japanese, 28x28, classes 0 to 9.

    Args:
        data_dir: folder with files of the same four names as MNIST's, plain or as ``.gz``.

    Raises:
        InputError: as for :func:`load_mnist`.
    """
    return _load("kmnist", data_dir)


def _load(name: str, data_dir: Path | str) -> ImageDataset:
    path = data.require_folder(data_dir)
    files = [
        _find(path, f"{prefix}-{kind}-ubyte")
        for prefix in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return data.assemble(name, _read_images(*files[:2]), _read_images(*files[2:]))


def _find(data_dir: Path, name: str) -> Path:
    for path in (data_dir / name, data_dir / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"data_dir {data_dir} has no file {name} or {name}.gz")


def _read_images(image_file: Path, label_file: Path) -> data.LabelledPixels:
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.shape[1:] != (28, 28):
        raise InputError(f"{image_file} holds shape {images.shape}; expected (n, 28, 28)")
    if labels.ndim != 1:
        raise InputError(f"{label_file} holds shape {labels.shape}; expected (n,)")
    return data.label_pixels(str(label_file), images[..., None], labels, 10)


def read_idx(path: Path | str) -> UInt8[np.ndarray, "*shape"]:
    """Read an array of bytes from an idx file (LeCun's format), compressed if it ends in ``.gz``.

    The file is two zero bytes, the type (8 for unsigned bytes), the number of dimensions, their
    sizes as big-endian 32-bit integers, and the bytes, the last dimension varying fastest.

    Args:
        path: the file.

    Returns:
        The array, uint8, of the shape that the file states.

    Raises:
        InputError: if the file is missing, is compressed but damaged, begins otherwise, or holds
            more or fewer bytes than its shape asks for.

    Example:
        >>> import pathlib, tempfile, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "bytes-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
        >>> te.datasets.read_idx(path)
        array([7, 8, 9], dtype=uint8)
    """
    path = _checks.path("path", path)
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is no file; expected an idx file")
    try:
        with open(path, "rb") as file:
            if path.suffix != ".gz":
                return _read(path, file)
            with gzip.GzipFile(fileobj=file) as content:
                return _read(path, content)
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as an idx file: {reason}") from error


def _read(path: Path, file: BinaryIO | gzip.GzipFile) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= magic[3] <= 4:
        raise InputError(
            f"{path} begins with {magic.hex(' ') or 'nothing'}; expected 00 00 08 and the number "
            "of dimensions, as an idx file of bytes does"
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise InputError(f"{path} ends within its header; expected {magic[3]} sizes")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    expected = math.prod(shape)
    content = _read_at_most(file, expected + 1)
    if len(content) != expected:
        got = "more" if len(content) > expected else str(len(content))
        raise InputError(f"{path} states shape {shape}; expected {expected} bytes, got {got}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_at_most(file: BinaryIO | gzip.GzipFile, size: int) -> bytes:
    """Read up to ``size`` bytes."""
    # Chunk by chunk, because a damaged header can claim a size beyond all memory.
    content = bytearray()
    while len(content) < size:
        chunk = file.read(min(_CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    return bytes(content)
