"""Images in a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from tempered_ebm.datasets.images import ImageDataset, from_bytes, split
from tempered_ebm.errors import InputError

# A damaged header can claim any size, encryption or compression.
_DAMAGE = (ValueError, EOFError, OSError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
_KEYS = ("x_train", "x_test", "y_train", "y_test")


def _read(path: Path, accepted: tuple[str, ...] = ("x_train",)) -> dict[str, np.ndarray]:
    """Arrays by key, among them at least one of the accepted ones."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"data_file {path} is a single array; expected an .npz archive")
        with archive:
            if not set(accepted) & set(archive.files):
                found, wanted = ", ".join(sorted(archive.files)) or "nothing", " or ".join(accepted)
                raise InputError(f"data_file {path} has no array {wanted}; it holds {found}")
            arrays = {key: archive[key] for key in _KEYS if key in archive.files}
        for key, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise InputError(f"{key} in data_file {path} is not a NumPy array")
        return arrays
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"data_file {path} does not exist; expected an .npz file") from None
    except IsADirectoryError:
        raise InputError(f"data_file {path} is a directory; expected an .npz file") from None
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:
            reason = "it is no NumPy file, or holds pickled objects, which are never loaded"
        raise InputError(
            f"data_file {path} cannot be read as an .npz archive of plain arrays: {reason}"
        ) from error


def _as_images(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    where = f"{key} in {path}"
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise InputError(
            f"{where} has shape {array.shape}; expected (n, height, width) or "
            "(n, height, width, 1 or 3)"
        )
    if array.dtype == np.uint8:
        return from_bytes(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{where} has dtype {array.dtype}; expected uint8, or floats in [0, 1]")
    if not np.all(np.isfinite(array)):
        bad = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(1)))
        raise InputError(f"{where} holds NaN or infinity, first in image {bad}; expected [0, 1]")
    if array.min() < 0 or array.max() > 1:
        raise InputError(
            f"{where} has values from {array.min():g} to {array.max():g}; expected floats in "
            "[0, 1] (or uint8)"
        )
    return array.astype(np.float32) * 2.0 - 1.0


def _as_labels(path: Path, key: str, array: np.ndarray, num_images: int) -> np.ndarray:
    if array.shape not in ((num_images,), (num_images, 1)) or not np.issubdtype(
        array.dtype, np.integer
    ):
        raise InputError(
            f"{key} in {path} has shape {array.shape} and dtype {array.dtype}; expected "
            f"({num_images},) integers, one per image"
        )
    if array.min() < 0:
        raise InputError(f"{key} in {path} holds {array.min()}; expected classes from 0")
    return array.reshape(-1).astype(np.int32)


def load_npz(path: Path | str) -> ImageDataset:
    """Load images from an ``.npz`` file.

    Keys: ``x_train`` (n, height, width[, channels]), uint8 or floats in [0, 1]; optional
    ``x_test`` of the same image shape, without which a fixed fifth of ``x_train`` is
    held out; optional integer ``y_train`` and ``y_test``. Pickled content is refused.

    Args:
        path: the file.

    Raises:
        InputError: if the file is missing, damaged or pickled, or an array has another
            dtype, shape or range, or is not finite. The message names the file and the key.

    Example:
        >>> import pathlib, tempfile, numpy as np, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "images.npz"
        >>> np.savez(path, x_train=np.zeros((10, 8, 8), np.uint8))
        >>> te.datasets.load_npz(path).x_train.shape
        (8, 8, 8, 1)
    """
    path = Path(path)
    arrays = _read(path)
    images = {key: _as_images(path, key, arrays[key]) for key in arrays if key.startswith("x_")}
    labels = {
        key: _as_labels(path, key, arrays[key], len(images["x_" + key[2:]]))
        for key in arrays
        if key.startswith("y_") and "x_" + key[2:] in images
    }
    if "x_test" not in images:
        train, test = split(len(images["x_train"]))
        for kind, parts in (("x", images), ("y", labels)):
            if f"{kind}_train" in parts:
                whole = parts[f"{kind}_train"]
                parts[f"{kind}_train"], parts[f"{kind}_test"] = whole[train], whole[test]
    for key, array in images.items():
        if len(array) < 2:
            raise InputError(f"{key} in {path} has {len(array)} image; expected at least 2")
    if images["x_test"].shape[1:] != images["x_train"].shape[1:]:
        raise InputError(
            f"x_test in {path} has images of shape {images['x_test'].shape[1:]}; expected "
            f"{images['x_train'].shape[1:]}, as in x_train"
        )
    return ImageDataset(
        path.stem,
        images["x_train"],
        images["x_test"],
        labels.get("y_train"),
        labels.get("y_test"),
    )


def load_npz_held_out(path: Path | str) -> ImageDataset:
    """Load the held-out images of an ``.npz`` file, to compare others with.

    Args:
        path: a file as :func:`load_npz` takes it, or one without ``x_train``.

    Returns:
        A set whose training part is its held-out one: ``x_test``, or the fifth of ``x_train`` that
        :func:`load_npz` holds out.

    Raises:
        InputError: as :func:`load_npz` does.

    Example:
        >>> import pathlib, tempfile, numpy as np, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "images.npz"
        >>> np.savez(path, x_test=np.zeros((10, 8, 8), np.uint8))
        >>> te.datasets.load_npz_held_out(path).x_test.shape
        (10, 8, 8, 1)
    """
    path = Path(path)
    arrays = _read(path, ("x_test", "x_train"))
    if "x_test" in arrays:
        x = _as_images(path, "x_test", arrays["x_test"])
    else:
        x = load_npz(path).x_test
    return ImageDataset(path.stem, x, x)
