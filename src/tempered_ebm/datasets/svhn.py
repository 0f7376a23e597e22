"""The Street View House Numbers, cropped digits, in their MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempered_ebm.datasets import dataset as data
from tempered_ebm.datasets.dataset import ImageDataset
from tempered_ebm.errors import InputError


def load_svhn(data_dir: Path | str) -> ImageDataset:
    """Load SVHN (Netzer et al. 2011): house numbers, cropped to 32x32 in colour.

    The files call the digit zero class 10; here it is class 0.

    Args:
        data_dir: folder with ``train_32x32.mat`` and ``test_32x32.mat``, in each of which ``X``
            is (32, 32, 3, n), uint8, and ``y`` is (n, 1).

    Returns:
        Images of shape (32, 32, 3) and labels from 0 to 9, in the order of the files.

    Raises:
        InputError: if a file is missing or damaged, lacks ``X`` or ``y``, or one has another
            shape, type or range. The message names the file.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_svhn("nowhere")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: data_dir nowhere does not exist; expected a folder
    """
    path = data.require_folder(data_dir)
    files = [path / f"{split}_32x32.mat" for split in ("train", "test")]
    for file in files:
        if not file.is_file():
            raise InputError(f"data_dir {path} has no file {file.name}")
    return data.assemble("svhn", *map(_read_images, files))


def _read_images(file: Path) -> data.LabelledPixels:
    arrays = _read(file)
    pixels, labels = arrays["X"], arrays["y"]
    if pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or pixels.dtype != np.uint8:
        raise InputError(
            f"X in {file} has shape {pixels.shape} and dtype {pixels.dtype}; expected "
            "(32, 32, 3, n), uint8"
        )
    num_images = pixels.shape[3]
    if labels.shape != (num_images, 1) or not _are_whole(labels):
        raise InputError(
            f"y in {file} has shape {labels.shape} and dtype {labels.dtype}; expected "
            f"({num_images}, 1) whole numbers, one for each image"
        )
    labels = labels.reshape(-1).astype(np.int64)
    if labels.size and not 1 <= labels.min() <= labels.max() <= 10:
        raise InputError(
            f"y in {file} runs from {labels.min()} to {labels.max()}; expected 1 to 10"
        )
    images = np.ascontiguousarray(np.moveaxis(pixels, 3, 0))
    return data.label_pixels(f"y in {file}", images, labels % 10, 10)


def _are_whole(array: np.ndarray) -> bool:
    # MATLAB saves whole numbers as floats unless told otherwise.
    return array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and bool(np.all(array == np.floor(array)))
    )


def _read(file: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    try:
        arrays = loadmat(file, appendmat=False, variable_names=("X", "y"))
    except Exception as error:  # SciPy lets whatever a damaged byte leads to through.
        raise InputError(
            f"{file} cannot be read as a MATLAB 5 file: {data.first_line(error)}"
        ) from error
    for key in ("X", "y"):
        if not isinstance(arrays.get(key), np.ndarray):
            raise InputError(f"{file} has no array {key}; expected X (32, 32, 3, n) and y (n, 1)")
    return arrays
