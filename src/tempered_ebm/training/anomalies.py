"""Detection of a held-out class by the scores of a model that never saw it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tempered_ebm import metrics
from tempered_ebm.datasets import ImageDataset, only_label
from tempered_ebm.training.data import DataConfig, load_images

_NORMAL_IN_TEST = 0.2


class Scorer(NamedTuple):
    """A score of images.

    Attributes:
        score: images to scores, larger for what the model finds less likely.
        most: images of each sort that it is worth computing for.
    """

    score: Callable[[Float[np.ndarray, "n h w c"]], Float[np.ndarray, "n"]]
    most: int


@dataclass(frozen=True)
class AnomalyRow:
    """How well one score finds the held-out class among the test images.

    Attributes:
        score: which.
        num_images: normal and anomalous test images.
        roc: area under the receiver operating characteristic.
        precision_recall: area under the precision-recall curve at the prevalence of the test
            images.
        prevalence: fraction of the held-out class among all test images.
        protocol_precision_recall: the same area at the prevalence of Zenati et al. (2018), who
            test with all images of the class and a fifth of the others.
        protocol_prevalence: that prevalence.
    """

    score: str
    num_images: tuple[int, int]
    roc: float
    precision_recall: float
    prevalence: float
    protocol_precision_recall: float
    protocol_prevalence: float


def detect(
    data: DataConfig, dataset: ImageDataset, scorers: Mapping[str, Scorer]
) -> list[AnomalyRow]:
    """Score test images of the held-out class and of all others; nothing if no class is held out.

    Args:
        data: options of the data of the run.
        dataset: its data, without the held-out class.
        scorers: by name.

    Raises:
        InputError: if the data cannot be read again.
    """
    if data.held_out_label is None:
        return []
    full = load_images(dataclasses.replace(data, held_out_label=None, validation=None))
    held_out = only_label(full, data.held_out_label)
    num_normal, num_anomalous = len(dataset.x_test), len(held_out.x_test)
    prevalence = num_anomalous / (num_normal + num_anomalous)
    everywhere = len(full.x_train) + len(full.x_test)
    of_class = len(held_out.x_train) + num_anomalous
    protocol = of_class / (of_class + _NORMAL_IN_TEST * (everywhere - of_class))
    rows = []
    for name, (score, most) in scorers.items():
        normal, anomalous = score(dataset.x_test[:most]), score(held_out.x_test[:most])
        found = metrics.detection(normal, anomalous, prevalence=prevalence)
        as_protocol = metrics.detection(normal, anomalous, prevalence=protocol)
        rows.append(
            AnomalyRow(
                name,
                (len(normal), len(anomalous)),
                found.roc,
                found.precision_recall,
                prevalence,
                as_protocol.precision_recall,
                protocol,
            )
        )
    return rows


def table(label: int | None, rows: list[AnomalyRow]) -> list[str]:
    """Lines for people."""
    if not rows:
        return []
    first = rows[0]
    prevalences = f"{first.prevalence:.0%} of the images", f"{first.protocol_prevalence:.0%}"
    lines = [
        f"class {label} found among held-out images: area under ROC, and under precision-recall "
        f"if it is {' and '.join(prevalences)}"
    ]
    for row in rows:
        areas = (row.roc, row.precision_recall, row.protocol_precision_recall)
        sizes = f"{row.num_images[1]} among {row.num_images[0]}"
        lines.append(f"{f'  {row.score} ({sizes})':34}" + "".join(f"{a:10.3f}" for a in areas))
    return lines
