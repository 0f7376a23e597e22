"""CelebA: faces, aligned and cropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempered_ebm.datasets import dataset as data
from tempered_ebm.datasets.dataset import ImageDataset
from tempered_ebm.datasets.pictures import PictureSettings, read_pictures
from tempered_ebm.errors import InputError

_IMAGES = "img_align_celeba"
_PARTITION = "list_eval_partition.txt"
_NAMES = ("training", "validation", "test")


def load_celeba(
    data_dir: Path | str,
    image_size: int = 64,
    *,
    grayscale: bool = False,
    cache_dir: Path | str | None = None,
) -> ImageDataset:
    """Load CelebA (Liu et al. 2015): aligned faces, without their attributes.

    The centre square of each picture, 178x178 of 178x218, is brought to ``image_size``. Of the
    202,599 pictures the official partition makes 162,770 training, 19,867 validation and 19,962
    test images; in float32 and at 64x64 they take 10 GB of memory. For less, choose a smaller size,
    or take batches of the cached bytes (:func:`open_celeba`).

    Args:
        data_dir: folder with ``img_align_celeba/*.jpg`` and, if the official partition is wanted,
            ``list_eval_partition.txt``, lines of a file name and 0, 1 or 2. Without the list a
            fixed fifth is held out.
        image_size: height and width in pixels, bilinearly and rounded to bytes.
        grayscale: whether to make one channel of the colours.
        cache_dir: where decoded pictures are kept; ``.tempered_ebm_cache`` in ``data_dir`` by
            default.

    Returns:
        Images (n, image_size, image_size, 3 or 1) in the order of their names, without labels.

    Raises:
        InputError: if a picture is missing or damaged, the list is malformed or leaves a picture
            out, or leaves fewer than 2 training or test images. The message names the file.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_celeba("nowhere")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: data_dir nowhere does not exist; expected a folder
    """
    pixels, partition = open_celeba(data_dir, image_size, grayscale=grayscale, cache_dir=cache_dir)
    images = data.LabelledPixels(pixels, None)
    if partition is None:
        return data.assemble_with_held_out("celeba", images)
    train, validation, test = (images.take(partition == number) for number in range(3))
    return data.assemble("celeba", train, test, validation if len(validation.pixels) else None)


def open_celeba(
    data_dir: Path | str,
    image_size: int = 64,
    *,
    grayscale: bool = False,
    cache_dir: Path | str | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Open CelebA as bytes on disk, decoding the pictures if that was not done before.

    Args:
        data_dir: as for :func:`load_celeba`.
        image_size: height and width in pixels.
        grayscale: whether to make one channel of the colours.
        cache_dir: where decoded pictures are kept.

    Returns:
        Pixels (n, image_size, image_size, channels), uint8, mapped from the cache, and for each
        0, 1 or 2 for training, validation and test; None without the list.

    Raises:
        InputError: as for :func:`load_celeba`.
    """
    root = data.require_folder(data_dir)
    settings = PictureSettings(image_size, grayscale).validate()
    folder = root / _IMAGES
    if not folder.is_dir():
        raise InputError(f"data_dir {root} has no folder {_IMAGES}")
    files = sorted(folder.glob("*.jpg"))
    if len(files) < 2:
        raise InputError(f"{folder} has {len(files)} files *.jpg; expected at least 2")
    partition = _partition(root / _PARTITION, files) if (root / _PARTITION).exists() else None
    return read_pictures(files, root, settings, cache_dir), partition


def _partition(path: Path, files: list[Path]) -> np.ndarray:
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of file names: {error}") from error
    numbers = {}
    for i, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise InputError(f"line {i} of {path} is {line!r}; expected a file name and 0, 1 or 2")
        numbers[words[0]] = int(words[1])
    names = [file.name for file in files]
    if missing := sorted(set(names) - set(numbers)):
        raise InputError(f"{path} does not list {missing[0]}; expected every file of {_IMAGES}")
    if missing := sorted(set(numbers) - set(names)):
        raise InputError(f"{path} lists {missing[0]}, which is not in {_IMAGES}")
    partition = np.array([numbers[name] for name in names], np.int32)
    counts = np.bincount(partition, minlength=3)
    for number, name in enumerate(_NAMES):
        if counts[number] < 2 and not (number == 1 and counts[number] == 0):
            raise InputError(
                f"{path} makes {counts[number]} {name} images ({number}); expected at least 2"
            )
    return partition
