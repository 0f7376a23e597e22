"""How well the scores of a density tell its held-out images from images of something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm import metrics
from tempered_ebm.datasets import ImageDataset, load_npz_held_out, prepared
from tempered_ebm.errors import InputError

LOG_DENSITY = "log p(x)"
PROBABILITY = "max p(y|x)"
SCORE_NORM = "-|grad log p|"

Images = Float[np.ndarray, "n h w c"]
Scores = Mapping[str, Float[np.ndarray, "n"]]


@dataclass(frozen=True)
class OutlierRow:
    """How well held-out images are told from one other set.

    Attributes:
        images: the other set.
        areas: areas under the curve of true against false positive rates, by score; 0.5 is chance.
    """

    images: str
    areas: dict[str, float]


def other_images(rng: np.random.Generator, x: Images) -> dict[str, Images]:
    """Images that are none of the data: shuffled pixels, uniform noise, inverted images."""
    flat = x.reshape(len(x), -1)
    shuffled = rng.permuted(flat, axis=1).reshape(x.shape)
    noise = rng.uniform(-1, 1, x.shape).astype(x.dtype)
    return {"shuffled pixels": shuffled, "uniform noise": noise, "inverted images": -x}


def load_others(
    paths: Sequence[Path], event_shape: tuple[int, ...], most: int
) -> dict[str, Images]:
    """Held-out images of other data sets, by the names of their files.

    Args:
        paths: npz files as ``--data-file`` takes them, or without ``x_train``; their test images
            are used.
        event_shape: shape of one image of the model. Other sizes are brought to it, and colours to
            one channel if the model has one.
        most: images of each file that are used, at least 1.

    Raises:
        InputError: for a file that is not such an archive, colours that the file lacks, or two
            files of one name.
    """
    checks.at_least("most", most, 1)
    others: dict[str, Images] = {}
    for path in paths:
        if path.stem in others:
            raise InputError(f"--others must name files of different names, got {path.stem} twice")
        x = load_npz_held_out(path).x_test[:most]
        dataset = ImageDataset(path.stem, x[:1], x)
        is_gray = event_shape[-1] == 1 and dataset.image_shape[-1] != 1
        size = None if dataset.image_shape[:2] == event_shape[:2] else event_shape[0]
        x = prepared(dataset, size, grayscale=is_gray).x_test
        if x.shape[1:] != tuple(event_shape):
            raise InputError(
                f"--others {path} must hold images that can be brought to shape {event_shape}, got "
                f"{dataset.image_shape}"
            )
        others[path.stem] = x
    return others


def rows(
    score: Callable[[Images], Scores], x: Images, others: Mapping[str, Images]
) -> list[OutlierRow]:
    """Areas of every score, for each set of other images.

    Args:
        score: images to scores, each larger for what is more like the data.
        x: held-out images.
        others: sets of images, by name.
    """
    mine = score(x)
    found = []
    for name, images in others.items():
        theirs = score(images)
        areas = {key: metrics.detection(-mine[key], -theirs[key]).roc for key in mine}
        found.append(OutlierRow(name, areas))
    return found


def table(found: Sequence[OutlierRow]) -> list[str]:
    """Lines for people."""
    if not found:
        return []
    lines = ["area under ROC against".ljust(34) + "".join(f"{key:>15}" for key in found[0].areas)]
    lines += [
        f"  {row.images}".ljust(34) + "".join(f"{area:15.4f}" for area in row.areas.values())
        for row in found
    ]
    return lines
