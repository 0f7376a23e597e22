"""Rollbacks of a run, written down as they happen."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import NamedTuple

from tempered_ebm.training import metrics_log
from tempered_ebm.training.config import TrainConfig


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


def scaled(config: TrainConfig, rollbacks: int) -> TrainConfig:
    """The configuration after some rollbacks: smaller learning rates and step sizes."""
    scale = config.guard.rollback_factor**rollbacks
    optimizer = dataclasses.replace(
        config.optimizer,
        prior_learning_rate=config.optimizer.prior_learning_rate * scale,
        generator_learning_rate=config.optimizer.generator_learning_rate * scale,
    )
    chain = dataclasses.replace(
        config.chain,
        prior_step_size=config.chain.prior_step_size * scale,
        posterior_step_size=config.chain.posterior_step_size * scale,
    )
    return dataclasses.replace(config, optimizer=optimizer, chain=chain)
