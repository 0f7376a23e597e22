"""Write files atomically, and read and write JSON: the one place that does either."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

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
