"""Running a study: one job after the other, each kept as soon as it is done."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from tempered_ebm import metrics
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.learning import GradientStatistics
from tempered_ebm.study import table
from tempered_ebm.study.cells import Job
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.study.replicas import Replicas, build_replicas
from tempered_ebm.training.state import TrainState

GROUPS = table.GROUPS
_SAMPLES_KEPT = 64


class JobResult(NamedTuple):
    """What a job leaves: rows of the table, and an npz archive of arrays.

    Attributes:
        rows: one per cell, repeat and measurement.
        arrays: the archive's bytes.
    """

    rows: list[dict[str, Any]]
    arrays: bytes


class Judge(NamedTuple):
    """Distances of generated images to held-out ones.

    Attributes:
        features: feature map, fitted on the training images.
        held_out: features of the held-out images.
    """

    features: metrics.FeatureMap
    held_out: np.ndarray

    def distances(self, images: np.ndarray) -> dict[str, float]:
        """Fréchet and kernel distance; NaN where an image is not finite."""
        if not np.all(np.isfinite(images)):
            return {"frechet": float("nan"), "kernel": float("nan")}
        features = self.features(images)
        return {
            "frechet": metrics.frechet_distance(features, self.held_out),
            "kernel": metrics.kernel_distance(features, self.held_out),
        }


def build_judge(dataset: ImageDataset) -> Judge:
    """Fit the feature space of a data set; the same wherever it is fitted."""
    from tempered_ebm.training.evaluation import fit_features

    features = fit_features(dataset).features
    return Judge(features, features(dataset.x_test))


def _spread(number: int, count: int) -> set[int]:
    """``number`` of the measurements 1 ... count, evenly spaced, the last among them."""
    number = min(number, count)
    return {round(count * (i + 1) / number) for i in range(number)}


def run_job(
    config: StudyConfig,
    job: Job,
    dataset: ImageDataset,
    judge: Judge,
    progress: Callable[[int], object] = lambda updates: None,
) -> JobResult:
    """Train all runs of a job side by side and measure them on the way.

    Args:
        config: the study.
        job: the job.
        dataset: its data.
        judge: of generated images.
        progress: told the number of updates made since it was last told.
    """
    replicas = build_replicas(config, job, dataset)
    state = replicas.init()
    every, count = config.measure.record_every, config.runs.num_steps // config.measure.record_every
    quality, bias = (
        _spread(config.measure.num_quality, count),
        _spread(config.measure.num_bias, count),
    )
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    integrands: list[tuple[np.ndarray, np.ndarray]] = []
    images = np.zeros(0)
    for i in range(1, count + 1):
        state = replicas.advance(state, (i - 1) * every, every)
        done = i * every
        record = replicas.measure_gradients(state, done, i in bias)
        integrands.append((record.mean_loglikelihood, record.variance_loglikelihood))
        if i in quality:
            images = replicas.generate(state, done)
        seconds = time.monotonic() - began
        sums = jax.device_get(state.metric_sums)
        for run in range(replicas.num_runs):
            row = _row(replicas, sums, record, run, done, every, seconds)
            if i in quality:
                row |= judge.distances(images[run])
            rows.append(row)
        zeros = {name: 0 * total for name, total in state.metric_sums.items()}
        state = state._replace(metric_sums=zeros)
        progress(every)
    return JobResult(rows, _archive(replicas, state, integrands, images))


def _row(
    replicas: Replicas,
    sums: dict[str, np.ndarray],
    record: Any,
    run: int,
    done: int,
    every: int,
    seconds: float,
) -> dict[str, Any]:
    cell = replicas.job.cells[run // replicas.job.repeats]
    means = {name: float(total[run]) / every for name, total in sums.items()}
    row = {
        "cell": cell.name,
        "estimator": cell.estimator,
        "schedule": cell.schedule,
        "power": cell.power,
        "num_temperatures": cell.num_temperatures,
        "batch_size": cell.batch_size,
        "posterior_steps": cell.posterior_steps,
        "metropolis": int(cell.metropolis),
        "replica_exchange": int(cell.replica_exchange),
        "dataset": replicas.config.data.dataset,
        "repeat": run % replicas.job.repeats,
        "step": done,
        "gradient_evaluations": replicas.evaluations(done),
        "seconds": round(seconds / replicas.num_runs, 3),
        **{name: means[name] for name in ("loss", "loglikelihood", "reconstruction_error")},
        "skipped_updates": means["skipped_updates"] * every,
    }
    for group in GROUPS:
        values: GradientStatistics = record.statistics[group]
        row |= {f"{group}_{name}": float(value[run]) for name, value in values._asdict().items()}
        row[f"{group}_legacy_variance"] = float(record.legacy_variance[group][run])
    return row


def _archive(
    replicas: Replicas,
    state: TrainState,
    integrands: list[tuple[np.ndarray, np.ndarray]],
    images: np.ndarray,
) -> bytes:
    draws = replicas.final_draws(state)
    job, settings = replicas.job, replicas.config.measure
    mean, variance = (np.stack(series, axis=1) for series in zip(*integrands, strict=True))
    steps = settings.record_every * np.arange(1, len(integrands) + 1)
    pixels = np.round((images[:, :_SAMPLES_KEPT] + 1) * 127.5).clip(0, 255)
    arrays: dict[str, np.ndarray] = {}
    for i, cell in enumerate(job.cells):
        part = slice(i * job.repeats, (i + 1) * job.repeats)
        ladder = (
            np.ones(1)
            if replicas.temperatures is None
            else np.asarray(replicas.temperatures[part.start])
        )
        arrays |= {
            f"{cell.name}:{name}": value
            for name, value in {
                "ladder": ladder,
                "steps": steps,
                "mean_loglikelihood": mean[part],
                "variance_loglikelihood": variance[part],
                "loglikelihood": draws.loglikelihood[part].astype(np.float32),
                "latent": draws.latent[part].astype(np.float32),
                "samples": np.nan_to_num(pixels[part]).astype(np.uint8),
            }.items()
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def clear_compiled() -> None:
    """Forget the compiled programs of a finished job: each job has its own."""
    jax.clear_caches()
