"""A whole study: what is not done yet, done and kept, with progress."""

from __future__ import annotations

from typing import Any, NamedTuple

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.study import executors, table
from tempered_ebm.study.cells import Job, jobs
from tempered_ebm.study.config import StudyConfig, validate
from tempered_ebm.study.folder import StudyFolder, open_study
from tempered_ebm.study.run import build_judge


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


def run_study(
    config: StudyConfig, dataset: ImageDataset, *, show_progress: bool = True
) -> StudyResult:
    """Run the jobs of a study that are not done, and merge their rows into one table.

    A job is kept when it is done. Stopping a study, or losing a worker, loses the jobs that
    were running and nothing else; the same call goes on with it.

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
    judge = build_judge(dataset)
    folder = open_study(config, dataset, judge)
    all_jobs = list(jobs(config))
    pending = folder.pending()
    per_job = config.runs.num_steps
    weights = {job.name: len(job.cells) * job.repeats for job in all_jobs}
    total = per_job * sum(weights.values())
    done_before = total - per_job * sum(weights[job.name] for job in pending)
    bar = tqdm(total=total, initial=done_before, unit="update", disable=not show_progress)

    def progress(job: Job, updates: int) -> None:
        bar.update(updates * weights[job.name])

    runner: Any
    if config.place.executor == "ray":
        runner = executors.run_on_ray(config, pending, dataset, progress)
    else:
        runner = executors.run_locally(config, pending, dataset, judge, progress)
    with bar:
        for job, result in runner:
            folder.save(job, result)
            table.merge(folder.path)
    return StudyResult(folder, len(all_jobs) - len(folder.pending()), len(all_jobs))
