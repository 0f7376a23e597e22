"""A set of images in memory, split into training, test and perhaps validation parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from tempered_ebm.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images in [-1, 1], channels last.

    Attributes:
        name: what tables and run folders call it.
        x_train: training images, (n, height, width, channels), float32.
        x_test: held-out images, (m, height, width, channels), float32.
        y_train: training labels, (n,), or None.
        y_test: held-out labels, (m,), or None.
        x_validation: images to choose settings by, (k, height, width, channels), float32,
            or None.
        y_validation: their labels, (k,), or None.
    """

    name: str
    x_train: Float[np.ndarray, "n h w c"]
    x_test: Float[np.ndarray, "m h w c"]
    y_train: Int[np.ndarray, "n"] | None = None
    y_test: Int[np.ndarray, "m"] | None = None
    x_validation: Float[np.ndarray, "k h w c"] | None = None
    y_validation: Int[np.ndarray, "k"] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.x_train.shape[1:]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.image_shape


def from_bytes(pixels: UInt8[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Map pixels 0 to 255 onto [-1, 1] in float32, ``x = pixel / 127.5 - 1``.

    Every reader uses this map, so that the same pixels give the same bits.

    Args:
        pixels: of any shape, uint8.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> te.datasets.from_bytes(np.array([0, 255], np.uint8))
        array([-1.,  1.], dtype=float32)
    """
    images = pixels.astype(np.float32)
    images /= np.float32(127.5)
    images -= np.float32(1)
    return images


def split(num_examples: int, held_out: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return fixed indices of a training and a held-out part; the same in every run.

    Args:
        num_examples: number of examples, at least 2.
        held_out: fraction held out, in (0, 1).

    Raises:
        InputError: if a part would be empty.
    """
    num_test = round(num_examples * held_out)
    if not 0 < num_test < num_examples:
        raise InputError(f"cannot hold out a fraction {held_out} of {num_examples} examples")
    order = np.random.default_rng(0).permutation(num_examples)
    return order[num_test:], order[:num_test]
