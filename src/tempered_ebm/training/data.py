"""Which data a run is trained on: options, and how they become images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from tempered_ebm import _checks as checks
from tempered_ebm.datasets import (
    ImageDataset,
    PointDataset,
    load_digits,
    load_named,
    load_npz,
    load_toy,
    prepared,
    split_validation,
    without_label,
)
from tempered_ebm.errors import InputError

AnyDataset: TypeAlias = ImageDataset | PointDataset
"""What a model can be trained on."""

Dataset = Literal[
    "digits",
    "npz",
    "mnist",
    "fashion_mnist",
    "kmnist",
    "svhn",
    "cifar10",
    "celeba",
    "folder",
    "huggingface",
]


Points = Literal[
    "eight_gaussians",
    "pinwheel",
    "moons",
    "swiss_roll",
    "spirals",
    "ring",
    "rings",
    "checkerboard",
    "squares",
    "banana",
    "rosenbrock",
    "double_well",
    "muller_brown",
    "egg_crate",
    "gamma_pair",
]
POINTS: tuple[str, ...] = get_args(Points)
"""Densities of the plane whose draws can be trained on."""


@dataclass(frozen=True)
class DataConfig:
    """Data."""

    dataset: Dataset = "digits"
    """The embedded 8x8 digits; an npz file of images; a known data set in the files of its authors;
    a folder of pictures; or a data set of the package datasets."""
    data_file: Path | None = None
    """npz file with x_train (n, height, width[, channels]), uint8 or floats in [0, 1]; optional
    x_test, y_train, y_test."""
    data_dir: Path | None = None
    """Folder with the files of the data set, or with pictures (subfolders are classes)."""
    data_name: str | None = None
    """Name of a Hugging Face data set, such as ylecun/mnist; --data-dir in its place is a folder
    written by save_to_disk."""
    image_size: int | None = None
    """Height and width that the centre square of every image is brought to. Default: 64 for
    celeba, else that of the images."""
    grayscale: bool = False
    """Turn colours into one channel."""
    validation: float | None = None
    """Fraction of the training images that is set apart for validation, class by class."""
    held_out_label: int | None = None
    """Class that is left out of every part, to be found as an anomaly."""


@dataclass(frozen=True)
class AnyDataConfig(DataConfig):
    """Images, or points of the plane."""

    dataset: Points | Dataset = "eight_gaussians"  # type: ignore[assignment]
    """Exact draws from a density of the plane; the embedded 8x8 digits; an npz file of images; a
    known data set in the files of its authors; a folder of pictures; or a data set of the package
    datasets."""
    num_points: int = 10_000
    """Draws from a density of the plane, a fifth of which is held out."""
    data_seed: int = 0
    """Seed of these draws."""


def validate_data(data: DataConfig) -> None:
    """Check what can be checked without the files.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    if (data.dataset == "npz") != (data.data_file is not None):
        raise InputError(
            f"--data-file goes with --dataset npz, got --dataset {data.dataset} and "
            f"--data-file {data.data_file}"
        )
    if data.data_name is not None and data.dataset != "huggingface":
        raise InputError(
            f"--data-name goes with --dataset huggingface, got --dataset {data.dataset} and "
            f"--data-name {data.data_name}"
        )
    if data.dataset == "huggingface":
        if (data.data_name is None) == (data.data_dir is None):
            raise InputError(
                "--dataset huggingface takes either --data-name or --data-dir, got "
                f"{data.data_name} and {data.data_dir}"
            )
    elif (data.dataset in ("digits", "npz", *POINTS)) != (data.data_dir is None):
        raise InputError(
            "--data-dir goes with every --dataset but digits, npz and points, got --dataset "
            f"{data.dataset} and --data-dir {data.data_dir}"
        )
    if data.image_size is not None:
        checks.at_least("--image-size", data.image_size, 1)
    if isinstance(data, AnyDataConfig):
        checks.at_least("--num-points", data.num_points, 2)
        checks.seed("--data-seed", data.data_seed)
    of_images = (data.image_size, data.grayscale, data.validation, data.held_out_label)
    if data.dataset in POINTS and of_images != (None, False, None, None):
        raise InputError(
            "--image-size, --grayscale, --validation and --held-out-label are about images, got "
            f"--dataset {data.dataset}"
        )
    if data.validation is not None and not 0 < data.validation < 1:
        raise InputError(f"--validation must be between 0 and 1, got {data.validation}")
    if data.held_out_label is not None:
        checks.at_least("--held-out-label", data.held_out_label, 0)


def load_dataset(config: DataConfig) -> AnyDataset:
    """Load the configured data, whatever they are.

    Raises:
        InputError: if the files are not what was asked for, or have no such class.
    """
    if isinstance(config, AnyDataConfig) and config.dataset in POINTS:
        return load_toy(config.dataset, config.num_points, config.data_seed)
    return load_images(config)


def load_images(config: DataConfig) -> ImageDataset:
    """Load the configured images: without the held-out class, with the validation part apart.

    Raises:
        InputError: if the files are not what was asked for, or have no such class.
    """
    size, gray = config.image_size, config.grayscale
    if config.dataset == "digits":
        dataset = prepared(load_digits(), size, grayscale=gray)
    elif config.data_file is not None:
        dataset = prepared(load_npz(config.data_file), size, grayscale=gray)
    else:
        source = config.data_name or config.data_dir or ""
        dataset = load_named(config.dataset, source, size, grayscale=gray)
    if config.held_out_label is not None:
        dataset = without_label(dataset, config.held_out_label)
    if config.validation is not None:
        dataset = split_validation(dataset, config.validation)
    return dataset


def resolve_data(data: DataConfig, dataset: AnyDataset) -> DataConfig:
    """Make paths absolute, and fill in the size of images that depends on the data."""
    if data.data_file is not None:
        data = dataclasses.replace(data, data_file=data.data_file.absolute())
    if data.data_dir is not None:
        data = dataclasses.replace(data, data_dir=data.data_dir.absolute())
    if data.image_size is None and data.dataset == "celeba":
        data = dataclasses.replace(data, image_size=dataset.event_shape[0])
    return data
