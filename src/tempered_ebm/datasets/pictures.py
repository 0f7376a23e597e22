"""Picture files (PNG, JPEG): any folder of them, decoded once and then read from a cache."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from tempered_ebm import _checks, _files
from tempered_ebm.datasets import dataset as data
from tempered_ebm.datasets.dataset import ImageDataset
from tempered_ebm.datasets.preprocess import crop_box
from tempered_ebm.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PictureImage

_ENDINGS = frozenset({".png", ".jpg", ".jpeg"})
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_CHUNK = 256
_CACHE = ".tempered_ebm_cache"
_CACHE_VERSION = 1


class PictureSettings(NamedTuple):
    """Size and channels that every picture is brought to.

    Attributes:
        image_size: height and width that the centre square is brought to, or None to keep
            pictures as they are.
        is_gray: whether to make one channel of them, or three.
    """

    image_size: int | None = None
    is_gray: bool = False

    def validate(self) -> PictureSettings:
        """Return the settings if the size is a positive integer, or None.

        Raises:
            InputError: if it is not.
        """
        if self.image_size is not None:
            _checks.at_least("image_size", self.image_size, 1)
        return self


def load_folder(
    data_dir: Path | str,
    image_size: int | None = None,
    *,
    grayscale: bool = False,
    cache_dir: Path | str | None = None,
) -> ImageDataset:
    """Load the PNG and JPEG files of a folder.

    Pictures lie in the folder itself, or in a subfolder for each class: then labels number the
    subfolders in alphabetical order. If there are folders ``train`` and ``test``, each is laid
    out like that and they are the training and test images; else a fixed fifth is held out.
    Folders and files whose names begin with a dot are ignored, and so are files with other endings.

    Args:
        data_dir: the folder.
        image_size: height and width in pixels that the centre square of every picture is brought
            to, bilinearly and rounded to bytes. Without it all pictures must have one size, and
            keep it.
        grayscale: whether to make one channel of the colours.
        cache_dir: where decoded pictures are kept; ``.tempered_ebm_cache`` in the folder by
            default. A file there is named by a checksum of names, sizes and times of the pictures
            and of the settings.

    Returns:
        Images in the order of their paths, (n, height, width, 3 or 1).

    Raises:
        InputError: if there are fewer than 2 training or test pictures, pictures lie both in the
            folder and in subfolders, a picture is damaged, or sizes differ. The message names the
            file.

    Example:
        >>> import pathlib, tempfile, numpy as np, tempered_ebm as te
        >>> from PIL import Image
        >>> path = pathlib.Path(tempfile.mkdtemp())
        >>> for i in range(10):
        ...     Image.fromarray(np.full((6, 8), 20 * i, np.uint8)).save(path / f"{i}.png")
        >>> te.datasets.load_folder(path, image_size=4).x_train.shape
        (8, 4, 4, 3)
    """
    root = data.require_folder(data_dir)
    name = root.absolute().name
    settings = PictureSettings(image_size, grayscale).validate()
    if not ((root / "train").is_dir() and (root / "test").is_dir()):
        files, labels = _list_pictures(root, None)
        pixels = read_pictures(files, root, settings, cache_dir)
        return data.assemble_with_held_out(name, data.LabelledPixels(pixels, labels))
    classes = _class_names(root / "train")
    listed = [_list_pictures(root / split, classes) for split in ("train", "test")]
    train, test = (
        data.LabelledPixels(read_pictures(files, root, settings, cache_dir), labels)
        for files, labels in listed
    )
    dataset = data.assemble(name, train, test)
    if dataset.x_test.shape[1:] != dataset.image_shape:
        raise InputError(
            f"{listed[1][0][0]} has shape {dataset.x_test.shape[1:]}; expected "
            f"{dataset.image_shape}, as in {root / 'train'}, or an image_size"
        )
    is_labelled = dataset.y_train is not None and dataset.y_test is not None
    return dataset if is_labelled else dataclasses.replace(dataset, y_train=None, y_test=None)


def _class_names(path: Path) -> list[str]:
    return sorted(d.name for d in path.iterdir() if d.is_dir() and not d.name.startswith("."))


def _picture_files(path: Path) -> list[Path]:
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in _ENDINGS and not file.name.startswith(".") and file.is_file()
    )


def _list_pictures(
    path: Path, classes: Sequence[str] | None
) -> tuple[list[Path], np.ndarray | None]:
    """Return files and labels, which number ``classes``, or the subfolders if those are None."""
    loose, names = _picture_files(path), _class_names(path)
    by_class = {name: _picture_files(path / name) for name in names}
    inner = [file for files in by_class.values() for file in files]
    if loose and inner:
        raise InputError(
            f"data_dir {path} has pictures both in it ({loose[0].name}) and in subfolders "
            f"({inner[0].relative_to(path)}); expected one or the other"
        )
    if len(files := loose or inner) < 2:
        raise InputError(
            f"data_dir {path} has {len(files)} pictures; expected at least 2 PNG or JPEG files"
        )
    if not inner:
        return files, None
    numbered = [name for name in names if by_class[name]] if classes is None else list(classes)
    unknown = [name for name in names if by_class[name] and name not in numbered]
    if unknown:
        raise InputError(
            f"data_dir {path} has a subfolder {unknown[0]}; expected classes of the training "
            f"images, {', '.join(numbered) or 'which have none'}"
        )
    labels = [numbered.index(name) for name in names for _ in by_class[name]]
    return files, np.array(labels, np.int32)


def to_pixels(picture: PictureImage, settings: PictureSettings) -> UInt8[np.ndarray, "h w c"]:
    """Turn a Pillow image upright, crop its centre square, resize it and round to bytes.

    Args:
        picture: an image of at most 8 bits a channel.
        settings: size and number of channels.

    Returns:
        (height, width, 1 or 3), uint8; transparency is dropped.

    Raises:
        ValueError: if the image has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    if picture.mode not in _EIGHT_BITS:
        raise ValueError(f"it has pixels of mode {picture.mode}; expected 8 bits a channel")
    picture = ImageOps.exif_transpose(picture).convert("L" if settings.is_gray else "RGB")
    if (size := settings.image_size) is not None:
        left, top, side = crop_box(*picture.size)
        picture = picture.crop((left, top, left + side, top + side))
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_picture(path: Path, settings: PictureSettings) -> UInt8[np.ndarray, "h w c"]:
    """Read one picture file.

    Raises:
        InputError: if it is damaged, no picture, or has more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return to_pixels(picture, settings)
    except Exception as error:  # A damaged byte can make a decoder raise any exception.
        raise InputError(
            f"{path} cannot be read as a picture, expected PNG or JPEG: {data.first_line(error)}"
        ) from error


def read_pictures(
    files: Sequence[Path], root: Path, settings: PictureSettings, cache_dir: Path | str | None
) -> UInt8[np.ndarray, "n h w c"]:
    """Read files once, and from a cache from then on.

    The cache is one ``.npy`` file, named by a checksum of the names, sizes and times of the files
    and the settings; a change of any makes another.

    Args:
        files: pictures; of one size, unless the settings give them one.
        root: folder that they are under.
        settings: size and channels of each.
        cache_dir: folder of the cache, by default one in ``root``; made if need be. Where it
            cannot be, a warning says so and nothing is kept.

    Returns:
        (n, height, width, channels), uint8, in the order of ``files``: a read-only memory map, or
        an array if nothing could be kept.

    Raises:
        InputError: if a file is damaged, or of another size than the first.
        OSError: if the disk fails or is full while the cache is written; it names the file.
    """
    cache = root / _CACHE if cache_dir is None else _checks.path("cache_dir", cache_dir)
    path = cache / f"{_cache_key(files, root, settings)}.npy"
    pixels = _map_cache(path, len(files))
    if pixels is not None:
        return pixels
    rows = _decode(files, settings)
    first = next(rows)
    with contextlib.ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_files.open_atomically(path))
        except OSError as error:
            warnings.warn(
                f"cannot keep decoded pictures in {cache} ({error.strerror}): they are decoded "
                "again every time",
                stacklevel=2,
            )
            return np.stack([first, *rows])
        # Row by row, because all pixels together may not fit in memory.
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *first.shape)}
        np.lib.format.write_array_header_2_0(file, header)
        for row in itertools.chain([first], rows):
            file.write(row.tobytes())
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _decode(files: Sequence[Path], settings: PictureSettings) -> Iterator[np.ndarray]:
    shape = None
    with ThreadPoolExecutor() as pool:
        for begin in range(0, len(files), _CHUNK):
            chunk = files[begin : begin + _CHUNK]
            for file, pixels in zip(chunk, pool.map(lambda f: read_picture(f, settings), chunk)):
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    raise InputError(
                        f"{file} has {pixels.shape[1]}x{pixels.shape[0]} pixels, and {files[0]} "
                        f"{shape[1]}x{shape[0]}; expected one size, or an image_size"
                    )
                yield pixels


def _cache_key(files: Sequence[Path], root: Path, settings: PictureSettings) -> str:
    digest = hashlib.sha256(json.dumps([_CACHE_VERSION, settings]).encode())
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        # Relative names, so that the folder may be moved with its cache.
        line = [file.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()[:32]


def _map_cache(path: Path, num_images: int) -> np.ndarray | None:
    """Return the kept pixels, or None if they are missing or damaged."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError):
        return None
    is_good = (
        isinstance(array, np.ndarray)
        and array.dtype == np.uint8
        and array.ndim == 4
        and len(array) == num_images
    )
    return array if is_good else None
