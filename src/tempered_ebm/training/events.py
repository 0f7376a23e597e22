"""Rollbacks of a run, written down as they happen."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

from tempered_ebm.training import kinds, metrics_log
from tempered_ebm.training.config import Config


class Rollback(NamedTuple):
    """One return to a checkpoint.

    Attributes:
        rollback: its number, from 1.
        step: updates made when it was decided.
        target: updates behind the checkpoint returned to; 0 is the start.
        scale: factor on the configured learning rates and step sizes from here on.
        reason: why, in words.
    """

    rollback: int
    step: int
    target: int
    scale: float
    reason: str


def read(path: Path) -> list[Rollback]:
    """The rollbacks of a run in order; a line cut short by a crash did not happen."""
    if not path.exists():
        return []
    content = path.read_text()
    rows = csv.DictReader(io.StringIO(content[: content.rfind("\n") + 1]))
    return [
        Rollback(
            int(row["rollback"]),
            int(row["step"]),
            int(row["target"]),
            float(row["scale"]),
            row["reason"],
        )
        for row in rows
    ]


def append(path: Path, event: Rollback) -> None:
    """Write down a rollback; it is on disk when this returns.

    Raises:
        OSError: if it cannot be written.
    """
    metrics_log.append(path, event._asdict())


def keep(path: Path, count: int) -> None:
    """Forget all rollbacks but the first ``count``."""
    metrics_log.truncate(path, count)


def scaled(config: Config, rollbacks: int) -> Config:
    """The configuration after some rollbacks: smaller learning rates and step sizes."""
    return kinds.of(config).scaled(config, config.guard.rollback_factor**rollbacks)
