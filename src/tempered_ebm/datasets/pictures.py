"""Picture files (JPEG, PNG) as pixels of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from tempered_ebm import _checks as checks
from tempered_ebm.datasets import pixel_cache, preprocess
from tempered_ebm.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = frozenset({".png", ".jpg", ".jpeg"})
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_CHUNK = 256


class Treatment(NamedTuple):
    """What is done to every picture.

    Attributes:
        image_size: height and width that the centre square is brought to, or None to keep
            pictures as they are.
        is_gray: whether to make one channel of them, or three.
        method: ``"bilinear"`` or ``"area"``, as for :func:`resize`.
    """

    image_size: int | None = None
    is_gray: bool = False
    method: preprocess.ResizeMethod = "bilinear"

    def validate(self) -> None:
        """Check the values.

        Raises:
            InputError: naming the one that is wrong.
        """
        if self.image_size is not None:
            checks.at_least("image_size", self.image_size, 1)
        preprocess.require_method(self.method)


def to_pixels(picture: Image, treatment: Treatment) -> UInt8[np.ndarray, "h w c"]:
    """Turn a Pillow image upright, crop its centre square, resize it; round to bytes.

    Args:
        picture: an image of at most 8 bits a channel.
        treatment: size and number of channels.

    Returns:
        (height, width, 1 or 3), uint8; transparency is dropped.

    Raises:
        ValueError: if the image has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    if picture.mode not in _EIGHT_BITS:
        raise ValueError(f"it has pixels of mode {picture.mode}; expected 8 bits a channel")
    picture = ImageOps.exif_transpose(picture).convert("L" if treatment.is_gray else "RGB")
    if (size := treatment.image_size) is not None:
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        methods = {"bilinear": Image.Resampling.BILINEAR, "area": Image.Resampling.BOX}
        picture = picture.crop((left, top, left + side, top + side))
        picture = picture.resize((size, size), methods[treatment.method])
    pixels = np.asarray(picture, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_picture(path: Path, treatment: Treatment) -> UInt8[np.ndarray, "h w c"]:
    """Read one file.

    Raises:
        InputError: if it is damaged, no picture, or has more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return to_pixels(picture, treatment)
    except Exception as error:  # Decoders let whatever a damaged byte leads to through.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be read as a picture, expected PNG or JPEG: {reason}"
        ) from error


def read_pictures(
    files: Sequence[Path], root: Path, treatment: Treatment, cache_dir: Path
) -> UInt8[np.ndarray, "n h w c"]:
    """Read files once, and from a cache from then on.

    The cache is one ``.npy`` file, named by a checksum of the names, sizes and times of the files
    and the treatment; a change of any makes another.

    Args:
        files: pictures; of one size, unless the treatment gives them one.
        root: folder that they are under.
        treatment: what is done to each.
        cache_dir: folder of the cache; made if need be. Where it cannot be, a warning says so
            and nothing is kept.

    Returns:
        (n, height, width, channels), uint8, in the order of ``files``, mapped from the cache.

    Raises:
        InputError: if a file is damaged, or of another size than the first.
    """
    key = pixel_cache.key_of(files, root, tuple(treatment))
    return pixel_cache.stored(cache_dir / f"{key}.npy", len(files), _rows(files, treatment))


def _rows(files: Sequence[Path], treatment: Treatment) -> Iterator[np.ndarray]:
    shape = None
    with ThreadPoolExecutor() as pool:
        for begin in range(0, len(files), _CHUNK):
            chunk = files[begin : begin + _CHUNK]
            for file, pixels in zip(chunk, pool.map(lambda f: read_picture(f, treatment), chunk)):
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    raise InputError(
                        f"{file} has {pixels.shape[1]}x{pixels.shape[0]} pixels, and {files[0]} "
                        f"{shape[1]}x{shape[0]}; expected one size, or an image_size"
                    )
                yield pixels
