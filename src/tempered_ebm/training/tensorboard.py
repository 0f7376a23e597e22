"""TensorBoard events: the rows of the tables once more, for those who look at them there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tempered_ebm.errors import InputError


def _writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise InputError(
            "--tensorboard needs the package tensorboardX; install 'tempered-ebm[train]'"
        ) from None
    return SummaryWriter(str(folder))


class EventLog:
    """Events of a run. They are a copy of tables and hold nothing that these do not.

    Args:
        folder: folder of the events; what it holds is replaced.
        tables: rows to begin with, by the name of their group.

    Raises:
        InputError: if tensorboardX is not installed.
    """

    def __init__(self, folder: Path, tables: Mapping[str, Iterable[Mapping[str, float]]]):
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = _writer(folder)
        for group, rows in tables.items():
            for row in rows:
                self._add(group, row)
        self._writer.flush()

    def _add(self, group: str, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, int(row["step"]))

    def append(self, group: str, row: Mapping[str, float]) -> None:
        """Write one row; it is in the file when this returns."""
        self._add(group, row)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
