"""What can be typed: one dataclass for each command, and how a line becomes one of them."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tempered_ebm.errors import InputError
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.training.autoencoder.config import AutoencoderConfig
from tempered_ebm.training.config import ParallelConfig
from tempered_ebm.training.data_ebm.config import DataEBMConfig
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.latent.config import LatentConfig
from tempered_ebm.training.vae.config import VAEConfig

_DESCRIPTION = (
    "Train, sample and evaluate energy-based models by tempered Langevin sampling; estimate the "
    "evidence of NumPyro models."
)


@dataclass(frozen=True)
class Training:
    """What every way to train takes beside its configuration."""

    resume: Path | None = None
    """Go on with this run folder from its newest checkpoint; takes no option but --no-evaluate and
    those of devices and processes."""
    evaluate: bool = True
    """Evaluate and draw pictures after the last update."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)


@dataclass(frozen=True)
class TrainLatent(Training, LatentConfig):
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
class TrainData(Training, DataEBMConfig):
    """Train an energy-based model of the data themselves, points of the plane or images."""

    preset: str | None = None
    """Begin from a named configuration; other options change it: igebm, anatomy,
    anatomy-persistent (of papers), mnist, fashion_mnist, svhn, cifar10 (long, for accelerators),
    toy, mnist-small, fashion-small, svhn-small, cifar10-small (for two cores)."""


@dataclass(frozen=True)
class TrainJEM(Training, JEMConfig):
    """Train a joint energy-based model: a classifier that is a density of its images, too."""

    preset: str | None = None
    """Begin from a named configuration; other options change it: jem (of the paper, long, for
    accelerators), mnist-small, fashion-small (for two cores)."""


@dataclass(frozen=True)
class TrainAutoencoder(Training, AutoencoderConfig):
    """Train an autoencoder of binary images, and an energy-based model of its codes."""


_TRAIN: dict[str, type[Training]] = {
    "latent": TrainLatent,
    "autoencoder": TrainAutoencoder,
    "data": TrainData,
    "jem": TrainJEM,
    "vae": TrainVAE,
}
_PRESETS: dict[str, str] = {
    "latent": "tempered_ebm.training.latent.config",
    "data": "tempered_ebm.training.data_ebm.config",
    "jem": "tempered_ebm.training.jem.config",
}
"""Modules with a function ``preset``, by the model that it configures."""


@dataclass(frozen=True)
class Sample:
    """Draw from the model of a run, images or points; replaces its samples.npz and samples.png."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/LAST."""
    num_samples: int = 100
    """Number of draws."""
    label: int | None = None
    """Class of all draws, for a joint energy-based model. Default: all classes in turn."""
    seed: int = 0
    """Seed of the chains."""
    animate: bool = False
    """Write samples.gif as well: the first 100 chains on their way from where they start."""
    num_frames: int = 25
    """Frames of samples.gif."""
    checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint: the newest, or the best by the --best-metric of the run."""


@dataclass(frozen=True)
class Inpaint:
    """Hide a part of held-out images and fill it in by chains; writes inpainted.npz and .png.

    For models of images with a density: those of train data and train jem.
    """

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/LAST."""
    missing: Literal["left", "right", "top", "bottom", "centre", "random"] = "left"
    """Which part is hidden: a side, a square in the middle, or every pixel with a probability."""
    fraction: float = 0.5
    """How much of each image is hidden, or with which probability a pixel is."""
    num_images: int = 16
    """Held-out images, the first ones."""
    num_steps: int | None = None
    """Steps of the chains. Default: the --sampling-steps of the run."""
    seed: int = 0
    """Seed of hidden pixels, starts and chains."""
    checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint: the newest, or the best by the --best-metric of the run."""


@dataclass(frozen=True)
class Denoise:
    """Add noise to held-out images and take it off by chains; writes denoised.npz and .png.

    For models of images with a density: those of train data and train jem.
    """

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/LAST."""
    noise_scale: float = 0.3
    """Standard deviation of the noise, for pixels in [-1, 1]."""
    prior_weight: float | None = None
    """Weight of the energy against the likelihood; 1/T, with the temperature T of the chains of the
    run, is the posterior under the density that they follow. Default: T to the power -1/2."""
    num_images: int = 16
    """Held-out images, the first ones."""
    num_steps: int | None = None
    """Steps of the chains. Default: the --sampling-steps of the run."""
    seed: int = 0
    """Seed of noise and chains."""
    checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint: the newest, or the best by the --best-metric of the run."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a run on held-out data, what its model is measured by; pictures."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/LAST."""
    others: tuple[Path, ...] = ()
    """npz files of other data sets, whose test images a density of images is to tell from its own
    held-out ones."""
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
    | Annotated[Inpaint, tyro.conf.subcommand("inpaint")]
    | Annotated[Denoise, tyro.conf.subcommand("denoise")]
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
    name = _named_preset(arguments) if kind in _PRESETS and arguments[:1] == ["train"] else None
    default = train()
    if name is not None:
        default = train(**vars(importlib.import_module(_PRESETS[kind]).preset(name)))
    return Annotated[train, tyro.conf.subcommand("train", default=default)] | _Others


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments of a line spell.

    Raises:
        InputError: for an option or value that there is none of.
        SystemExit: after ``--help``.
    """
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
