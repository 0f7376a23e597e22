"""The training loop: batches in, updates, rows of metrics, checkpoints, rollbacks."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tempered_ebm.datasets import batch_index
from tempered_ebm.errors import InputError
from tempered_ebm.training import events, guard, kinds, manifest
from tempered_ebm.training.attempt import Attempt, BuildLearner, Job
from tempered_ebm.training.checkpoints import Checkpoints
from tempered_ebm.training.config import BaseConfig
from tempered_ebm.training.data import AnyDataset
from tempered_ebm.training.interrupt import InterruptFlag
from tempered_ebm.training.parallel import Devices
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.types import Params


class TrainResult(NamedTuple):
    """How a call of :func:`train` ended.

    Attributes:
        params: parameters after the last update, averaged if an average is kept.
        step: updates made in the life of the run.
        is_finished: False if the user interrupted it.
    """

    params: Params
    step: int
    is_finished: bool


def train(
    folder: RunFolder,
    dataset: AnyDataset,
    *,
    resume: bool = False,
    show_progress: bool = True,
    devices: Devices | None = None,
) -> TrainResult:
    """Train the model of a run folder; :func:`fit` with its learner."""
    devices = devices or Devices()
    devices.require_divisible(folder.config.optimizer.batch_size)
    hooks = kinds.of(folder.config).hooks
    return fit(
        folder,
        dataset,
        lambda config: hooks.build_learner(config, dataset, devices.shard),
        resume=resume,
        show_progress=show_progress,
        devices=devices,
    )


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
        devices: who computes and who writes; one device by default.

    Returns:
        The parameters and whether training finished. A checkpoint of them is on disk.

    Raises:
        InputError: if every checkpoint to resume from is damaged, or ``--best-metric`` is
            not a metric.
        DivergedError: if training went wrong more often than it may be rolled back.
        OSError: if the folder cannot be written; what it held stays.

    Warns:
        UserWarning: naming a damaged checkpoint, and at every rollback.
    """
    devices = devices or Devices()
    keep = folder.config.checkpoint
    checkpoints = Checkpoints(
        folder.checkpoints,
        keep_last=keep.keep_last,
        best_metric=keep.best_metric,
        best_mode=keep.best_mode,
        every=folder.config.run.checkpoint_every,
    )
    optimizer, seed = folder.config.optimizer, folder.config.run.seed
    job = Job(
        folder,
        dataset,
        build_learner,
        lambda step: batch_index(seed, step, len(dataset.x_train), optimizer.batch_size),
        checkpoints,
        devices,
    )
    try:
        if resume and devices.writes:
            guard.tidy(folder, checkpoints)
        return _run(job, show_progress)
    finally:
        checkpoints.close()


def _run(job: Job, show_progress: bool) -> TrainResult:
    """Attempt after attempt, until one has no complaint."""
    from tqdm import tqdm

    num_steps = job.folder.config.optimizer.num_steps or 0
    images = job.devices.replicate(job.dataset.x_train)
    bar = tqdm(total=num_steps, unit="update", disable=not show_progress, leave=True)
    with bar, InterruptFlag(lambda: bar.set_description("stopping")) as interrupt:
        while True:
            job.devices.wait("before an attempt")
            attempt = Attempt(job, images, bar, interrupt)
            try:
                complaint = attempt.run(num_steps)
            finally:
                attempt.records.close()
            if complaint is None:
                params = attempt.learner.params(attempt.state)
                return TrainResult(params, attempt.done, attempt.done == num_steps)
            _roll_back(job, attempt, complaint)


def _roll_back(job: Job, attempt: Attempt, complaint: str) -> None:
    limits = job.folder.config.guard
    guard.require_rollbacks_left(limits, attempt.position.rollbacks, complaint)
    if job.devices.writes:
        words = guard.roll_back(job.folder, job.checkpoints, attempt.done, complaint)
        warnings.warn(words, stacklevel=2)


def load_params(folder: RunFolder, *, best: bool = False) -> tuple[Params, int]:
    """Parameters of a checkpoint of a run, and its step.

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
    init = functools.partial(
        kinds.of(folder.config).hooks.init_params, folder.config, folder.event_shape
    )
    template = jax.eval_shape(init, jax.random.key(0))
    checkpoints = Checkpoints(
        folder.checkpoints, best_metric=keep.best_metric, best_mode=keep.best_mode
    )
    try:
        step = checkpoints.best_step() if best else checkpoints.latest_step()
        params = checkpoints.restore(step, params=template)["params"]
        return jax.tree.map(jnp.asarray, params), step
    finally:
        checkpoints.close()


def settled_config(folder: RunFolder, step: int) -> BaseConfig:
    """Configuration in effect at a checkpoint: rollbacks before it made rates smaller."""
    known = manifest.read(folder.checkpoints, step)
    return events.scaled(folder.config, 0 if known is None else known.rollbacks)
