"""Where the jobs of a study run: in this process, or on a Ray cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.study.cells import Job
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.study.run import JobResult, Judge, build_judge, clear_compiled, run_job

_TRIES = 3


def run_locally(
    config: StudyConfig,
    pending: list[Job],
    dataset: ImageDataset,
    judge: Judge,
    progress: Callable[[Job, int], object],
) -> Iterator[tuple[Job, JobResult]]:
    """One job after the other, each with all devices of this process."""
    for job in pending:

        def tell(updates: int, job: Job = job) -> None:
            progress(job, updates)

        yield job, run_job(config, job, dataset, judge, tell)
        clear_compiled()


def _work(config: StudyConfig, job: Job, dataset: ImageDataset) -> JobResult:
    """What a worker does; it fits the judge itself, which is the same everywhere."""
    result = run_job(config, job, dataset, build_judge(dataset))
    clear_compiled()
    return result


def run_on_ray(
    config: StudyConfig,
    pending: list[Job],
    dataset: ImageDataset,
    progress: Callable[[Job, int], object],
) -> Iterator[tuple[Job, JobResult]]:
    """Jobs as tasks of a Ray cluster, in the order in which they end.

    A job whose worker is lost is tried again, three times in all, and given up with a warning
    after that; the others are not touched.

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
        yield from _harvest(ray, config, pending, dataset, progress)
    finally:
        if is_ours:
            ray.shutdown()


def _harvest(
    ray: Any,
    config: StudyConfig,
    pending: list[Job],
    dataset: ImageDataset,
    progress: Callable[[Job, int], object],
) -> Iterator[tuple[Job, JobResult]]:
    work = ray.remote(max_retries=0)(_work)
    shared = ray.put(dataset)
    running = {work.remote(config, job, shared): (job, 1) for job in pending}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        job, tries = running.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            if tries < _TRIES:
                running[work.remote(config, job, shared)] = (job, tries + 1)
            else:
                warnings.warn(
                    f"gave up job {job.name} after {_TRIES} lost workers: {error}", stacklevel=2
                )
            continue
        progress(job, config.runs.num_steps)
        yield job, result
