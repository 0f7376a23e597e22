"""PyTorch checkpoints read without PyTorch, and without running what is in them.

A checkpoint is a pickle, and a pickle is a program. This reader knows three of its words:
the ordered dictionary, the storage types, and the function that makes a tensor of a
storage. Any other name a file asks for is refused before anything is called. Both layouts
are read: the zip archive (PyTorch 1.6 and later) and the older sequence of pickles.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from tempered_ebm.errors import InputError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
)


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """Stands for ``torch._utils._rebuild_tensor_v2``; has no attributes a pickle could set."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise ValueError("a tensor without a storage, or with strides of another rank")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a tensor whose shape, strides or offset are not natural numbers")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Knows tensors, storages and ordered dictionaries, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        raise InputError(
            f"it asks for {module}.{name}, and a checkpoint of tensors needs only "
            "collections.OrderedDict, torch storages and torch._utils._rebuild_tensor_v2; "
            "nothing was run"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, size, *view = pid
        if (
            kind != "storage"
            or not isinstance(storage_type, _StorageType)
            or view not in ([], [None])
        ):
            raise ValueError("a reference to something other than a whole storage")
        if type(size) is not int or size < 0 or not isinstance(key, str):
            raise ValueError("a storage without a name or a size")
        return _Storage(key, storage_type.dtype, size)


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file, encoding="utf-8").load()


def _read_zip(content: bytes) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip archive without the one data.pkl of a checkpoint")
        order = f"{roots[0]}byteorder"
        if order in names and archive.read(order) != b"little":
            raise ValueError("it was written on a big-endian machine")
        tree = _load(io.BytesIO(archive.read(f"{roots[0]}data.pkl")))
        prefix = f"{roots[0]}data/"
        data = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
        return tree, {key: archive.read(name) for key, name in data.items()}


def _read_legacy(content: bytes) -> tuple[Any, dict[str, bytes]]:
    file = io.BytesIO(content)
    if _load(file) != _LEGACY_MAGIC:
        raise ValueError("it does not begin as a checkpoint does")
    version, system = _load(file), _load(file)
    if version != 1001 or not isinstance(system, dict) or not system.get("little_endian"):
        raise ValueError("its protocol is not 1001, or it was written on a big-endian machine")
    tree = _load(file)
    sizes = {tensor.storage.key: tensor.storage for tensor in _tensors(tree).values()}
    data = {}
    for key in _load(file):
        (count,) = struct.unpack("<q", file.read(8))
        if key not in sizes:
            raise ValueError(f"storage {key} belongs to no tensor")
        if count != sizes[key].size:
            raise ValueError(f"storage {key} holds {count} numbers, not {sizes[key].size}")
        data[key] = file.read(count * sizes[key].dtype.itemsize)
    return tree, data


def _tensors(tree: Any) -> dict[str, _Tensor]:
    if not isinstance(tree, dict):
        raise ValueError(f"it holds a {type(tree).__name__}, not tensors by name")
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"its entry {name!r} is a {type(value).__name__}, not a tensor")
    return tree


def _array(tensor: _Tensor, data: dict[str, bytes]) -> np.ndarray:
    storage = tensor.storage
    if len(data[storage.key]) < storage.size * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} is cut short")
    numbers = np.frombuffer(data[storage.key], storage.dtype, storage.size)
    size = math.prod(tensor.shape)
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if size > storage.size or (size and tensor.offset + last >= storage.size):
        raise ValueError(f"a tensor of shape {tensor.shape} reaches outside of its storage")
    if size == 0:
        return np.zeros(tensor.shape, storage.dtype)
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return view.copy()


def read_torch_checkpoint(path: Path | str) -> dict[str, np.ndarray]:
    """Tensors by name from a ``.pth`` file, a saved ``state_dict``.

    Nothing in the file is executed: names other than those of ordered dictionaries,
    storages and ``torch._utils._rebuild_tensor_v2`` are refused, and shapes are checked
    against the bytes that are there. PyTorch is not needed.

    Args:
        path: the file, in the zip or the older layout, of a little-endian machine.

    Returns:
        Arrays of the shapes and types of the tensors.

    Raises:
        InputError: naming the file, if it is missing or damaged, holds something other than
            tensors by name, or asks for another name, which the message gives.

    Example:
        >>> import pathlib, pickle, tempfile
        >>> from tempered_ebm import metrics
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.pth"
        >>> _ = path.write_bytes(pickle.dumps(print))
        >>> metrics.read_torch_checkpoint(path)
        Traceback (most recent call last):
            ...
        tempered_ebm.errors.InputError: weights file ... it asks for builtins.print, ...
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        tree, data = _read_zip(content) if content[:4] == b"PK\x03\x04" else _read_legacy(content)
        return {name: _array(tensor, data) for name, tensor in _tensors(tree).items()}
    except InputError as error:
        raise InputError(f"weights file {path} is refused: {error}") from None
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"weights file {path} cannot be read as a PyTorch checkpoint: {reason}"
        ) from error
