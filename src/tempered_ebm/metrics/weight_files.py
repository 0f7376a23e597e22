"""Weights of a network by name, from the files people have them in."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from tempered_ebm.errors import InputError
from tempered_ebm.metrics.archives import read_archive
from tempered_ebm.metrics.torch_checkpoint import read_torch_checkpoint

_SAFETENSORS_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read the format's 8 bytes of length, JSON header and data."""
    try:
        content = path.read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length].decode())
        arrays = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            dtype, shape = _SAFETENSORS_DTYPES[entry["dtype"]], tuple(entry["shape"])
            start, stop = entry["data_offsets"]
            if not 0 <= start <= stop <= len(content) - 8 - length:
                raise ValueError(f"{name} reaches outside of the file")
            if stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} of shape {shape} does not have {stop - start} bytes")
            data = content[8 + length + start : 8 + length + stop]
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
        return arrays
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise InputError(f"weights file {path} cannot be read as safetensors: {error}") from error


def read_weights(path: Path | str) -> dict[str, np.ndarray]:
    """Arrays by name from a ``.pth``, ``.pt``, ``.npz`` or ``.safetensors`` file.

    No pickle is executed, see ``read_torch_checkpoint``.

    Args:
        path: the file; its ending says what it is.

    Raises:
        InputError: if the file is missing or damaged, or its ending is another.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from tempered_ebm import metrics
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.npz"
        >>> np.savez(path, bias=np.zeros(3))
        >>> metrics.read_weights(path)
        {'bias': array([0., 0., 0.])}
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist, or is no file")
    if path.suffix in (".pth", ".pt"):
        return read_torch_checkpoint(path)
    if path.suffix == ".npz":
        return read_archive("weights file", path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise InputError(
        f"weights file {path} must end in .pth, .pt, .npz or .safetensors, got {path.suffix!r}"
    )


def require_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the tensors a network asks for in float32; others in the file are left.

    Args:
        path: what an error calls the file.
        tensors: what the file holds.
        shapes: what the network asks for.

    Raises:
        InputError: naming the first tensor that is missing, of another shape, or not finite.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            missing = sum(other not in tensors for other in shapes)
            raise InputError(
                f"weights file {path} has no tensor {name} of shape {shape}; of {len(shapes)} "
                f"tensors expected {missing} are missing"
            )
        array = tensors[name]
        if array.shape != shape:
            raise InputError(f"{name} in {path} must have shape {shape}, got {array.shape}")
        if array.dtype.kind in "OSUc" or not np.isfinite(array.astype(np.float32)).all():
            raise InputError(f"{name} in {path} must be finite real numbers, got {array.dtype}")
    return {name: tensors[name].astype(np.float32) for name in shapes}
