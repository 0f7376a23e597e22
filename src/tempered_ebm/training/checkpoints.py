"""Checkpoints of a run: written by Orbax, complete with their manifest, verified before use."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tempered_ebm.errors import InputError
from tempered_ebm.training import manifest

_OVERHEAD = 2**17


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; those before it are untouched."""


def _reserve(folder: Path, tree: Any) -> None:
    """Fail before anything is written if the disk has no room for the arrays of ``tree``.

    Orbax writes from threads of its own, whose complaints reach the user as tracebacks.
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
        keep_last: how many of the newest stay.
        best_metric: the metric whose best checkpoint stays as well.
        best_mode: "min" or "max".
        every: steps between checkpoints of the schedule; others are what an interrupt left.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_last: int = 2,
        best_metric: str | None = None,
        best_mode: str = "min",
        every: int = 1,
    ):
        self.folder, self._every = folder, every
        self._keep_last, self._best = keep_last, (best_metric, best_mode)
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
        """Steps of the complete checkpoints, in order."""
        names = [path.name for path in self.folder.glob("*.manifest.json")]
        numbers = [name.split(".")[0] for name in names]
        return sorted(int(n) for n in numbers if n.isdecimal() and (self.folder / n).is_dir())

    def scheduled_steps(self) -> list[int]:
        """Those that a run has whether or not it was stopped on the way."""
        return [step for step in self.steps() if step % self._every == 0]

    def newest_sound(self, steps: Sequence[int] | None = None) -> int | None:
        """Step of the newest checkpoint (among ``steps``) that is as it was written, or None.

        Warns:
            UserWarning: naming every newer one that is damaged.
        """
        for step in reversed(self.steps() if steps is None else steps):
            damage = manifest.damage(self.folder, step)
            if damage is None:
                return step
            warnings.warn(
                f"checkpoint {self.folder / str(step)} is damaged: {damage}; trying the one before",
                stacklevel=2,
            )
        return None

    def latest_step(self) -> int:
        """Number of updates behind the newest sound checkpoint.

        Raises:
            InputError: if there is none.
        """
        found = self.steps()
        step = self.newest_sound()
        if step is None and found:
            raise InputError(
                f"{self.folder / str(found[-1])} and every checkpoint before it is damaged or of "
                "another model; expected a sound one"
            )
        if step is None:
            raise InputError(f"{self.folder} holds no checkpoint; expected at least one")
        return step

    def best_step(self) -> int:
        """Step of the sound checkpoint with the best value of the metric.

        Raises:
            InputError: if there is none.
        """
        for step in self._ranked():
            if manifest.damage(self.folder, step) is None:
                return step
        raise InputError(
            f"{self.folder} holds no sound checkpoint with the metric {self._best[0]}; expected "
            "one, kept by --best-metric"
        )

    def _ranked(self) -> list[int]:
        metric, mode = self._best
        values = {step: self._value(step, metric) for step in self.steps()}
        ranked = sorted(
            (value if mode == "min" else -value, step)
            for step, value in values.items()
            if value is not None
        )
        return [step for _, step in ranked]

    def _value(self, step: int, metric: str | None) -> float | None:
        known = manifest.read(self.folder, step)
        value = None if known is None or metric is None else known.metrics.get(metric)
        return value if value is not None and math.isfinite(value) else None

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
            self._write(step, params, training)
            manifest.write(self.folder, step, rollbacks, metrics or {})
        except Exception as error:  # Orbax reports a failed write by several types of error.
            raise CheckpointWriteError(
                f"cannot write the checkpoint of step {step} in {self.folder}: {_first_line(error)}"
            ) from error
        self._prune(self._keep_last + is_extra)

    def _write(self, step: int, params: Any, training: Any) -> None:
        self._writer.save(
            self.folder.absolute() / str(step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params), training=ocp.args.StandardSave(training)
            ),
        )

    def _prune(self, number: int) -> None:
        steps = self.steps()
        # What an interrupt left in between has served its purpose.
        regular = [step for step in steps if step % self._every == 0 or step == steps[-1]]
        spared = {*regular[-number:], *self._ranked()[:1]}
        for step in steps:
            if step not in spared:
                self.discard(step)

    def discard(self, step: int) -> None:
        """Remove a checkpoint."""
        # Without its manifest it no longer counts, so that goes first.
        manifest.manifest_path(self.folder, step).unlink(missing_ok=True)
        manifest.sync_folder(self.folder)
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
