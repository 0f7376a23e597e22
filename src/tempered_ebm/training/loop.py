"""The training loop: batches in, updates, rows of metrics, checkpoints, rollbacks."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempered_ebm.datasets import batch_index
from tempered_ebm.errors import InputError
from tempered_ebm.training import rollback
from tempered_ebm.training.checkpoints import Checkpoints, read_manifest
from tempered_ebm.training.config import AnyDataset, BaseConfig
from tempered_ebm.training.devices import Devices
from tempered_ebm.training.logging import Records, write_evaluation
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.state import SKIPPED, Learner, TrainState, consecutive_skips
from tempered_ebm.training.task import TrainedModel
from tempered_ebm.types import Params

BuildLearner = Callable[[Any], Learner]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainResult(NamedTuple):
    """Result of a call of :func:`train`.

    Attributes:
        params: parameters after the last update, averaged if an average is kept.
        step: updates made in the life of the run.
        is_finished: False if the user interrupted it.
    """

    params: Params
    step: int
    is_finished: bool


def train(folder: RunFolder, dataset: AnyDataset, **options: Any) -> TrainResult:
    """Train the model of a run folder; :func:`fit` with its learner, and the same options."""
    task = folder.task
    return fit(folder, dataset, lambda config: task.build_learner(config, dataset), **options)


def fit(
    folder: RunFolder,
    dataset: AnyDataset,
    build_learner: BuildLearner,
    *,
    resume: bool = False,
    show_progress: bool = True,
    devices: Devices | None = None,
) -> TrainResult:
    """Train a learner in a run folder, from the start or from its newest checkpoint.

    A run that is stopped (Ctrl-C, SIGTERM), or killed, and resumed ends with the same
    parameters, bit for bit, as one that never was: keys and batches are functions of the
    seed and the step, everything else is in the checkpoint.

    Args:
        folder: the run folder, with a resolved configuration.
        dataset: the data the configuration names.
        build_learner: ``configuration -> learner``; called again with smaller learning
            rates and step sizes after a rollback.
        resume: whether to go on from the newest checkpoint, or from the start if none was
            written yet.
        show_progress: whether to show a progress bar on standard error.
        devices: devices and processes; one device by default.

    Returns:
        The parameters and whether training finished. A checkpoint of them is on disk.

    Raises:
        InputError: if every checkpoint to resume from is damaged, ``--best-metric`` is not a
            metric, or batches do not divide evenly among the devices.
        DivergedError: if training went wrong more often than it may be rolled back.
        OSError: if the folder cannot be written; what it held stays.

    Warns:
        UserWarning: naming a damaged checkpoint, and at every rollback.
    """
    from tqdm import tqdm

    devices = devices or Devices()
    config = folder.config
    devices.require_divisible(config.optimizer.batch_size)
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint, config.run.checkpoint_every)
    num_steps = config.optimizer.num_steps or 0
    with contextlib.closing(checkpoints):
        if resume and devices.is_main_process:
            rollback.tidy(folder, checkpoints)
        images = devices.replicate(dataset.x_train)
        bar = tqdm(total=num_steps, unit="update", disable=not show_progress, leave=True)
        with bar, InterruptFlag(lambda: bar.set_description("stopping")) as interrupt:
            # Again from a checkpoint after every divergence, until a segment ends well.
            while True:
                devices.wait("before a segment")
                segment = Segment(
                    folder, dataset, build_learner, checkpoints, devices, images, bar, interrupt
                )
                try:
                    reason = segment.run(num_steps)
                finally:
                    segment.records.close()
                if reason is None:
                    params = segment.learner.params(segment.state)
                    return TrainResult(params, segment.done, segment.done == num_steps)
                rollback.require_rollbacks_left(config.guard, segment.rollbacks, reason)
                if devices.is_main_process:
                    words = rollback.roll_back(folder, checkpoints, segment.done, reason)
                    warnings.warn(words, stacklevel=2)


class InterruptFlag:
    """Context in which the first Ctrl-C (or SIGTERM) only sets a flag.

    The loop finishes its update, saves and stops. A second Ctrl-C is the usual
    ``KeyboardInterrupt``. Outside the main thread signals are left alone.

    Args:
        acknowledge: called on the first signal, to tell the user.
    """

    def __init__(self, acknowledge: Callable[[], object]) -> None:
        self.is_set = False
        self._acknowledge = acknowledge
        self._previous: dict[signal.Signals, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        self._acknowledge()

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._handle) for s in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Segment:
    """Training from a checkpoint until the end, an interrupt or a divergence."""

    def __init__(
        self,
        folder: RunFolder,
        dataset: AnyDataset,
        build_learner: BuildLearner,
        checkpoints: Checkpoints,
        devices: Devices,
        images: jax.Array,
        bar: Any,
        interrupt: InterruptFlag,
    ):
        self.config, self.dataset, self.images = folder.config, dataset, images
        self.devices, self.checkpoints = devices, checkpoints
        self.bar, self.interrupt = bar, interrupt
        self.done, self.rollbacks = rollback.resume_point(folder, checkpoints)
        self.learner = build_learner(rollback.scaled_config(self.config, self.rollbacks))
        self._require_best_metric()
        self.held_out = dataset.x_test[: self.config.logging.validation_images]
        seed = jax.random.key(self.config.run.seed)
        self.init_key, update_key, self.observe_key = (
            jax.random.fold_in(seed, i) for i in (0, 1, 2)
        )
        # After a rollback, other noise than that which diverged.
        num = self.rollbacks
        self.update_key = jax.random.fold_in(update_key, num) if num else update_key
        self.state = self._initial_state()
        self.records = Records(folder, self.done, is_main_process=self.devices.is_main_process)
        self.update = self.devices.compile(self.learner.update, donates=True)
        self.validate, self.measure, self.picture = (
            None if function is None else jax.jit(function)
            for function in (self.learner.validate, self.learner.measure, self.learner.picture)
        )

    def _require_best_metric(self) -> None:
        best = self.config.checkpoint.best_metric
        known = (*self.learner.metric_names, *self.learner.validation_names)
        if best is not None and best not in known:
            raise InputError(f"--best-metric must be one of {', '.join(known)}, got {best}")

    def _initial_state(self) -> TrainState:
        init = self.devices.compile(self.learner.init)
        if not self.done:
            return init(self.init_key)
        template = jax.eval_shape(self.learner.init, self.init_key)
        parts = self.checkpoints.restore(self.done, training=template)
        return self.devices.replicate(parts["training"])

    def _batch(self, step: int) -> np.ndarray:
        """Return the indices of the batch of an update."""
        size = self.config.optimizer.batch_size
        return batch_index(self.config.run.seed, step, len(self.dataset.x_train), size)

    def run(self, num_steps: int) -> str | None:
        """Train until ``num_steps``, an interrupt, or the divergence whose reason is returned."""
        began, before = time.monotonic(), self.records.seconds
        every = self.config.run.log_every
        self.bar.n = self.done
        while self.done < num_steps:
            index = self._batch(self.done)
            self.state = self.update(
                self.state, self.update_key, self.images, self.devices.replicate(index)
            )
            self.done += 1
            is_row = self.done % every == 0 or self.done == num_steps
            if is_row:
                reason = self._log(before - began)
                if reason is not None:
                    return reason
            self._observe()
            self.bar.update()
            if self._is_interrupted(is_row) and self.done < num_steps:
                break
            if self.done % self.config.run.checkpoint_every == 0 and self._is_healthy(is_row):
                self._save()
        self._save(is_extra=self.done < num_steps)
        return None

    def _is_interrupted(self, is_row: bool) -> bool:
        if self.devices.is_alone:
            return self.interrupt.is_set
        return is_row and self.devices.any_of(self.interrupt.is_set)

    def _row(self) -> tuple[dict[str, float], int]:
        """Return averages since the last row, and over how many updates."""
        count = (self.done - 1) % self.config.run.log_every + 1
        sums = jax.device_get(self.state.metric_sums)
        skipped = float(sums[SKIPPED])
        made = count - skipped
        means = {
            name: float(sums[name]) / made if made else np.nan for name in self.learner.metric_names
        }
        return {"step": self.done, **means, SKIPPED: skipped}, count

    def _divergence_reason(self, row: dict[str, float], count: int) -> str | None:
        skips = int(consecutive_skips(self.state))
        rows = [*self.records.rows, row]
        watched, limits = self.learner.watched, self.config.guard
        return rollback.divergence_reason(rows, watched, skips, count, limits)

    def _is_healthy(self, is_row: bool) -> bool:
        """Return whether a rollback to this state would help."""
        if int(consecutive_skips(self.state)):
            return False
        return is_row or self._divergence_reason(*self._row()) is None

    def _log(self, offset: float) -> str | None:
        """Finish a row of metrics, or return why it tells of divergence."""
        row, count = self._row()
        reason = self._divergence_reason(row, count)
        if reason is None:
            seconds = round(offset + time.monotonic(), 3)
            self.records.add("training", {**row, "seconds": seconds})
            zeros = {name: np.zeros((), np.float32) for name in self.state.metric_sums}
            self.state = self.state._replace(metric_sums=self.devices.replicate(zeros))
            shown = {name: row[name] for name in ("loss", self.learner.shown)}
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
        return reason

    def _observe(self) -> None:
        """Validate, draw pictures and measure gradients when due; process 0 does it for all."""
        logging = self.config.logging
        is_due = [
            every > 0 and self.done % every == 0 and self.devices.is_main_process
            for every in (logging.validate_every, logging.pictures_every, logging.gradients_every)
        ]
        if not any(is_due):
            return
        state, key = jax.device_get(self.state), jax.random.fold_in(self.observe_key, self.done)
        if is_due[0] and self.validate is not None:
            values = self.validate(key, self.learner.params(state), jnp.asarray(self.held_out))
            row = {name: float(value) for name, value in values.items()}
            self.records.add("validation", {"step": self.done, **row})
        if is_due[1] and self.picture is not None:
            self.records.add_picture(self.done, np.asarray(self.picture(key, state)))
        if is_due[2] and self.measure is not None:
            # Batches that are still to come, so that repeats differ in images as updates do.
            batches = range(self.done, self.done + logging.gradient_batches)
            index = np.stack([self._batch(i) for i in batches])
            images = jnp.asarray(self.dataset.x_train)
            values = self.measure(key, state, images, jnp.asarray(index))
            row = {name: float(value) for name, value in values.items()}
            self.records.add("gradients", {"step": self.done, **row})

    def _save(self, *, is_extra: bool = False) -> None:
        if self.devices.is_main_process:
            self.checkpoints.save(
                self.done,
                self.learner.params(self.state),
                self.state,
                metrics=self.records.newest,
                rollbacks=self.rollbacks,
                is_extra=is_extra,
            )


def load_params(folder: RunFolder, *, best: bool = False) -> tuple[Params, int]:
    """Return parameters of a checkpoint of a run, and its step.

    Args:
        folder: the run folder.
        best: whether to read the best checkpoint, by the metric of the run, or the newest.

    Raises:
        InputError: if there is none, or it is damaged.

    Warns:
        UserWarning: naming a damaged checkpoint that is newer.
    """
    keep = folder.config.checkpoint
    if best and keep.best_metric is None:
        raise InputError(f"{folder.path} keeps no best checkpoint: it has no --best-metric")
    init = functools.partial(folder.task.init_params, folder.config, folder.event_shape)
    template = jax.eval_shape(init, jax.random.key(0))
    with contextlib.closing(Checkpoints(folder.checkpoints, keep)) as checkpoints:
        step = checkpoints.best_step() if best else checkpoints.latest_step()
        params = checkpoints.restore(step, params=template)["params"]
        return jax.tree.map(jnp.asarray, params), step


def load_trained(folder: RunFolder, *, best: bool = False) -> TrainedModel:
    """Return the model of a checkpoint of a run; see :func:`load_params`."""
    params, step = load_params(folder, best=best)
    config = settled_config(folder, step)
    return TrainedModel(config, params, step, folder.event_shape, folder.load_dataset)


def settled_config(folder: RunFolder, step: int) -> BaseConfig:
    """Return the configuration in effect at a checkpoint: rollbacks make rates smaller."""
    known = read_manifest(folder.checkpoints, step)
    return rollback.scaled_config(folder.config, 0 if known is None else known.rollbacks)


def evaluate(
    folder: RunFolder,
    dataset: AnyDataset,
    params: Params,
    step: int,
    *,
    seed: int = 0,
    others: Sequence[Path] = (),
) -> Any:
    """Measure a trained model, and write ``evaluation.json`` and the pictures of the run.

    Args:
        folder: the run folder.
        dataset: its data.
        params: its parameters.
        step: updates behind them.
        seed: seed of all draws.
        others: npz files of other data sets, for a task that takes them.

    Returns:
        A dataclass of the measurements, whose ``str`` is a table for people.

    Raises:
        InputError: if one of the files cannot be used.
        DivergedError: if chains of the trained model are not finite.
        OSError: if the folder cannot be written.
    """
    past = rollback.read_rollbacks(folder.events)
    config = rollback.scaled_config(folder.config, len(past))
    trained = TrainedModel(config, params, step, folder.event_shape, lambda: dataset)
    evaluated = folder.task.evaluate(trained, seed, others)
    write_evaluation(folder, evaluated)
    return evaluated.table
