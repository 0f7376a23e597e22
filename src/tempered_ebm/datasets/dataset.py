"""Types of data sets, and the scaling, checks and fixed split that all readers share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from tempered_ebm import _checks
from tempered_ebm.densities import ToyDensity
from tempered_ebm.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images in [-1, 1], channels last.

    Attributes:
        name: the name in tables and run folders.
        x_train: training images, (n, height, width, channels), float32.
        x_test: held-out images, (m, height, width, channels), float32.
        y_train: training labels, (n,), or None.
        y_test: held-out labels, (m,), or None.
        x_validation: images to choose settings by, (k, height, width, channels), float32,
            or None.
        y_validation: their labels, (k,), or None.

    Raises:
        InputError: if images are not arrays of floats of this rank, or labels are not integers,
            one for each image.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> pixels = np.zeros((2, 8, 8, 1), np.uint8)
        >>> te.datasets.ImageDataset("bytes", pixels, pixels)
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: x_train must be an array of floats in [-1, 1] of shape (n,
        height, width, channels), got uint8 of shape (2, 8, 8, 1)
    """

    name: str
    x_train: Float[np.ndarray, "n h w c"]
    x_test: Float[np.ndarray, "m h w c"]
    y_train: Int[np.ndarray, "n"] | None = None
    y_test: Int[np.ndarray, "m"] | None = None
    x_validation: Float[np.ndarray, "k h w c"] | None = None
    y_validation: Int[np.ndarray, "k"] | None = None

    def __post_init__(self) -> None:
        """Check types and shapes."""
        # Values are not read, because there may be many.
        for split in ("train", "test", "validation"):
            images, labels = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if images is None and split == "validation":
                continue
            if not _has_kind(images, "f", 4):
                raise InputError(
                    f"x_{split} must be an array of floats in [-1, 1] of shape (n, height, width, "
                    f"channels), got {_checks.describe(images)}"
                )
            if labels is not None and not (
                _has_kind(labels, "iu", 1) and len(labels) == len(images)
            ):
                raise InputError(
                    f"y_{split} must be {len(images)} integers, one for each image, got "
                    f"{_checks.describe(labels)}"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.x_train.shape[1:]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.image_shape


@dataclass(frozen=True, eq=False)
class PointDataset:
    """Points of the plane, and the density that they come from.

    Attributes:
        name: the name in tables.
        x_train: training points, (n, 2), float32.
        x_test: held-out points, (m, 2), float32.
        density: the truth. Its ``entropy`` is the expected negative log-likelihood of a
            held-out point under a perfect model, and the least that any model reaches.
    """

    name: str
    x_train: Float[np.ndarray, "n 2"]
    x_test: Float[np.ndarray, "m 2"]
    density: ToyDensity

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.x_train.shape[1:]


def _has_kind(value: Any, kinds: str, ndim: int) -> bool:
    return (
        _checks.is_array(value) and np.dtype(value.dtype).kind in kinds and len(value.shape) == ndim
    )


def require_images(dataset: Any) -> ImageDataset:
    """Return ``dataset`` if it is a set of images.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(dataset, ImageDataset):
        raise InputError(f"dataset must be an ImageDataset, got {_checks.describe(dataset)}")
    return dataset


def require_folder(path: Any) -> Path:
    """Return ``data_dir`` as the path of an existing folder.

    Raises:
        InputError: if there is no such folder.
    """
    path = _checks.path("data_dir", path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"data_dir {path} {found}; expected a folder")
    return path


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def from_bytes(pixels: UInt8[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Map pixels 0 to 255 onto [-1, 1] in float32, ``x = pixel / 127.5 - 1``.

    Every reader uses this map, so that the same pixels give the same bits.

    Args:
        pixels: of any shape, uint8.

    Raises:
        InputError: if the pixels are no array of uint8.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> te.datasets.from_bytes(np.array([0, 255], np.uint8))
        array([-1.,  1.], dtype=float32)
    """
    if getattr(pixels, "dtype", None) != np.uint8:
        raise InputError(f"pixels must be an array of uint8, got {_checks.describe(pixels)}")
    images = pixels.astype(np.float32)
    images /= np.float32(127.5)
    images -= np.float32(1)
    return images


def checksum(dataset: ImageDataset | PointDataset) -> int:
    """Return the CRC-32 of the training data, in order, by which a run folder knows its data.

    Args:
        dataset: images (n, height, width, channels) or points (n, 2), float32.

    Returns:
        An integer in [0, 2**32).

    Raises:
        InputError: if ``dataset`` is no data set.

    Example:
        >>> import tempered_ebm as te
        >>> digits = te.datasets.load_digits()
        >>> te.datasets.checksum(digits) == te.datasets.checksum(te.datasets.load_digits())
        True
    """
    if not isinstance(dataset, ImageDataset | PointDataset):
        raise InputError(
            f"dataset must be an ImageDataset or a PointDataset, got {_checks.describe(dataset)}"
        )
    return zlib.crc32(np.ascontiguousarray(dataset.x_train).data)


def split_indices(num_examples: int, held_out: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return fixed indices of training and held-out examples, the same in every run.

    Args:
        num_examples: number of examples, at least 2.
        held_out: fraction held out, in (0, 1).

    Raises:
        InputError: if either would be empty.
    """
    is_number = isinstance(held_out, int | float | np.number)
    num_test = round(num_examples * held_out) if is_number and 0 < held_out < 1 else 0
    if not 0 < num_test < num_examples:
        raise InputError(f"cannot hold out a fraction {held_out} of {num_examples} examples")
    order = np.random.default_rng(0).permutation(num_examples)
    return order[num_test:], order[:num_test]


class LabelledPixels(NamedTuple):
    """Images as they lie on disk, and their labels.

    Attributes:
        pixels: (n, height, width, channels), uint8.
        labels: (n,), int32, or None.
    """

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, "n"] | None

    def take(self, index: np.ndarray) -> LabelledPixels:
        """Return the images of these indices with their labels."""
        return LabelledPixels(
            self.pixels[index], None if self.labels is None else self.labels[index]
        )


def label_pixels(
    file: str, pixels: np.ndarray, labels: np.ndarray, num_classes: int
) -> LabelledPixels:
    """Join pixels with their labels, which must be from 0 to ``num_classes - 1``.

    Args:
        file: the file that holds the labels, for error messages.
        pixels: (n, height, width, channels), uint8.
        labels: (n,) integers.
        num_classes: number of classes.

    Raises:
        InputError: if their numbers differ, there are fewer than 2 images, or a label is out of
            range.
    """
    if len(labels) != len(pixels):
        raise InputError(
            f"{file} has {len(labels)} labels; expected {len(pixels)}, one for each image"
        )
    if len(pixels) < 2:
        raise InputError(f"{file} describes {len(pixels)} images; expected at least 2")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{file} has label {labels[first]} for image {first}; expected 0 to {num_classes - 1}"
        )
    return LabelledPixels(pixels, labels.astype(np.int32))


def assemble(
    name: str,
    train: LabelledPixels,
    test: LabelledPixels,
    validation: LabelledPixels | None = None,
) -> ImageDataset:
    """Return a data set of these pixels, scaled to [-1, 1]."""
    return ImageDataset(
        name,
        from_bytes(train.pixels),
        from_bytes(test.pixels),
        train.labels,
        test.labels,
        None if validation is None else from_bytes(validation.pixels),
        None if validation is None else validation.labels,
    )


def assemble_with_held_out(name: str, whole: LabelledPixels) -> ImageDataset:
    """Return a data set of these pixels, of which the fixed fifth is held out."""
    return assemble(name, *map(whole.take, split_indices(len(whole.pixels))))
