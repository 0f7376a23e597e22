"""The commands: a dataclass of options for each, and what it does."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, subcommand

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.training.autoencoder.config import AutoencoderConfig
from tempered_ebm.training.config import ParallelConfig
from tempered_ebm.training.data_ebm import config as data_ebm
from tempered_ebm.training.jem import config as jem
from tempered_ebm.training.latent import config as latent
from tempered_ebm.training.vae.config import VAEConfig

# What commands do is imported by them: --help must not wait for it.
if TYPE_CHECKING:
    from tempered_ebm.training.config import AnyDataset
    from tempered_ebm.training.devices import Devices
    from tempered_ebm.training.run_folder import RunFolder

INTERRUPTED = 130
"""Exit status of a command that was interrupted."""
_DESCRIPTION = (
    "Train, sample and evaluate energy-based models by tempered Langevin sampling; estimate the "
    "evidence of NumPyro models."
)
_ANIMATED = 100


def print_error(message: str) -> None:
    """Print one line on standard error."""
    print("tempered-ebm: " + " ".join(message.split()), file=sys.stderr)


@dataclass(frozen=True)
class Training:
    """Options of every way to train beside its configuration."""

    resume: Path | None = None
    """Go on with this run folder from its newest checkpoint; takes no option but --no-evaluate and
    those of devices and processes."""
    evaluate: bool = True
    """Evaluate and draw pictures after the last update."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)

    def execute(self) -> int:
        """Train a new run, or go on with one."""
        from tempered_ebm.training import devices as all_devices
        from tempered_ebm.training import loop, run_folder

        self.parallel.validate()
        if self.resume is not None:
            folder = run_folder.open_run(self.resume)
            dataset = folder.load_dataset()
            devices = all_devices.start(self.parallel)
        else:
            devices = all_devices.start(self.parallel)
            folder, dataset = self._begin(devices)
        if devices.is_main_process:
            print(f"run folder {folder.path}", flush=True)
        result = loop.train(
            folder,
            dataset,
            resume=self.resume is not None,
            devices=devices,
            show_progress=devices.is_main_process,
        )
        params = devices.to_host(result.params)
        devices.shutdown()
        if not devices.is_main_process:
            return 0 if result.is_finished else INTERRUPTED
        if not result.is_finished:
            go_on = f"tempered-ebm train --resume {folder.path}"
            print(f"interrupted after {result.step} updates; go on with: {go_on}", file=sys.stderr)
            return INTERRUPTED
        if self.evaluate:
            print("evaluating", flush=True)
            print(loop.evaluate(folder, dataset, params, result.step))
        print(f"run folder {folder.path}")
        return 0

    def _begin(self, devices: Devices) -> tuple[RunFolder, AnyDataset]:
        """Make the run folder of a new run, or open it in a process that does not write."""
        from tempered_ebm.training import run_folder
        from tempered_ebm.training.config import load_dataset

        config_class = run_folder.CONFIGS[self.kind]  # type: ignore[attr-defined]
        config = config_class(**{f.name: getattr(self, f.name) for f in fields(config_class)})
        config.validate()
        if not devices.is_alone and config.run.name is None:
            raise InputError("--name must be given with --num-processes above 1, got none")
        dataset = load_dataset(config.data)
        config = config.resolve(dataset)
        devices.require_divisible(config.optimizer.batch_size)
        folder = run_folder.create(config, dataset) if devices.is_main_process else None
        devices.wait("the run folder is made")
        return folder or run_folder.open_run(config.run.output_dir / str(config.run.name)), dataset


@dataclass(frozen=True)
class TrainLatent(Training, latent.LatentConfig):
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
class TrainVAE(Training, VAEConfig):
    """Train a variational autoencoder, the baseline of the latent EBM.

    It has the same generator, the prior N(0, I) and an encoder.
    """


@dataclass(frozen=True)
class TrainData(Training, data_ebm.DataEBMConfig):
    """Train an energy-based model of the data themselves, points of the plane or images."""

    preset: str | None = None
    """Begin from a named configuration; other options change it: igebm, anatomy,
    anatomy-persistent (of papers), mnist, fashion_mnist, svhn, cifar10 (long, for accelerators),
    toy, mnist-small, fashion-small, svhn-small, cifar10-small (for two cores)."""


@dataclass(frozen=True)
class TrainJEM(Training, jem.JEMConfig):
    """Train a joint energy-based model: a classifier that is a density of its images, too."""

    preset: str | None = None
    """Begin from a named configuration; other options change it: jem (of the paper, long, for
    accelerators), mnist-small, fashion-small (for two cores)."""


@dataclass(frozen=True)
class TrainAutoencoder(Training, AutoencoderConfig):
    """Train an autoencoder of binary images, and an energy-based model of its codes."""


@dataclass(frozen=True)
class Train:
    """Train a model, by default a latent EBM on the embedded 8x8 digits."""

    model: (
        Annotated[TrainLatent, subcommand("latent")]
        | Annotated[TrainAutoencoder, subcommand("autoencoder")]
        | Annotated[TrainData, subcommand("data")]
        | Annotated[TrainJEM, subcommand("jem")]
        | Annotated[TrainVAE, subcommand("vae")]
    )


_PRESETS = {TrainLatent: latent.preset, TrainData: data_ebm.preset, TrainJEM: jem.preset}


@dataclass(frozen=True)
class OfRun:
    """Options of every command on a run."""

    run: Positional[Path]
    """Run folder, such as runs/LAST."""
    seed: int = 0
    """Seed of chains, and of whatever else is random."""
    checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint: the newest, or the best by the --best-metric of the run."""


@dataclass(frozen=True)
class Sample(OfRun):
    """Draw from the model of a run, images or points; replaces its samples.npz and samples.png."""

    num_samples: int = 100
    """Number of draws."""
    label: int | None = None
    """Class of all draws, for a joint energy-based model. Default: all classes in turn."""
    animate: bool = False
    """Write samples.gif as well: the first 100 chains on their way from where they start."""
    num_frames: int = 25
    """Frames of samples.gif."""

    def execute(self) -> int:
        """Draw, and write the draws and their pictures."""
        import jax
        import numpy as np

        from tempered_ebm import _files, plotting
        from tempered_ebm.training import loop, run_folder

        checks.at_least("--num-samples", self.num_samples, 1)
        checks.at_least("--num-frames", self.num_frames, 2)
        checks.seed("--seed", self.seed)
        folder = run_folder.open_run(self.run)
        task = folder.task
        if self.animate and not task.has_chains:
            raise InputError(f"--animate needs a model with chains, and {folder.path} has none")
        label = self._labels(folder)
        trained = loop.load_trained(folder, best=self.checkpoint == "best")
        key = jax.random.key(self.seed)
        x = task.generate(trained, key, self.num_samples, label)
        title = "draws from the model"
        if x.ndim == 4:
            figure = plotting.image_panels({title: x[:400]})
            x = np.round((x + 1) * 127.5).clip(0, 255).astype(np.uint8)
        else:
            figure = plotting.scatter(x, title)
        with _files.open_atomically(folder.path / "samples.npz") as file:
            np.savez_compressed(file, x=x)
        _files.write_atomically(folder.path / "samples.png", plotting.to_png(figure))
        if self.animate:
            start_key, chain_key = jax.random.split(key)
            num_chains = min(self.num_samples, _ANIMATED)
            if label is not None:
                label = label[:num_chains]
            trajectory = task.trajectory(trained, start_key, num_chains, self.num_frames, label)
            gif = trajectory.animation(chain_key, self.num_frames)
            _files.write_atomically(folder.path / "samples.gif", gif)
        print(f"{len(x)} draws in {folder.path / 'samples.npz'}, picture beside it")
        return 0

    def _labels(self, folder: RunFolder) -> Any:
        """Return the class of each draw, or None for all in turn."""
        import numpy as np

        if self.label is None:
            return None
        count = folder.task.num_classes(folder.config)
        if count is None:
            raise InputError(
                f"--label needs a joint energy-based model, and {folder.path} is a run of train "
                f"{folder.config.kind}"
            )
        if not 0 <= self.label < count:
            raise InputError(f"--label must be from 0 to {count - 1}, got {self.label}")
        return np.full(self.num_samples, self.label)


@dataclass(frozen=True)
class Restoration(OfRun):
    """Options of every command that restores images."""

    num_images: int = 16
    """Held-out images, the first ones."""
    num_steps: int | None = None
    """Steps of the chains. Default: the --sampling-steps of the run."""

    def _restore(self, function: str, *options: Any) -> int:
        """Restore the images by a function of ``training.restoration``, and print its result."""
        from tempered_ebm.training import restoration, run_folder

        config = restoration.RestorationConfig(
            self.num_images, self.num_steps, self.seed, self.checkpoint == "best"
        )
        print(getattr(restoration, function)(run_folder.open_run(self.run), config, *options))
        return 0


@dataclass(frozen=True)
class Inpaint(Restoration):
    """Hide a part of held-out images and fill it in by chains; writes inpainted.npz and .png.

    For models of images with a density: those of train data and train jem.
    """

    missing: Literal["left", "right", "top", "bottom", "centre", "random"] = "left"
    """Which part is hidden: a side, a square in the middle, or every pixel with a probability."""
    fraction: float = 0.5
    """How much of each image is hidden, or with which probability a pixel is."""

    def execute(self) -> int:
        """Fill in the images, and print how well that went."""
        return self._restore("inpaint_images", self.missing, self.fraction)


@dataclass(frozen=True)
class Denoise(Restoration):
    """Add noise to held-out images and take it off by chains; writes denoised.npz and .png.

    For models of images with a density: those of train data and train jem.
    """

    noise_scale: float = 0.3
    """Standard deviation of the noise, for pixels in [-1, 1]."""
    prior_weight: float | None = None
    """Weight of the energy against the likelihood; 1/T, with the temperature T of the chains of the
    run, is the posterior under the density that they follow. Default: T to the power -1/2."""

    def execute(self) -> int:
        """Take off the noise, and print how well that went."""
        return self._restore("denoise_images", self.noise_scale, self.prior_weight)


@dataclass(frozen=True)
class Evaluate(OfRun):
    """Evaluate a run on held-out data with the metrics of its model, and draw figures."""

    others: tuple[Path, ...] = ()
    """npz files of other data sets, whose test images a density of images is to tell from its own
    held-out ones."""

    def execute(self) -> int:
        """Evaluate, and print a table."""
        from tempered_ebm.training import loop, run_folder

        checks.seed("--seed", self.seed)
        folder = run_folder.open_run(self.run)
        if self.others and not (folder.task.takes_others and len(folder.event_shape) == 3):
            raise InputError(f"--others needs a density of images, and {folder.path} has none")
        params, step = loop.load_params(folder, best=self.checkpoint == "best")
        dataset = folder.load_dataset()
        print(loop.evaluate(folder, dataset, params, step, seed=self.seed, others=self.others))
        return 0


@dataclass(frozen=True)
class Evidence:
    """Estimate the log evidence log p(data) of a NumPyro model, and warn of what is unreliable.

    The arrays of the data file become keyword arguments of the model, by name.
    """

    model: Positional[str]
    """The model as module:model, of the current folder too, or as path/to/file.py:model."""
    data: Path | None = None
    """An .npz archive, a .csv table with a row of names, or a .json object of lists."""
    seed: int = 0
    """Seed of starts and chains."""
    num_ensembles: int = 32
    """Independent ensembles, one ladder of chains each; 16 or more give reliable error bars."""
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
    checkpoint: Path | None = None
    """Folder for finished blocks of steps; run the same command again to resume from it."""
    output: Path | None = None
    """Folder for report.txt, report.json and integrand.png; files of these names are replaced."""

    def execute(self) -> int:
        """Estimate the evidence, and print and write the report."""
        from tempered_ebm.cli import evidence

        if self.output is not None:
            checks.folder("--output", self.output)
        options = (
            "path",
            "num_temperatures",
            "num_samples",
            "budget",
            "target_standard_error",
            "checkpoint",
        )
        with warnings.catch_warnings(record=True) as caught:
            report = evidence.estimate(
                self.model,
                self.data,
                self.seed,
                self.num_ensembles,
                {name: getattr(self, name) for name in options} | {"progress": sys.stderr.isatty()},
            )
        print(report)
        # The report has its own; a chain that warns once an ensemble is one line.
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            if message not in report.warnings:
                print_error(f"warning: {message}")
        if self.output is not None:
            evidence.save(report, self.output, vars(self))
            print(f"report.txt, report.json and integrand.png in {self.output}")
        return INTERRUPTED if report.stopped.startswith("interrupted") else 0


@dataclass(frozen=True)
class Study(StudyConfig):
    """Train a grid of latent EBMs and measure their learning gradients and images on the way.

    The same command resumes a study that was stopped. See also the report command.
    """

    def execute(self) -> int:
        """Run the jobs that are not done."""
        from tempered_ebm.study import config as studies
        from tempered_ebm.study.run import run_study
        from tempered_ebm.training.config import load_images

        config = StudyConfig(self.data, self.grid, self.runs, self.measure, self.place)
        studies.validate(config)
        result = run_study(config, load_images(self.data))
        print(f"{result.num_done} of {result.num_jobs} jobs done, table in {result.folder.path}")
        return 0 if result.num_done == result.num_jobs else 1


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about a study, finished or not, or a training run."""

    folder: Positional[Path]
    """Study folder, such as studies/study, or run folder, such as runs/LAST."""

    def execute(self) -> int:
        """Write the page, and print where it is."""
        from tempered_ebm.study.report import write_report

        print(write_report(self.folder))
        return 0


_Commands = Train | Sample | Inpaint | Denoise | Evaluate | Evidence | Study | Report


def parse(arguments: Sequence[str]) -> Any:
    """Return the command that the words of a line spell, an object with a method ``execute``.

    Raises:
        InputError: for an option, value or preset that there is none of.
        SystemExit: after ``--help``.
    """
    arguments = list(arguments)
    if arguments[:1] == ["train"] and (len(arguments) == 1 or arguments[1].startswith("-")):
        arguments.insert(1, "latent")
    command = _parse(arguments)
    preset = getattr(command, "preset", None)
    if preset is not None:
        # The other options change the preset, so they are read once more with it as default.
        default = type(command)(**vars(_PRESETS[type(command)](preset)))
        command = _parse(arguments, default=Train(default))
    if getattr(command, "resume", None) is not None:
        _refuse_options_with_resume(arguments)
    return command


def _parse(arguments: Sequence[str], **options: Any) -> Any:
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            command = tyro.cli(
                _Commands,
                prog="tempered-ebm",
                description=_DESCRIPTION,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
                **options,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_first_paragraph(errors.getvalue())) from None
    return command.model if isinstance(command, Train) else command


def _first_paragraph(box: str) -> str:
    """Return the message in a box that tyro prints, the only way in which it tells of errors."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    rules = [not line or line[0] == "─" or set(line) == {"-"} for line in lines]
    text = "".join("\0" if is_rule else f"{line} " for line, is_rule in zip(lines, rules))
    # A title comes first, in the rule itself or, where the terminal has no box characters, before.
    _, message, *others = map(str.strip, text.split("\0"))
    suggestions = [other for other in others if other.startswith("Perhaps you meant:")]
    if message.startswith("Unrecognized options"):
        if suggestions:
            return f"{message} (did you mean {suggestions[0].split()[3]}?)"
        return f"{message}; expected an option that --help lists"
    return message.split(" Got errors:")[0]


def _refuse_options_with_resume(arguments: Sequence[str]) -> None:
    names = ("resume", "evaluate", "no_evaluate", *(f.name for f in fields(ParallelConfig)))
    allowed = ["--" + name.replace("_", "-") for name in names]
    given = [word.split("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]
    others = [name for name in given if name not in allowed]
    if others:
        raise InputError(
            "--resume takes no option but --no-evaluate and those of devices and processes: a run "
            f"goes on as it was configured, got {' '.join(others)}"
        )
