"""The training loop: batches in, updates, rows of metrics, checkpoints."""

from __future__ import annotations

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tempered_ebm.datasets import ImageDataset, batch_index
from tempered_ebm.errors import DivergedError
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.training import build, metrics_log
from tempered_ebm.training import config as configs
from tempered_ebm.training import step as steps
from tempered_ebm.training.checkpoints import Checkpoints
from tempered_ebm.training.interrupt import InterruptFlag
from tempered_ebm.training.run_folder import RunFolder


class TrainResult(NamedTuple):
    """How a call of :func:`train` ended.

    Attributes:
        params: parameters after the last update.
        step: updates made in the life of the run.
        is_finished: False if the user interrupted it.
    """

    params: LatentEBMParams
    step: int
    is_finished: bool


def _row(state: steps.TrainState, count: int, seconds: float) -> dict[str, float]:
    sums = jax.device_get(state.metric_sums)
    means = {
        name: float(value) if name == "skipped_updates" else float(value) / count
        for name, value in sums.items()
    }
    return {"step": int(state.step), **means, "seconds": round(seconds, 3)}


def _initial_state(
    config: configs.TrainConfig, model: LatentEBM, num_images: int
) -> steps.TrainState:
    learning = config.learning
    return steps.init_state(
        model,
        build.build_optimizer(config.optimizer),
        learning.num_temperatures if learning.uses_ladder else 1,
        jax.random.fold_in(jax.random.key(config.run.seed), 0),
        num_images=num_images,
        batch_size=config.optimizer.batch_size,
        persistent=config.chain.chains == "persistent",
    )


def train(
    folder: RunFolder, dataset: ImageDataset, *, resume: bool = False, show_progress: bool = True
) -> TrainResult:
    """Train the model of a run folder, from the start or from its newest checkpoint.

    A run that is stopped (Ctrl-C, SIGTERM) and resumed ends with the same parameters,
    bit for bit, as one that never was: keys and batches are functions of the seed and the
    step, everything else is in the checkpoint.

    Args:
        folder: the run folder, with a resolved configuration.
        dataset: the data the configuration names.
        resume: whether to go on from the newest checkpoint, or from the start if none was
            written yet.
        show_progress: whether to show a progress bar on standard error.

    Returns:
        The parameters and whether training finished. A checkpoint of them is on disk.

    Raises:
        InputError: if the checkpoint to resume is damaged.
        DivergedError: if every update of a logging interval was skipped as not finite.
        OSError: if the folder cannot be written; what it held stays.
    """
    config, images = folder.config, jnp.asarray(dataset.x_train)
    model = build.build_model(config, folder.image_shape)
    state = _initial_state(config, model, len(images))
    checkpoints = Checkpoints(folder.checkpoints)
    try:
        if resume:
            if checkpoints.has_any():
                state = _restore(checkpoints, state)
            metrics_log.truncate(folder.metrics, int(state.step))
        update = steps.build_step(
            model,
            build.build_estimator(config),
            build.build_optimizer(config.optimizer),
            configs.ladder(config.learning) if config.learning.uses_ladder else None,
            jax.random.fold_in(jax.random.key(config.run.seed), 1),
        )
        return _run(folder, checkpoints, update, state, images, show_progress)
    finally:
        checkpoints.close()


def _restore(checkpoints: Checkpoints, template: steps.TrainState) -> steps.TrainState:
    training = template._asdict()
    params = training.pop("params")
    parts = checkpoints.restore(checkpoints.latest_step(), params=params, training=training)
    return steps.TrainState(params=parts["params"], **parts["training"])


def _save(checkpoints: Checkpoints, state: steps.TrainState) -> None:
    training = state._asdict()
    checkpoints.save(int(state.step), training.pop("params"), training)


def _run(
    folder: RunFolder,
    checkpoints: Checkpoints,
    update: steps.Step,
    state: steps.TrainState,
    images: jax.Array,
    show_progress: bool,
) -> TrainResult:
    from tqdm import tqdm

    config = folder.config
    start, num_steps = int(state.step), config.optimizer.num_steps or 0
    log_every, batch_size = config.run.log_every, config.optimizer.batch_size
    began = time.monotonic()
    seconds_before = 0.0
    if start and folder.metrics.exists():
        seconds_before = float(metrics_log.read(folder.metrics)["seconds"][-1])
    bar = tqdm(total=num_steps, initial=start, unit="update", disable=not show_progress, leave=True)
    with bar, InterruptFlag(lambda: bar.set_description("stopping")) as interrupt:
        for i in range(start, num_steps):
            index = batch_index(config.run.seed, i, len(images), batch_size)
            state = update(state, images, jnp.asarray(index))
            done = i + 1
            if done % log_every == 0 or done == num_steps:
                count = log_every if done % log_every == 0 else done % log_every
                row = _row(state, count, seconds_before + time.monotonic() - began)
                metrics_log.append(folder.metrics, row)
                state = state._replace(
                    metric_sums={name: jnp.zeros(()) for name in state.metric_sums}
                )
                bar.set_postfix(
                    loss=f"{row['loss']:.3g}", error=f"{row['reconstruction_error']:.3g}"
                )
                if row["skipped_updates"] == count:
                    raise DivergedError(
                        f"training diverged: every update from {done - count + 1} to {done} had a "
                        "gradient that is not finite; smaller step sizes or learning rates may help"
                    )
            bar.update()
            if interrupt.is_set and done < num_steps:
                _save(checkpoints, state)
                return TrainResult(state.params, done, False)
            if done % config.run.checkpoint_every == 0:
                _save(checkpoints, state)
        _save(checkpoints, state)
    return TrainResult(state.params, num_steps, True)


def load_params(folder: RunFolder) -> tuple[LatentEBMParams, int]:
    """Parameters of the newest checkpoint of a run, and its step.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    model = build.build_model(folder.config, folder.image_shape)
    template = jax.eval_shape(model.init, jax.random.key(0))
    checkpoints = Checkpoints(folder.checkpoints)
    try:
        step = checkpoints.latest_step()
        return checkpoints.restore(step, params=template)["params"], step
    finally:
        checkpoints.close()
