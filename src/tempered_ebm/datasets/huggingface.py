"""Images from the Hugging Face package ``datasets``, which is imported when it is needed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from tempered_ebm import _checks
from tempered_ebm.datasets import dataset as data
from tempered_ebm.datasets.dataset import ImageDataset
from tempered_ebm.datasets.pictures import PictureSettings, to_pixels
from tempered_ebm.errors import InputError

_LABELS = ("label", "labels", "fine_label")


def load_huggingface(
    source: Path | str,
    image_size: int | None = None,
    *,
    grayscale: bool = False,
) -> ImageDataset:
    """Load images by the package ``datasets`` (Lhoest et al. 2021).

    The images are the first column of type ``Image``; the labels the column ``label``, ``labels``
    or ``fine_label``, if there is one of integers. The splits ``train``, ``test`` and
    ``validation`` are read; without ``test`` a fixed fifth of ``train`` is held out.

    Args:
        source: the name of a data set on the hub, with or without ``hf:`` before it, such as
            ``"hf:ylecun/mnist"``; or a folder written by ``save_to_disk``, as a path.
        image_size: height and width in pixels that the centre square of every picture is brought
            to, bilinearly and rounded to bytes. Without it all pictures must have one size, and
            keep it.
        grayscale: whether to make one channel of the colours.

    Returns:
        Images (n, height, width, channels): one channel if ``grayscale``, or if the first picture
        is grey; else three.

    Raises:
        InputError: if the package is not installed, it cannot load the source, or that has no
            images, no split ``train``, or pictures of different sizes.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_huggingface("hf:")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: source must name a data set, got 'hf:'
    """
    _checks.path("source", source)
    is_folder = isinstance(source, Path)
    name = str(source).removeprefix("hf:")
    if not name:
        raise InputError(f"source must name a data set, got {source!r}")
    settings = PictureSettings(image_size, grayscale).validate()
    splits = _open(name, is_folder=is_folder)
    if "train" not in splits:
        raise InputError(f"{source} has no split train; it has {', '.join(splits) or 'none'}")
    train = splits["train"]
    if len(train) and train[0][_image_column(train, str(source))].mode in ("1", "L"):
        settings = settings._replace(is_gray=True)
    found = {
        key: _read_split(splits[key], settings, f"{source} ({key})")
        for key in ("train", "test", "validation")
        if key in splits
    }
    shapes = {key: images.pixels.shape[1:] for key, images in found.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{source} has images of shapes {shapes}; expected one, or an image_size")
    label = name.rstrip("/").rsplit("/", 1)[-1]
    if "test" not in found:
        halves = data.split_indices(len(found["train"].pixels))
        found["train"], found["test"] = map(found["train"].take, halves)
    return data.assemble(label, found["train"], found["test"], found.get("validation"))


def _open(name: str, *, is_folder: bool) -> dict[str, Any]:
    try:
        package = importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            "the package datasets is not installed; expected it for Hugging Face data (install "
            "tempered-ebm[huggingface])"
        ) from None
    try:
        found = package.load_from_disk(name) if is_folder else package.load_dataset(name)
    except Exception as error:  # Of files, hub or network: any kind.
        raise InputError(f"datasets cannot load {name}: {data.first_line(error)}") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _image_column(table: Any, where: str) -> str:
    for name, feature in table.features.items():
        if type(feature).__name__ == "Image":
            return name
    raise InputError(f"{where} has no column of images; it has {', '.join(table.features)}")


def _read_split(table: Any, settings: PictureSettings, where: str) -> data.LabelledPixels:
    column = _image_column(table, where)
    if len(table) < 2:
        raise InputError(f"{where} has {len(table)} images; expected at least 2")
    key = next((name for name in _LABELS if name in table.features), None)
    rows, labels = [], []
    for i, example in enumerate(table):
        try:
            rows.append(to_pixels(example[column], settings))
        except Exception as error:
            raise InputError(f"image {i} of {where} cannot be read: {error}") from error
        if rows[-1].shape != rows[0].shape:
            raise InputError(
                f"image {i} of {where} has shape {rows[-1].shape}, and image 0 {rows[0].shape}; "
                "expected one size, or an image_size"
            )
        labels.append(None if key is None else example[key])
    is_labelled = all(isinstance(label, int) and label >= 0 for label in labels)
    return data.LabelledPixels(np.stack(rows), np.array(labels, np.int32) if is_labelled else None)
