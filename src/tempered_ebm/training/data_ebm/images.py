"""A trained energy-based model of images: distances, inception score, pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import jax
import numpy as np

from tempered_ebm import metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.training import events, metrics_log
from tempered_ebm.training.data_ebm import build
from tempered_ebm.training.evaluation import DistanceRow, fit_features
from tempered_ebm.training.run_folder import RunFolder, write_atomically, write_json
from tempered_ebm.types import Params

_MOST_IMAGES = 2000
_BATCH = 500


@dataclass(frozen=True)
class ImageEvaluation:
    """Everything that is measured of a model of images.

    Attributes:
        step: updates behind the parameters.
        feature_space: how the features of the distances were made.
        num_images: images in each set.
        distances: training set (the floor to aim at), samples, and where their chains started.
    """

    step: int
    feature_space: str
    num_images: int
    distances: list[DistanceRow]

    def __str__(self) -> str:
        """Table for people."""
        lines = [
            f"after {self.step} updates; features: {self.feature_space}; {self.num_images} images",
            f"{'':34}{'Fréchet':>10}{'kernel':>10}",
            *(f"{row.images:34}{row.frechet:10.3f}{row.kernel:10.4f}" for row in self.distances),
        ]
        return "\n".join(lines)


def evaluate(
    folder: RunFolder, dataset: ImageDataset, params: Params, step: int, *, seed: int = 0
) -> ImageEvaluation:
    """Distances of fresh samples to held-out images, and a picture of them."""
    config = events.scaled(folder.config, len(events.read(folder.events)))
    num_images = min(_MOST_IMAGES, len(dataset.x_train), len(dataset.x_test))
    keys = jax.random.split(jax.random.key(seed), -(-num_images // _BATCH))
    samples = np.concatenate(
        [
            build.generate(config, dataset.x_train, params, key, _BATCH)  # type: ignore[arg-type]
            for key in keys
        ]
    )[:num_images]
    start = build.build_start(config, dataset.x_train)  # type: ignore[arg-type]
    began = np.asarray(start(keys[0], jax.numpy.zeros(num_images, int)))
    feature_map, feature_space = fit_features(dataset)
    sets = {
        "training set (floor)": dataset.x_train[:num_images],
        "samples": samples,
        "starts of the chains": began,
    }
    reference = feature_map(dataset.x_test[:num_images])
    rows = []
    for name, images in sets.items():
        values = feature_map(images)
        rows.append(
            DistanceRow(
                name,
                metrics.frechet_distance(values, reference),
                metrics.kernel_distance(values, reference),
            )
        )
    evaluation = ImageEvaluation(step, feature_space, num_images, rows)
    write_json(folder.evaluation, asdict(evaluation))
    panels = {name: images[:100].clip(-1, 1) for name, images in sets.items()}
    figures = {"samples": plotting.image_panels(panels)}
    if folder.metrics.exists():
        figures["training_curves"] = plotting.training_curves(metrics_log.read(folder.metrics))
    folder.figures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        write_atomically(folder.figures / f"{name}.png", plotting.to_png(figure))
    return evaluation
