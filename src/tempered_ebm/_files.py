"""Write files atomically, read and write JSON, read NumPy archives: the one place for each."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tempered_ebm.errors import InputError


@contextlib.contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Let disk errors inside this context name ``path``."""
    try:
        yield
    except OSError as error:
        # Errors of an open file descriptor carry no name of their own.
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` when the context ends without an error.

    A reader, or a crash at any moment, sees the old content or the new one. After an error the old
    content is still there and the temporary file beside it is gone.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    with errors_naming(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                # Without this a power failure may leave the new name with no content.
                os.fsync(file.fileno())
            # mkstemp makes files that their owner alone can read.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file by :func:`open_atomically`.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    with open_atomically(path) as file:
        file.write(content)


def plain(tree: Any) -> Any:
    """Convert dataclasses, named tuples, mappings, arrays and paths to values of JSON.

    A number that is not finite becomes null.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm._files import plain
        >>> plain({"a": np.array([1.0, np.nan]), "b": (True, "text")})
        {'a': [1.0, None], 'b': [True, 'text']}
    """
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return plain({field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)})
    if hasattr(tree, "_asdict"):
        return plain(tree._asdict())
    if isinstance(tree, Mapping):
        return {str(name): plain(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    if hasattr(tree, "tolist"):  # An array or a number, of NumPy or JAX.
        return plain(tree.tolist())
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else None
    return tree if isinstance(tree, str | int | None) else str(tree)


def write_json(path: Path, tree: Any) -> None:
    """Write plain values as indented JSON, atomically.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    write_atomically(path, (json.dumps(tree, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the values of a JSON file.

    Raises:
        InputError: naming the file, if its content is no JSON.
        OSError: if it cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # Bytes that are no UTF-8 raise a subclass, as bad JSON does.
        raise InputError(f"{path} is damaged: {error}") from error


# A damaged header can claim any size, encryption or compression.
_NPZ_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(
    name: str,
    path: Path,
    *,
    any_of: Collection[str] = (),
    keys: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file by name; pickled content is refused.

    Args:
        name: what an error calls the file.
        path: the file.
        any_of: names of which the file must hold one at least.
        keys: names of the arrays to read, if they are there; all by default.

    Raises:
        InputError: naming the file, if it is missing or damaged, holds pickled objects, or has
            none of the names.
    """
    if not path.is_file():
        found = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"{name} {path} {found}; expected an .npz file")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{name} {path} is a single array; expected an .npz archive")
        with archive:
            if any_of and not set(any_of) & set(archive.files):
                found, wanted = ", ".join(sorted(archive.files)) or "nothing", " or ".join(any_of)
                raise InputError(f"{name} {path} has no array {wanted}; it holds {found}")
            arrays = {key: archive[key] for key in archive.files if keys is None or key in keys}
    except InputError:
        raise
    except _NPZ_DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in reason:
            reason = "it is no NumPy file, or holds pickled objects, which are never loaded"
        raise InputError(
            f"{name} {path} cannot be read as an .npz archive of plain arrays: {reason}"
        ) from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{key} in {name} {path} is not a NumPy array")
    return arrays
