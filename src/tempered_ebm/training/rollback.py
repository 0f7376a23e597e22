"""Divergence of training: when it is noticed, and the checkpoint that a run returns to.

Rollbacks are written down in ``events.csv`` as they happen.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tempered_ebm.errors import DivergedError
from tempered_ebm.training.checkpoints import Checkpoints, read_manifest
from tempered_ebm.training.config import Config, GuardConfig
from tempered_ebm.training.logging import append_row, truncate_table
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.state import SKIPPED, WatchedMetrics

_WINDOW = 20
_FEWEST = 3
_MOST_GAP = 5.0
_SETTLED, _FEWEST_GAPS = 500, 10
_ADVICE = "smaller step sizes or learning rates may help"


def divergence_reason(
    rows: Sequence[Mapping[str, float]],
    watched: WatchedMetrics,
    num_skipped: int,
    count: int,
    config: GuardConfig,
) -> str | None:
    """Return why training cannot go on like this, or None if it can.

    A value explodes if it exceeds a multiple of the median of its absolute value over the
    last rows, or of 1 if that is larger: losses and energies are in nats, and second
    moments relative to N(0, I). Before three rows there is nothing to compare losses and
    energies with; second moments begin at 1.

    Chains that no longer follow their density show in the gap between the energies of samples
    and of data, which then grows update by update: it is held against five times its median
    over the whole run, or 5 nats if that is larger, from update 500 on.

    Args:
        rows: rows of metrics until now, the newest last.
        watched: which metrics are held against what.
        num_skipped: updates skipped in a row until now.
        count: updates behind the newest row.
        config: the limits.
    """
    *past, row = rows
    done = int(row["step"])
    if row[SKIPPED] == count or num_skipped >= config.max_skipped:
        bad = max(count if row[SKIPPED] == count else 0, num_skipped)
        return f"every update from {done - bad + 1} to {done} had a gradient that is not finite"
    past = past[-_WINDOW:]
    for name in row:
        if name not in watched.in_nats and name not in watched.second_moments:
            continue
        if not math.isfinite(row[name]):
            return f"{name} at update {done} is {row[name]}, expected a finite value"
        if len(past) < _FEWEST and name in watched.in_nats:
            continue
        usual = max(1.0, median(abs(earlier[name]) for earlier in past or [{name: 1.0}]))
        if abs(row[name]) > config.explosion * usual:
            return (
                f"{name} at update {done} is {row[name]:.4g}, more than {config.explosion:g} times "
                f"its running median {usual:.4g}"
            )
    return _energy_gap_reason(rows, watched.energy_gap)


def _energy_gap_reason(rows: Sequence[Mapping[str, float]], name: str | None) -> str | None:
    *past, row = rows
    if name is None or row["step"] < _SETTLED or len(past) < _FEWEST_GAPS:
        return None
    usual = max(1.0, median(abs(earlier[name]) for earlier in past))
    if abs(row[name]) <= _MOST_GAP * usual:
        return None
    return (
        f"{name} at update {int(row['step'])} is {row[name]:.4g}, more than {_MOST_GAP:g} times "
        f"its median {usual:.4g}: the chains no longer follow their density (starts nearer to the "
        "data, or more steps, may help)"
    )


class Rollback(NamedTuple):
    """A return to a checkpoint.

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


def read_rollbacks(path: Path) -> list[Rollback]:
    """Return the rollbacks of a run in order; a line cut short by a crash did not happen."""
    if not path.exists():
        return []
    content = path.read_text()
    header_and_rows = csv.reader(io.StringIO(content[: content.rfind("\n") + 1]))
    return [
        Rollback(int(number), int(step), int(target), float(scale), reason)
        for number, step, target, scale, reason in list(header_and_rows)[1:]
    ]


def scaled_config(config: Config, rollbacks: int) -> Config:
    """Return the configuration after some rollbacks: smaller learning rates and step sizes."""
    return config.scaled(config.guard.rollback_factor**rollbacks)


def tidy(folder: RunFolder, checkpoints: Checkpoints) -> None:
    """Leave in the run folder only what belongs to the checkpoint from which the run goes on.

    What a killed writer left, checkpoints that a rollback had given up, damaged ones,
    and rollbacks that will happen again are removed.

    Raises:
        InputError: if every checkpoint is damaged.

    Warns:
        UserWarning: naming every damaged checkpoint.
    """
    checkpoints.clean()
    for leftover in folder.path.glob(".*.csv.*"):
        leftover.unlink()
    past = read_rollbacks(folder.events)
    if past:
        for step in checkpoints.steps():
            known = read_manifest(checkpoints.folder, step)
            if known is not None and known.rollbacks < len(past) and step > past[-1].target:
                checkpoints.discard(step)
    step = checkpoints.latest_step() if checkpoints.steps() else 0
    checkpoints.discard_after(step)
    known = read_manifest(checkpoints.folder, step)
    behind = 0 if known is None else known.rollbacks
    kept = [event.rollback for event in past if event.target == step]
    truncate_table(folder.events, max([behind, *kept]))


def resume_point(folder: RunFolder, checkpoints: Checkpoints) -> tuple[int, int]:
    """Return the step from which a tidy run goes on, 0 for the start, and the rollbacks behind."""
    return max(checkpoints.steps(), default=0), len(read_rollbacks(folder.events))


def roll_back(folder: RunFolder, checkpoints: Checkpoints, step: int, reason: str) -> str:
    """Write down a rollback and give up the checkpoints after its target.

    The target is the newest undamaged checkpoint of the schedule; the one before if the last
    rollback went there as well. Without checkpoints it is the start. What an interrupt left is no
    target: a run that was never stopped does not have it.

    Args:
        folder: the run folder.
        checkpoints: its checkpoints.
        step: updates made until now.
        reason: why, in words.

    Returns:
        A sentence that tells of the rollback.
    """
    past = read_rollbacks(folder.events)
    scheduled = checkpoints.scheduled_steps()
    target = checkpoints.newest_undamaged(scheduled) or 0
    earlier = [s for s in scheduled if s < target]
    if past and past[-1].target == target and earlier:
        target = earlier[-1]
    count = len(past) + 1
    scale = folder.config.guard.rollback_factor**count
    event = Rollback(count, step, target, scale, reason)
    append_row(folder.events, event._asdict())
    checkpoints.discard_after(target)
    return (
        f"{reason}; going on from update {target} with learning rates and step sizes times "
        f"{scale:g} (rollback {count} of at most {folder.config.guard.max_rollbacks})"
    )


def require_rollbacks_left(config: GuardConfig, rollbacks: int, reason: str) -> None:
    """Require that a run may be rolled back once more.

    Raises:
        DivergedError: if it was rolled back often enough.
    """
    if rollbacks >= config.max_rollbacks:
        tried = f" after {rollbacks} rollbacks" if rollbacks else ""
        raise DivergedError(f"training diverged{tried}: {reason}; {_ADVICE}")
