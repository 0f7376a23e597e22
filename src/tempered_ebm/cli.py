"""The command line: ``tempered-ebm train | sample | evaluate | evidence | study | report``."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tempered_ebm.errors import DivergedError, InputError
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.training import kinds
from tempered_ebm.training.autoencoder.config import AutoencoderConfig
from tempered_ebm.training.data_ebm.config import DataEBMConfig
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.latent.config import LatentConfig
from tempered_ebm.training.options import ParallelConfig
from tempered_ebm.training.vae.config import VAEConfig

if TYPE_CHECKING:
    from tempered_ebm.training.data import AnyDataset
    from tempered_ebm.training.parallel import Devices
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
_DESCRIPTION = (
    "Train, sample and evaluate energy-based models by tempered Langevin sampling; estimate the "
    "evidence of NumPyro models."
)


@dataclass(frozen=True)
class _Training:
    """What every way to train takes beside its configuration."""

    resume: Path | None = None
    """Go on with this run folder from its newest checkpoint; takes no option but --no-evaluate and
    those of devices and processes."""
    evaluate: bool = True
    """Evaluate and draw pictures after the last update."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)


@dataclass(frozen=True)
class TrainLatent(_Training, LatentConfig):
    """Train a latent EBM; without options, on the embedded 8x8 digits.

    Other models have commands of their own: train data, an energy-based model of the data; train
    jem, a classifier that is a density, too; train autoencoder, a plain one with an
    energy-based model of its codes; train vae, a variational one.
    """

    preset: str | None = None
    """Begin from a named configuration; other options change it: pang2020-svhn, pang2020-cifar10,
    pang2020-celeba, thermo-svhn, thermo-cifar10, thermo-celeba (long, for accelerators), digits,
    mnist, svhn-small (for two cores)."""


@dataclass(frozen=True)
class TrainVAE(_Training, VAEConfig):
    """Train a variational autoencoder, the baseline of the latent EBM.

    It has the same generator, the prior N(0, I) and an encoder.
    """


@dataclass(frozen=True)
class TrainData(_Training, DataEBMConfig):
    """Train an energy-based model of the data themselves, points of the plane or images."""


@dataclass(frozen=True)
class TrainJEM(_Training, JEMConfig):
    """Train a joint energy-based model: a classifier that is a density of its images, too."""


@dataclass(frozen=True)
class TrainAutoencoder(_Training, AutoencoderConfig):
    """Train an autoencoder of binary images, and an energy-based model of its codes."""


_TRAIN: dict[str, type[_Training]] = {
    "latent": TrainLatent,
    "autoencoder": TrainAutoencoder,
    "data": TrainData,
    "jem": TrainJEM,
    "vae": TrainVAE,
}


@dataclass(frozen=True)
class Sample:
    """Draw from the model of a run, images or points; replaces its samples.npz and samples.png."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/LAST."""
    num_samples: int = 100
    """Number of draws."""
    seed: int = 0
    """Seed of the chains."""
    animate: bool = False
    """Write samples.gif as well: the first 100 chains on their way from where they start."""
    num_frames: int = 25
    """Frames of samples.gif."""
    checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint: the newest, or the best by the --best-metric of the run."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a run: Fréchet and kernel distance, reconstruction error, log-evidence; pictures."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/LAST."""
    seed: int = 0
    """Seed of the chains."""
    checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint: the newest, or the best by the --best-metric of the run."""


@dataclass(frozen=True)
class Evidence:
    """Estimate the log evidence log p(data) of a NumPyro model, with what speaks against it.

    The arrays of the data file become keyword arguments of the model, by name.
    """

    model: tyro.conf.Positional[str]
    """The model as module:model, or path/to/file.py:model; modules of the current folder count."""
    data: Path | None = None
    """An .npz archive, a .csv table with a row of names, or a .json object of lists."""
    seed: int = 0
    """Seed of starts and chains."""
    num_ensembles: int = 32
    """Independent ensembles, one ladder of chains each; 16 or more give honest errors."""
    path: Literal["auto", "reference", "prior"] = "auto"
    """Where the path to the posterior starts: a fitted reference, or the prior."""
    num_temperatures: int | None = None
    """Length of the ladder of the path from the prior."""
    num_samples: int | None = None
    """Steps of each chain; with a target standard error the first ones."""
    budget: int | None = None
    """Evaluations in all, in place of --num-samples; a value without gradient counts a third."""
    target_standard_error: float | None = None
    """Go on until the standard error in nats is at most this."""
    output: Path | None = None
    """Folder for report.txt, report.json and integrand.png; files of these names are replaced."""


@dataclass(frozen=True)
class Study(StudyConfig):
    """Train a grid of latent EBMs and measure their learning gradients and images on the way.

    The same command goes on with a study that was stopped. See also the report command.
    """


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about a study, finished or not, or a training run."""

    folder: tyro.conf.Positional[Path]
    """Study folder, such as studies/study, or run folder, such as runs/LAST."""


_Others = (
    Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Evidence, tyro.conf.subcommand("evidence")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


def _one_line(message: str) -> str:
    """The first paragraph of one of tyro's boxes, and its suggestion if it has one."""
    lines = [line.strip("│ ").strip() for line in message.splitlines()]
    body = [line for line in lines if line and line[0] not in "╭╰"]
    rules = [i for i, line in enumerate(body) if set(line) == {"─"}]
    text = " ".join(body[: rules[0]] if rules else body)
    if "Perhaps you meant:" in body:
        text += f" (did you mean {body[body.index('Perhaps you meant:') + 1].split()[0]}?)"
    elif text.startswith("Unrecognized options"):
        text += "; expected an option that --help lists"
    return text.split(" Got errors:")[0]


def _named_preset(arguments: Sequence[str]) -> str | None:
    """Value of --preset, which has to be known before the other options are read."""
    for i, argument in enumerate(arguments):
        if argument.startswith("--preset="):
            return argument.partition("=")[2]
        if argument == "--preset" and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _split_kind(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The model that the train command names, and the arguments without it."""
    arguments = list(arguments)
    if arguments[:1] == ["train"] and arguments[1:2] and arguments[1] in _TRAIN:
        return arguments[1], [arguments[0], *arguments[2:]]
    return "latent", arguments


def _commands(kind: str, arguments: Sequence[str]) -> Any:
    train: Any = _TRAIN[kind]
    name = _named_preset(arguments) if train is TrainLatent and arguments[:1] == ["train"] else None
    default = train()
    if name is not None:
        from tempered_ebm.training.latent.presets import preset

        default = train(**vars(preset(name)))
    return Annotated[train, tyro.conf.subcommand("train", default=default)] | _Others


def _parse(arguments: Sequence[str]) -> Any:
    errors = io.StringIO()
    kind, arguments = _split_kind(arguments)
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                _commands(kind, arguments),
                prog="tempered-ebm",
                description=_DESCRIPTION,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_one_line(errors.getvalue())) from None


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
    from tempered_ebm.training import data, run_folder

    kind = kinds.of(command)
    config = kind.config(**{f.name: getattr(command, f.name) for f in fields(kind.config)})
    kind.validate(config)
    if not devices.is_alone and config.run.name is None:
        raise InputError("--name must be given with --num-processes above 1, got none")
    dataset = data.load_dataset(config.data)
    config = kind.resolve(config, dataset)
    devices.require_divisible(config.optimizer.batch_size)
    folder = run_folder.create(config, dataset) if devices.writes else None
    devices.wait("the run folder is made")
    return folder or run_folder.open_run(config.run.output_dir / str(config.run.name)), dataset


def _train(command: Any, arguments: Sequence[str]) -> int:
    from tempered_ebm.training import loop, options, parallel, run_folder

    options.validate_parallel(command.parallel)
    if command.resume is not None:
        _refuse_options_with_resume(arguments)
        folder = run_folder.open_run(command.resume)
        dataset = run_folder.load_dataset(folder)
        devices = parallel.start(command.parallel)
    else:
        devices = parallel.start(command.parallel)
        folder, dataset = _begin(command, devices)
    if devices.writes:
        print(f"run folder {folder.path}", flush=True)
    with _complaining():
        result = loop.train(
            folder,
            dataset,
            resume=command.resume is not None,
            devices=devices,
            show_progress=devices.writes,
        )
    params = devices.to_host(result.params)
    devices.part()
    if not result.is_finished:
        if devices.writes:
            go_on = f"tempered-ebm train --resume {folder.path}"
            print(f"interrupted after {result.step} updates; go on with: {go_on}", file=sys.stderr)
        return _INTERRUPTED
    if command.evaluate and devices.writes:
        print("evaluating", flush=True)
        hooks = kinds.of(folder.config).hooks
        print(hooks.evaluate(folder, dataset, params, result.step))
    if devices.writes:
        print(f"run folder {folder.path}")
    return 0


def _sample(command: Sample) -> int:
    import jax
    import numpy as np

    from tempered_ebm import checks, plotting
    from tempered_ebm.training import loop, run_folder, walks

    checks.at_least("--num-samples", command.num_samples, 1)
    checks.at_least("--num-frames", command.num_frames, 2)
    checks.seed("--seed", command.seed)
    folder = run_folder.open_run(command.run)
    hooks = kinds.of(folder.config).hooks
    if command.animate and hooks.walk is None:
        raise InputError(f"--animate needs a model with chains, and {folder.path} has none")
    with _complaining():
        params, step = loop.load_params(folder, best=command.checkpoint == "best")
    config = loop.settled_config(folder, step)
    images = hooks.generate(
        config, folder, params, jax.random.key(command.seed), command.num_samples
    )
    archive = io.BytesIO()
    title = "draws from the model"
    if images.ndim == 4:
        x = np.round((images + 1) * 127.5).clip(0, 255).astype(np.uint8)
        figure = plotting.image_panels({title: images[:400]})
    else:
        x, figure = images, plotting.scatter(images, title)
    np.savez_compressed(archive, x=x)
    run_folder.write_atomically(folder.path / "samples.npz", archive.getvalue())
    run_folder.write_atomically(folder.path / "samples.png", plotting.to_png(figure))
    if command.animate and hooks.walk is not None:
        start_key, walk_key = jax.random.split(jax.random.key(command.seed))
        num_chains = min(command.num_samples, _WATCHED)
        walk = hooks.walk(config, folder, params, start_key, num_chains, command.num_frames)
        gif = plotting.sampling(walks.frames(walk, walk_key, command.num_frames))
        run_folder.write_atomically(folder.path / "samples.gif", gif)
    print(f"{len(images)} draws in {folder.path / 'samples.npz'}, picture beside it")
    return 0


def _evaluate(command: Evaluate) -> int:
    from tempered_ebm import checks
    from tempered_ebm.training import loop, run_folder

    checks.seed("--seed", command.seed)
    folder = run_folder.open_run(command.run)
    with _complaining():
        params, step = loop.load_params(folder, best=command.checkpoint == "best")
    dataset = run_folder.load_dataset(folder)
    hooks = kinds.of(folder.config).hooks
    print(hooks.evaluate(folder, dataset, params, step, seed=command.seed))
    return 0


def _evidence(command: Evidence) -> int:
    from tempered_ebm import evidence_command

    options = ("path", "num_temperatures", "num_samples", "budget", "target_standard_error")
    if command.output is not None:
        evidence_command.check_folder(command.output)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
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
        warnings.showwarning = lambda message, *_: _complain(f"warning: {message}")
        yield


def _study(command: Study) -> int:
    from tempered_ebm.study import config as studies
    from tempered_ebm.study.study import run_study
    from tempered_ebm.training import data

    config = StudyConfig(command.data, command.grid, command.runs, command.measure, command.place)
    studies.validate(config)
    result = run_study(config, data.load_images(config.data))
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
        match _parse(arguments):
            case _Training() as command:
                status = _train(command, arguments)
            case Sample() as command:
                status = _sample(command)
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
