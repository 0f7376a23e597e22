"""What the readers of original formats share: checks of a part, and the set made of the parts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from tempered_ebm.datasets.images import ImageDataset, from_bytes
from tempered_ebm.errors import InputError


class Part(NamedTuple):
    """Images as they lie on disk, and their labels.

    Attributes:
        pixels: (n, height, width, channels), uint8.
        labels: (n,), int32, or None.
    """

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, "n"] | None


def folder(path: Path | str) -> Path:
    """Require a folder.

    Raises:
        InputError: if ``path`` is none.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise InputError(f"data_dir {path} {what}; expected a folder")
    return path


def labelled(where: str, pixels: np.ndarray, labels: np.ndarray, num_classes: int) -> Part:
    """Require a label from 0 to ``num_classes - 1`` for every image.

    Args:
        where: the file that holds the labels, as an error names it.
        pixels: (n, height, width, channels), uint8.
        labels: (n,) integers.
        num_classes: number of classes.

    Raises:
        InputError: if their numbers differ, there are fewer than 2 images, or a label is out of
            range.
    """
    if len(labels) != len(pixels):
        raise InputError(
            f"{where} has {len(labels)} labels; expected {len(pixels)}, one for each image"
        )
    if len(pixels) < 2:
        raise InputError(f"{where} describes {len(pixels)} images; expected at least 2")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{where} has label {labels[first]} for image {first}; expected 0 to {num_classes - 1}"
        )
    return Part(pixels, labels.astype(np.int32))


def assemble(name: str, train: Part, test: Part, validation: Part | None = None) -> ImageDataset:
    """Make a set of its parts, with pixels in [-1, 1]."""
    return ImageDataset(
        name,
        from_bytes(train.pixels),
        from_bytes(test.pixels),
        train.labels,
        test.labels,
        None if validation is None else from_bytes(validation.pixels),
        None if validation is None else validation.labels,
    )
