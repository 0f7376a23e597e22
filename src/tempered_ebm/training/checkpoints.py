"""Checkpoints of a run: written by Orbax, complete with their manifest, verified before use.

Orbax's ``CheckpointManager`` is not used for retention and best-of: its ``save`` removes the old
checkpoint before it returns, when the new one has no manifest yet. A run of ``--keep-last 1`` that
is killed there, or whose disk is full, would be left without a verified checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from tempered_ebm import _files
from tempered_ebm.errors import InputError
from tempered_ebm.training.config import CheckpointConfig

_OVERHEAD = 2**17


class Manifest(NamedTuple):
    """Record of a checkpoint, by which damage is noticed before it is used.

    Attributes:
        rollbacks: how often the run had been rolled back when it was written.
        metrics: newest metrics at the time, by name.
        files: SHA-256 of every file, by its path in the checkpoint.
    """

    rollbacks: int
    metrics: dict[str, float]
    files: dict[str, str]


def manifest_path(folder: Path, step: int) -> Path:
    """Return the path of the manifest of a checkpoint, beside it."""
    return folder / f"{step}.manifest.json"


def _file_hashes(folder: Path, *, sync: bool = False) -> dict[str, str]:
    """Return the SHA-256 of every file; with ``sync`` each is on disk when this returns."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
                if sync:
                    os.fsync(file.fileno())
    return hashes


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, step: int, rollbacks: int, metrics: Mapping[str, float]) -> None:
    """Read a finished checkpoint back and write its manifest: from here on it counts.

    Raises:
        OSError: if it cannot be written.
    """
    checkpoint = folder / str(step)
    files = _file_hashes(checkpoint, sync=True)
    for inner in (checkpoint, *(path for path in checkpoint.rglob("*") if path.is_dir())):
        sync_folder(inner)
    tree = {"rollbacks": rollbacks, "metrics": dict(metrics), "files": files}
    _files.write_json(manifest_path(folder, step), {**tree, "checksum": _checksum(tree)})
    sync_folder(folder)


def read_manifest(folder: Path, step: int) -> Manifest | None:
    """Return the manifest of a checkpoint, or None if it is damaged."""
    try:
        tree = _files.read_json(manifest_path(folder, step))
        checksum = tree.pop("checksum")
        return Manifest(**tree) if checksum == _checksum(tree) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_damage(folder: Path, step: int) -> str | None:
    """Return what is wrong with a checkpoint, in words; None if every byte is as written."""
    manifest = read_manifest(folder, step)
    if manifest is None:
        return "its manifest is damaged"
    found = _file_hashes(folder / str(step))
    for name, digest in manifest.files.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != digest:
            return f"{name} is not as it was written"
    extra = sorted(set(found) - set(manifest.files))
    return f"{extra[0]} does not belong to it" if extra else None


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; those before it are untouched."""


def _reserve(folder: Path, tree: Any) -> None:
    """Fail before anything is written if the disk has no room for the arrays of ``tree``.

    Orbax writes from threads of its own, whose errors reach the user as tracebacks.
    """
    size = _OVERHEAD + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.write(bytes(size))
            file.flush()


def _first_line(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return (reason or type(error).__name__).splitlines()[0]


class Checkpoints:
    """The checkpoints in a folder.

    A checkpoint is a folder named by its step, with two parts: ``params``, enough to
    sample, and ``training``, all that resuming needs. It counts once its manifest lies
    beside it; whatever has none is left over from a writer that was killed.

    Args:
        folder: an existing folder.
        keep: which checkpoints stay.
        every: steps between checkpoints of the schedule; others are what an interrupt left.
    """

    def __init__(self, folder: Path, keep: CheckpointConfig, every: int = 1):
        self.folder, self._keep, self._every = folder, keep, every
        # One process reads and writes, on its own: no other has to be waited for.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=f"process{jax.process_index()}",
        )
        self._writer = ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(
                composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
                params=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
                training=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            ),
            multiprocessing_options=alone,
        )

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, in order."""
        names = [path.name for path in self.folder.glob("*.manifest.json")]
        numbers = [name.split(".")[0] for name in names]
        return sorted(int(n) for n in numbers if n.isdecimal() and (self.folder / n).is_dir())

    def scheduled_steps(self) -> list[int]:
        """Return the steps that a run has whether or not it was stopped on the way."""
        return [step for step in self.steps() if step % self._every == 0]

    def newest_undamaged(self, steps: Sequence[int] | None = None) -> int | None:
        """Return the step of the newest undamaged checkpoint (among ``steps``), or None.

        Warns:
            UserWarning: naming every newer one that is damaged.
        """
        for step in reversed(self.steps() if steps is None else steps):
            damage = find_damage(self.folder, step)
            if damage is None:
                return step
            warnings.warn(
                f"checkpoint {self.folder / str(step)} is damaged: {damage}; trying the one before",
                stacklevel=2,
            )
        return None

    def latest_step(self) -> int:
        """Return the step of the newest undamaged checkpoint.

        Raises:
            InputError: if there is none.
        """
        found = self.steps()
        step = self.newest_undamaged()
        if step is None and found:
            raise InputError(
                f"{self.folder / str(found[-1])} and every checkpoint before it is damaged or of "
                "another model; expected an undamaged one"
            )
        if step is None:
            raise InputError(f"{self.folder} holds no checkpoint; expected at least one")
        return step

    def best_step(self) -> int:
        """Return the step of the undamaged checkpoint with the best value of the metric.

        Raises:
            InputError: if there is none.
        """
        for step in self._ranked():
            if find_damage(self.folder, step) is None:
                return step
        raise InputError(
            f"{self.folder} holds no undamaged checkpoint with metric {self._keep.best_metric}; "
            "expected one, kept by --best-metric"
        )

    def _ranked(self) -> list[int]:
        """Return steps from the best value of the metric to the worst, without unknown ones."""
        metric, sign = str(self._keep.best_metric), 1 if self._keep.best_mode == "min" else -1
        manifests = {step: read_manifest(self.folder, step) for step in self.steps()}
        values = {
            step: math.nan if known is None else known.metrics.get(metric, math.nan)
            for step, known in manifests.items()
        }
        finite = [step for step, value in values.items() if math.isfinite(value)]
        return sorted(finite, key=lambda step: sign * values[step])

    def save(
        self,
        step: int,
        params: Any,
        training: Any,
        *,
        metrics: Mapping[str, float] | None = None,
        rollbacks: int = 0,
        is_extra: bool = False,
    ) -> None:
        """Write a checkpoint; those that need not stay go once it is complete.

        Args:
            step: updates behind it.
            params: a pytree of arrays.
            training: a pytree of arrays.
            metrics: metrics that it may be kept for.
            rollbacks: rollbacks of the run until now.
            is_extra: whether it stays beside those that would be kept without it.

        Raises:
            CheckpointWriteError: if it cannot be written.
        """
        if step in self.steps():
            return
        try:
            params, training = jax.tree.map(np.asarray, (params, training))
            _reserve(self.folder, (params, training))
            parts = {"params": params, "training": training}
            items = {name: ocp.args.StandardSave(tree) for name, tree in parts.items()}
            where = self.folder.absolute() / str(step)
            self._writer.save(where, args=ocp.args.Composite(**items))
            write_manifest(self.folder, step, rollbacks, metrics or {})
        except Exception as error:  # Orbax reports a failed write by several types of error.
            raise CheckpointWriteError(
                f"cannot write the checkpoint of step {step} in {self.folder}: {_first_line(error)}"
            ) from error
        self._prune(self._keep.keep_last + is_extra)

    def _prune(self, number: int) -> None:
        steps = self.steps()
        # Older checkpoints that an interrupt left between those of the schedule are not needed.
        regular = [step for step in steps if step % self._every == 0 or step == steps[-1]]
        spared = {*regular[-number:], *self._ranked()[:1]}
        for step in steps:
            if step not in spared:
                self.discard(step)

    def discard(self, step: int) -> None:
        """Remove a checkpoint."""
        # Without its manifest it no longer counts, so that goes first.
        manifest_path(self.folder, step).unlink(missing_ok=True)
        sync_folder(self.folder)
        shutil.rmtree(self.folder / str(step), ignore_errors=True)

    def discard_after(self, step: int) -> None:
        """Remove all checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self.discard(later)

    def clean(self) -> None:
        """Remove what a killed writer left behind."""
        complete = {str(step) for step in self.steps()}
        for path in self.folder.iterdir():
            if path.name.removesuffix(".manifest.json") not in complete:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def restore(self, step: int, **templates: Any) -> dict[str, Any]:
        """Read parts of a checkpoint.

        Args:
            step: which one.
            **templates: for each part wanted, a pytree of arrays or of their shapes.

        Returns:
            Pytrees of NumPy arrays.

        Raises:
            InputError: if it is damaged or of another model.
        """
        shapes = {
            name: jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
            for name, tree in templates.items()
        }
        items = {name: ocp.args.StandardRestore(tree) for name, tree in shapes.items()}
        where = self.folder / str(step)
        try:
            return dict(self._writer.restore(where.absolute(), args=ocp.args.Composite(**items)))
        except Exception as error:  # Orbax reports damage by several types of error.
            raise InputError(
                f"checkpoint {where} is damaged or of another model: {_first_line(error)}"
            ) from error

    def close(self) -> None:
        """Release the folder."""
        self._writer.close()
