"""One attempt to train: from a checkpoint until the end, an interrupt or a complaint."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempered_ebm.errors import InputError
from tempered_ebm.training import events, guard
from tempered_ebm.training.checkpoints import Checkpoints
from tempered_ebm.training.data import AnyDataset
from tempered_ebm.training.learner import Learner
from tempered_ebm.training.parallel import Devices
from tempered_ebm.training.records import Records
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.state import SKIPPED, TrainState, consecutive_skips

BuildLearner = Callable[[Any], Learner]


class Job(NamedTuple):
    """What all attempts of a run have in common.

    Attributes:
        folder: the run folder.
        dataset: its data.
        build_learner: ``configuration -> learner``.
        batch: ``step -> indices`` of the batch of an update.
        checkpoints: those of the folder.
        devices: who computes and who writes.
    """

    folder: RunFolder
    dataset: AnyDataset
    build_learner: BuildLearner
    batch: Callable[[int], np.ndarray]
    checkpoints: Checkpoints
    devices: Devices


class Attempt:
    """Training from a checkpoint until the end, an interrupt or a complaint."""

    def __init__(self, job: Job, images: jax.Array, bar: Any, interrupt: Any):
        self.job, self.config = job, job.folder.config
        self.devices, self.checkpoints = job.devices, job.checkpoints
        self.images, self.bar, self.interrupt = images, bar, interrupt
        self.position = guard.position(job.folder, job.checkpoints)
        self.done = self.position.step
        self.learner = job.build_learner(events.scaled(self.config, self.position.rollbacks))
        _require_metric(self.config.checkpoint.best_metric, self.learner)
        self.held_out = job.dataset.x_test[: self.config.logging.validation_images]
        seed = jax.random.key(self.config.run.seed)
        self.init_key, update_key, self.look_key = (jax.random.fold_in(seed, i) for i in (0, 1, 2))
        rollbacks = self.position.rollbacks
        # Other noise than that which went wrong.
        self.update_key = jax.random.fold_in(update_key, rollbacks) if rollbacks else update_key
        self.state = self._initial_state()
        self.records = Records(job.folder, self.done, writes=self.devices.writes)
        self.update = self.devices.compile(self.learner.update, donates=True)
        self.validate = None if self.learner.validate is None else jax.jit(self.learner.validate)
        self.measure = None if self.learner.measure is None else jax.jit(self.learner.measure)
        self.picture = None if self.learner.picture is None else jax.jit(self.learner.picture)

    def _initial_state(self) -> TrainState:
        init = self.devices.compile(self.learner.init)
        if not self.done:
            return init(self.init_key)
        template = jax.eval_shape(self.learner.init, self.init_key)
        parts = self.checkpoints.restore(self.done, training=template)
        return self.devices.replicate(parts["training"])

    def run(self, num_steps: int) -> str | None:
        """Train until ``num_steps``, an interrupt, or the complaint that is returned."""
        began, before = time.monotonic(), self.records.seconds
        every = self.config.run.log_every
        self.bar.n = self.done
        while self.done < num_steps:
            index = self.job.batch(self.done)
            self.state = self.update(
                self.state, self.update_key, self.images, self.devices.replicate(index)
            )
            self.done += 1
            is_row = self.done % every == 0 or self.done == num_steps
            if is_row:
                complaint = self._log(before - began)
                if complaint is not None:
                    return complaint
            self._look()
            self.bar.update()
            if self._is_interrupted(is_row) and self.done < num_steps:
                break
            if self.done % self.config.run.checkpoint_every == 0 and self._is_well(is_row):
                self._save()
        self._save(is_extra=self.done < num_steps)
        return None

    def _is_interrupted(self, is_row: bool) -> bool:
        if self.devices.is_alone:
            return self.interrupt.is_set
        return is_row and self.devices.any_of(self.interrupt.is_set)

    def _row(self) -> tuple[dict[str, float], int]:
        """Averages since the last row, and over how many updates."""
        count = (self.done - 1) % self.config.run.log_every + 1
        sums = jax.device_get(self.state.metric_sums)
        skipped = float(sums[SKIPPED])
        made = count - skipped
        means = {
            name: float(sums[name]) / made if made else np.nan for name in self.learner.metric_names
        }
        return {"step": self.done, **means, SKIPPED: skipped}, count

    def _complaint(self, row: dict[str, float], count: int) -> str | None:
        skips = int(consecutive_skips(self.state))
        return guard.complaint([*self.records.rows, row], skips, count, self.config.guard)

    def _is_well(self, is_row: bool) -> bool:
        """Whether a checkpoint would be a place to come back to."""
        if int(consecutive_skips(self.state)):
            return False
        return is_row or self._complaint(*self._row()) is None

    def _log(self, offset: float) -> str | None:
        """Finish a row of metrics, unless there is a complaint about it."""
        row, count = self._row()
        complaint = self._complaint(row, count)
        if complaint is None:
            self.records.add({**row, "seconds": round(offset + time.monotonic(), 3)})
            zeros = {name: np.zeros((), np.float32) for name in self.state.metric_sums}
            self.state = self.state._replace(metric_sums=self.devices.replicate(zeros))
            shown = {name: row[name] for name in ("loss", self.learner.shown)}
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
        return complaint

    def _look(self) -> None:
        """Validate and draw pictures when it is time; process 0 does it for all."""
        logging = self.config.logging
        is_due = [
            every > 0 and self.done % every == 0 and self.devices.writes
            for every in (
                logging.validate_every,
                logging.pictures_every,
                logging.gradients_every,
            )
        ]
        if not any(is_due):
            return
        state, key = jax.device_get(self.state), jax.random.fold_in(self.look_key, self.done)
        if is_due[0] and self.validate is not None:
            values = self.validate(key, self.learner.params(state), jnp.asarray(self.held_out))
            row = {name: float(value) for name, value in values.items()}
            self.records.add_validation({"step": self.done, **row})
        if is_due[1] and self.picture is not None:
            self.records.add_picture(self.done, np.asarray(self.picture(key, state)))
        if is_due[2] and self.measure is not None:
            # Batches that are still to come, so that repeats differ in images as updates do.
            batches = range(self.done, self.done + logging.gradient_batches)
            index = np.stack([self.job.batch(i) for i in batches])
            images = jnp.asarray(self.job.dataset.x_train)
            values = self.measure(key, state, images, jnp.asarray(index))
            row = {name: float(value) for name, value in values.items()}
            self.records.add_gradients({"step": self.done, **row})

    def _save(self, *, is_extra: bool = False) -> None:
        if self.devices.writes:
            self.checkpoints.save(
                self.done,
                self.learner.params(self.state),
                self.state,
                metrics=self.records.newest,
                rollbacks=self.position.rollbacks,
                is_extra=is_extra,
            )


def _require_metric(name: str | None, learner: Learner) -> None:
    known = (*learner.metric_names, *learner.validation_names)
    if name is not None and name not in known:
        raise InputError(f"--best-metric must be one of {', '.join(known)}, got {name}")
