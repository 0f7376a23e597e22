"""Arrays in NumPy archives: written whole or not at all, read without pickles."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tempered_ebm.errors import InputError

# A damaged header can claim any size, encryption or compression.
_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_archive(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, so that a reader, or a crash, sees the old file or the new one.

    Args:
        path: the file, whose folder exists.
        arrays: what to write; object arrays are refused, for they would be pickled.

    Raises:
        InputError: if an array holds objects.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from tempered_ebm.metrics.archives import read_archive, write_archive
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.npz"
        >>> write_archive(path, {"x": np.arange(3)})
        >>> read_archive("cache", path)["x"]
        array([0, 1, 2])
    """
    path = Path(path)
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise InputError(f"{name} must be an array of numbers or characters, got objects")
    content = io.BytesIO()
    # NumPy's signature takes a flag beside the arrays.
    np.savez(content, **dict(arrays))  # type: ignore[arg-type]
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_archive(name: str, path: Path | str) -> dict[str, np.ndarray]:
    """Read every array of an ``.npz`` file; pickled content is refused.

    Args:
        name: what an error calls the file.
        path: the file.

    Raises:
        InputError: if the file is missing or damaged, or holds pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"{name} {path} {what}; expected an .npz file")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        with archive:
            arrays = {key: archive[key] for key in archive.files}
        for key, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"its member {key} is no array")
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason or "pickle" in reason:
            reason = "it is no NumPy file, or holds pickled objects, which are never loaded"
        raise InputError(
            f"{name} {path} cannot be read as an .npz archive of plain arrays: {reason}"
        ) from error
    return arrays
