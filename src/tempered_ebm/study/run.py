"""Run a study: its jobs in this process or on a Ray cluster, each kept as soon as it is done."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from tempered_ebm import metrics
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.study import folder as folders
from tempered_ebm.study.config import Job, StudyConfig, jobs, validate
from tempered_ebm.study.folder import StudyFolder
from tempered_ebm.study.gradients import GradientRecord
from tempered_ebm.study.replicas import Replicas, build_replicas
from tempered_ebm.training import evaluation
from tempered_ebm.training.state import TrainState

_SAMPLES_KEPT = 64
_TRIES = 3


class StudyResult(NamedTuple):
    """How a call of :func:`run_study` ended.

    Attributes:
        folder: the study folder.
        num_done: jobs done, in this call or before.
        num_jobs: jobs in all.
    """

    folder: StudyFolder
    num_done: int
    num_jobs: int


class JobResult(NamedTuple):
    """Measurements of a job.

    Attributes:
        rows: one per cell, repeat and measurement.
        arrays: for pictures, by ``"cell:name"``.
    """

    rows: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]


class SampleQuality(NamedTuple):
    """Distances of generated images to held-out ones.

    Attributes:
        features: feature map, fitted on the training images.
        held_out: features of the held-out images.
    """

    features: metrics.FeatureMap
    held_out: np.ndarray

    def distances(self, images: np.ndarray) -> dict[str, float]:
        """Return the Fréchet and the kernel distance; NaN where an image is not finite."""
        if not np.all(np.isfinite(images)):
            return {"frechet": float("nan"), "kernel": float("nan")}
        features = self.features(images)
        return {
            "frechet": metrics.frechet_distance(features, self.held_out),
            "kernel": metrics.kernel_distance(features, self.held_out),
        }


def fit_sample_quality(dataset: ImageDataset) -> SampleQuality:
    """Fit the feature space of a data set; the same wherever it is fitted."""
    features = evaluation.fit_features(dataset).features
    return SampleQuality(features, features(dataset.x_test))


def run_study(
    config: StudyConfig, dataset: ImageDataset, *, show_progress: bool = True
) -> StudyResult:
    """Run the jobs of a study that are not done, and merge their rows into one table.

    A job is kept when it is done. Stopping a study, or losing a worker, loses the jobs that
    were running and nothing else; the same call continues the study.

    Args:
        config: the study.
        dataset: its data.
        show_progress: whether to show a progress bar on standard error.

    Raises:
        InputError: for bad settings, or a folder that belongs to another study.
        OSError: if the folder cannot be written.
    """
    from tqdm import tqdm

    validate(config)
    quality = fit_sample_quality(dataset)
    training_distances = quality.distances(dataset.x_train[: evaluation.MOST_IMAGES])
    folder = folders.open_study(config, dataset, training_distances)
    all_jobs, pending = jobs(config), folder.pending()

    def updates(jobs: list[Job]) -> int:
        return config.runs.num_steps * sum(len(job.cells) * job.repeats for job in jobs)

    bar = tqdm(
        total=updates(all_jobs),
        initial=updates(all_jobs) - updates(pending),
        unit="update",
        disable=not show_progress,
    )
    if config.place.executor == "ray":
        results = _run_on_ray(config, pending, dataset, bar.update)
    else:
        results = ((job, run_job(config, job, dataset, quality, bar.update)) for job in pending)
    with bar:
        for job, result in results:
            folder.save(job, result.rows, result.arrays)
            folders.merge(folder.path)
    return StudyResult(folder, len(all_jobs) - len(folder.pending()), len(all_jobs))


def run_job(
    config: StudyConfig,
    job: Job,
    dataset: ImageDataset,
    quality: SampleQuality,
    progress: Callable[[int], object] = lambda updates: None,
) -> JobResult:
    """Train all runs of a job side by side and measure them on the way.

    Args:
        config: the study.
        job: the job.
        dataset: its data.
        quality: of generated images.
        progress: told the number of updates, of all runs together, since it was last told.
    """
    replicas = build_replicas(config, job, dataset)
    num_runs = len(job.cells) * job.repeats
    program, runs = replicas.program, replicas.runs
    state = program.init(runs, replicas.num_temperatures)
    settings = config.measure
    every, count = settings.record_every, config.runs.num_steps // settings.record_every
    with_images = _spread(settings.num_quality, count)
    with_reference = _spread(settings.num_bias, count)
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    records: list[GradientRecord] = []
    images = np.zeros(0)
    for i in range(1, count + 1):
        done = i * every
        state = replicas.advance(state, done - every, every)
        record = replicas.measure_gradients(state, done, i in with_reference)
        records.append(record)
        if i in with_images:
            images = np.asarray(program.generate(state, runs))
        sums = jax.device_get(state.metric_sums)
        state = state._replace(metric_sums=jax.tree.map(np.zeros_like, sums))
        shared = {
            "dataset": config.data.dataset,
            "step": done,
            "gradient_evaluations": replicas.evaluations(done),
            "seconds": round((time.monotonic() - began) / num_runs, 3),
        }
        for run in range(num_runs):
            cell = job.cells[run // job.repeats]
            row = {"cell": cell.name, **vars(cell), "repeat": run % job.repeats, **shared}
            row |= {name: float(total[run]) / every for name, total in sums.items()}
            row["skipped_updates"] *= every
            row |= _statistics(record, run)
            if i in with_images:
                row |= quality.distances(images[run])
            rows.append(row)
        progress(every * num_runs)
    return JobResult(rows, _arrays(replicas, state, records, images))


def _spread(number: int, count: int) -> set[int]:
    """Choose ``number`` of the measurements 1 ... count, evenly spaced, the last among them."""
    number = min(number, count)
    return {round(count * (i + 1) / number) for i in range(number)}


def _statistics(record: GradientRecord, run: int) -> dict[str, float]:
    row: dict[str, float] = {}
    for group in folders.GROUPS:
        values = record.statistics[group]._asdict()
        values["legacy_variance"] = record.legacy_variance[group]
        row |= {f"{group}_{name}": float(value[run]) for name, value in values.items()}
    return row


def _arrays(
    replicas: Replicas, state: TrainState, records: list[GradientRecord], images: np.ndarray
) -> dict[str, np.ndarray]:
    job, ladders = replicas.job, replicas.runs.temperatures
    draws = jax.device_get(replicas.program.final_draws(state, replicas.runs))
    pixels = np.round((images[:, :_SAMPLES_KEPT] + 1) * 127.5).clip(0, 255)
    by_run = {
        "ladder": np.ones((len(images), 1)) if ladders is None else np.asarray(ladders),
        "mean_loglikelihood": np.stack([record.mean_loglikelihood for record in records], 1),
        "variance_loglikelihood": np.stack(
            [record.variance_loglikelihood for record in records], 1
        ),
        "loglikelihood": draws.loglikelihood.astype(np.float32),
        "latent": draws.latent.astype(np.float32),
        "samples": np.nan_to_num(pixels).astype(np.uint8),
    }
    steps = replicas.config.measure.record_every * np.arange(1, len(records) + 1)
    arrays: dict[str, np.ndarray] = {}
    for i, cell in enumerate(job.cells):
        runs = slice(i * job.repeats, (i + 1) * job.repeats)
        arrays |= {f"{cell.name}:{name}": value[runs] for name, value in by_run.items()}
        arrays |= {
            f"{cell.name}:ladder": by_run["ladder"][runs.start],
            f"{cell.name}:steps": steps,
        }
    return arrays


def _run_on_ray(
    config: StudyConfig,
    pending: list[Job],
    dataset: ImageDataset,
    progress: Callable[[int], object],
) -> Iterator[tuple[Job, JobResult]]:
    """Run jobs as tasks of a Ray cluster, in the order in which they end.

    Raises:
        InputError: if Ray is not installed or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise InputError(
            "--executor ray needs the package ray, which is not installed; expected it from "
            "pip install 'tempered-ebm[ray]'"
        ) from None
    is_ours = not ray.is_initialized()
    if is_ours:
        try:
            ray.init(address=config.place.address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError) as error:
            raise InputError(
                f"--address must be that of a running Ray cluster, got {config.place.address!r}: "
                f"{error}"
            ) from error
    try:
        # A feature map cannot be sent to a worker, which fits the same one.
        work = ray.remote(max_retries=0)(
            lambda job, dataset: run_job(config, job, dataset, fit_sample_quality(dataset))
        )
        shared = ray.put(dataset)
        # A job whose worker is lost is tried three times, then given up.
        running = {work.remote(job, shared): (job, 1) for job in pending}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            job, tries = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                if tries < _TRIES:
                    running[work.remote(job, shared)] = (job, tries + 1)
                else:
                    lost = f"gave up job {job.name} after {_TRIES} lost workers: {error}"
                    warnings.warn(lost, stacklevel=2)
                continue
            progress(config.runs.num_steps * len(job.cells) * job.repeats)
            yield job, result
    finally:
        if is_ours:
            ray.shutdown()
