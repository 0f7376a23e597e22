"""The command line, ``tempered-ebm`` with a command.

Commands are train, sample, inpaint, denoise, evaluate, evidence, study and report.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tempered_ebm.cli import _compilation_cache as compilation_cache
from tempered_ebm.cli.commands import (
    Denoise,
    Evaluate,
    Evidence,
    Inpaint,
    Report,
    Sample,
    Study,
    Training,
    parse,
)
from tempered_ebm.errors import DivergedError, InputError
from tempered_ebm.study.config import StudyConfig

if TYPE_CHECKING:
    from tempered_ebm.training.config import AnyDataset
    from tempered_ebm.training.devices import Devices
    from tempered_ebm.training.run_folder import RunFolder

_INTERRUPTED = 130
_WATCHED = 100
_WITH_RESUME = (
    "--resume",
    "--evaluate",
    "--no-evaluate",
    "--devices",
    "--coordinator",
    "--num-processes",
    "--process-id",
)


def _refuse_options_with_resume(arguments: Sequence[str]) -> None:
    options = [a.split("=")[0] for a in arguments if a.startswith("--")]
    others = [name for name in options if name not in _WITH_RESUME]
    if others:
        raise InputError(
            "--resume takes no option but --no-evaluate and those of devices and processes: a run "
            f"goes on as it was configured, got {' '.join(others)}"
        )


def _begin(command: Any, devices: Devices) -> tuple[RunFolder, AnyDataset]:
    """Make the run folder of a new run, or in a process that does not write, open it."""
    from tempered_ebm.training import run_folder
    from tempered_ebm.training.config import load_dataset

    kind = run_folder.CONFIGS[command.kind]
    config = kind(**{f.name: getattr(command, f.name) for f in fields(kind)})
    config.validate()
    if not devices.is_alone and config.run.name is None:
        raise InputError("--name must be given with --num-processes above 1, got none")
    dataset = load_dataset(config.data)
    config = config.resolve(dataset)
    devices.require_divisible(config.optimizer.batch_size)
    folder = run_folder.create(config, dataset) if devices.is_main_process else None
    devices.wait("the run folder is made")
    return folder or run_folder.open_run(config.run.output_dir / str(config.run.name)), dataset


def _train(command: Any, arguments: Sequence[str]) -> int:
    from tempered_ebm.training import devices as device_module
    from tempered_ebm.training import loop, run_folder

    command.parallel.validate()
    if command.resume is not None:
        _refuse_options_with_resume(arguments)
        folder = run_folder.open_run(command.resume)
        dataset = folder.load_dataset()
        devices = device_module.start(command.parallel)
    else:
        devices = device_module.start(command.parallel)
        folder, dataset = _begin(command, devices)
    if devices.is_main_process:
        print(f"run folder {folder.path}", flush=True)
    with _complaining():
        result = loop.train(
            folder,
            dataset,
            resume=command.resume is not None,
            devices=devices,
            show_progress=devices.is_main_process,
        )
    params = devices.to_host(result.params)
    devices.shutdown()
    if not result.is_finished:
        if devices.is_main_process:
            go_on = f"tempered-ebm train --resume {folder.path}"
            print(f"interrupted after {result.step} updates; go on with: {go_on}", file=sys.stderr)
        return _INTERRUPTED
    if command.evaluate and devices.is_main_process:
        print("evaluating", flush=True)
        print(loop.evaluate(folder, dataset, params, result.step))
    if devices.is_main_process:
        print(f"run folder {folder.path}")
    return 0


def _sample(command: Sample) -> int:
    import jax
    import numpy as np

    from tempered_ebm import _checks as checks
    from tempered_ebm import _files, plotting
    from tempered_ebm.training import loop, run_folder

    checks.at_least("--num-samples", command.num_samples, 1)
    checks.at_least("--num-frames", command.num_frames, 2)
    checks.seed("--seed", command.seed)
    folder = run_folder.open_run(command.run)
    task = folder.task
    if command.animate and not task.has_chains:
        raise InputError(f"--animate needs a model with chains, and {folder.path} has none")
    of_class = _of_class(command, folder)
    with _complaining():
        params, step = loop.load_params(folder, best=command.checkpoint == "best")
    config = loop.settled_config(folder, step)
    images = task.generate(
        config, folder, params, jax.random.key(command.seed), command.num_samples, **of_class
    )
    archive = io.BytesIO()
    title = "draws from the model"
    if images.ndim == 4:
        x = np.round((images + 1) * 127.5).clip(0, 255).astype(np.uint8)
        figure = plotting.image_panels({title: images[:400]})
    else:
        x, figure = images, plotting.scatter(images, title)
    np.savez_compressed(archive, x=x)
    _files.write_atomically(folder.path / "samples.npz", archive.getvalue())
    _files.write_atomically(folder.path / "samples.png", plotting.to_png(figure))
    if command.animate:
        start_key, chain_key = jax.random.split(jax.random.key(command.seed))
        num_chains = min(command.num_samples, _WATCHED)
        of_class = {name: label[:num_chains] for name, label in of_class.items()}
        trajectory = task.trajectory(
            config, folder, params, start_key, num_chains, command.num_frames, **of_class
        )
        gif = trajectory.animation(chain_key, command.num_frames)
        _files.write_atomically(folder.path / "samples.gif", gif)
    print(f"{len(images)} draws in {folder.path / 'samples.npz'}, picture beside it")
    return 0


def _of_class(command: Sample, folder: RunFolder) -> dict[str, Any]:
    """What --label adds to the arguments of sampling."""
    import numpy as np

    if command.label is None:
        return {}
    count = folder.task.num_classes(folder.config)
    if count is None:
        raise InputError(
            f"--label needs a joint energy-based model, and {folder.path} is a run of train "
            f"{folder.config.kind}"
        )
    if not 0 <= command.label < count:
        raise InputError(f"--label must be from 0 to {count - 1}, got {command.label}")
    return {"label": np.full(command.num_samples, command.label)}


def _restore(command: Inpaint | Denoise) -> int:
    from tempered_ebm.training import restoration, run_folder

    config = restoration.RestorationConfig(
        command.num_images, command.num_steps, command.seed, command.checkpoint == "best"
    )
    folder = run_folder.open_run(command.run)
    with _complaining():
        if isinstance(command, Inpaint):
            found = restoration.inpaint_images(folder, config, command.missing, command.fraction)
        else:
            found = restoration.denoise_images(
                folder, config, command.noise_scale, command.prior_weight
            )
    print(found)
    return 0


def _evaluate(command: Evaluate) -> int:
    from tempered_ebm import _checks as checks
    from tempered_ebm.training import loop, run_folder

    checks.seed("--seed", command.seed)
    folder = run_folder.open_run(command.run)
    if command.others and not (folder.task.takes_others and len(folder.event_shape) == 3):
        raise InputError(f"--others needs a density of images, and {folder.path} has none")
    with _complaining():
        params, step = loop.load_params(folder, best=command.checkpoint == "best")
    dataset = folder.load_dataset()
    table = loop.evaluate(
        folder, dataset, params, step, seed=command.seed, others=command.others or ()
    )
    print(table)
    return 0


def _evidence(command: Evidence) -> int:
    from tempered_ebm.cli import evidence as evidence_command

    options = ("path", "num_temperatures", "num_samples", "budget", "target_standard_error")
    if command.output is not None:
        evidence_command.check_folder(command.output)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        compilation_cache.ignore_complaints()
        report = evidence_command.estimate(
            command.model,
            command.data,
            command.seed,
            command.num_ensembles,
            {name: getattr(command, name) for name in options},
        )
    print(report)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        if message not in report.warnings:
            _complain(f"warning: {message}")
    if command.output is not None:
        evidence_command.save(report, command.output, vars(command))
        print(f"report.txt, report.json and integrand.png in {command.output}")
    return _INTERRUPTED if report.stopped.startswith("interrupted") else 0


@contextlib.contextmanager
def _complaining() -> Iterator[None]:
    """Context in which a warning of the library is one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        compilation_cache.ignore_complaints()
        warnings.showwarning = lambda message, *_: _complain(f"warning: {message}")
        yield


def _study(command: Study) -> int:
    from tempered_ebm.study import config as studies
    from tempered_ebm.study.run import run_study
    from tempered_ebm.training.config import load_images

    config = StudyConfig(command.data, command.grid, command.runs, command.measure, command.place)
    studies.validate(config)
    result = run_study(config, load_images(config.data))
    print(f"{result.num_done} of {result.num_jobs} jobs done, table in {result.folder.path}")
    return 0 if result.num_done == result.num_jobs else 1


def _report(command: Report) -> int:
    from tempered_ebm.study.report import write_report

    print(write_report(command.folder))
    return 0


def _complain(message: str) -> None:
    print("tempered-ebm: " + " ".join(message.split()), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input and disk errors end in one line and a non-zero status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parsed = parse(arguments)
        compilation_cache.enable()
        compilation_cache.ignore_complaints()
        match parsed:
            case Training() as command:
                status = _train(command, arguments)
            case Sample() as command:
                status = _sample(command)
            case Inpaint() | Denoise() as command:
                status = _restore(command)
            case Evaluate() as command:
                status = _evaluate(command)
            case Evidence() as command:
                status = _evidence(command)
            case Study() as command:
                status = _study(command)
            case Report() as command:
                status = _report(command)
    except KeyboardInterrupt:
        _complain("interrupted")
        status = _INTERRUPTED
    except InputError as error:
        _complain(str(error))
        status = 2
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        _complain(f"{error.filename}: {error.strerror}" if named else str(error))
        status = 1
    except DivergedError as error:
        _complain(str(error))
        status = 1
    raise SystemExit(status)
