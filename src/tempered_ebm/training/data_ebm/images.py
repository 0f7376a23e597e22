"""A trained energy-based model of images: distances, inception score, outliers, pictures."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

from tempered_ebm import _files, metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import DataEBM
from tempered_ebm.training import events, outliers, pictures
from tempered_ebm.training.data_ebm import build
from tempered_ebm.training.evaluation import DistanceRow, FeatureSpace, fit_features, in_batches
from tempered_ebm.training.outliers import OutlierRow
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.types import Params

_MOST_IMAGES = 2000
_BATCH = 500
_SPLITS = 10
_SCORES = (outliers.LOG_DENSITY, outliers.SCORE_NORM)

Sets = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class InceptionRow:
    """Inception score of one set of images, by the classifier of the features.

    Attributes:
        images: which set.
        mean: over the parts of the set.
        standard_deviation: over the same parts.
    """

    images: str
    mean: float
    standard_deviation: float


@dataclass(frozen=True)
class ImageEvaluation:
    """Everything that is measured of a model of images.

    Attributes:
        step: updates behind the parameters.
        feature_space: how the features of the distances were made.
        num_images: images in each set.
        distances: training set (the floor to aim at), samples, and where their chains started.
        inception_scores: held-out images (the ceiling), samples, and where their chains started;
            empty without labels. They compare sets of this number of images by this classifier,
            and nothing with scores of another one.
        out_of_distribution: other images, told from held-out ones by log p(x) up to its constant,
            and by minus the norm of ∇ log p(x).
    """

    step: int
    feature_space: str
    num_images: int
    distances: list[DistanceRow]
    inception_scores: list[InceptionRow]
    out_of_distribution: list[OutlierRow]

    def __str__(self) -> str:
        """Table for people."""
        lines = [
            f"after {self.step} updates; features: {self.feature_space}; {self.num_images} images",
            f"{'':34}{'Fréchet':>10}{'kernel':>10}",
            *(f"{row.images:34}{row.frechet:10.3f}{row.kernel:10.4f}" for row in self.distances),
        ]
        if self.inception_scores:
            lines.append("inception score")
        lines += [
            f"{f'  {row.images}':34}{row.mean:10.3f} ± {row.standard_deviation:.3f}"
            for row in self.inception_scores
        ]
        lines += outliers.table(self.out_of_distribution)
        return "\n".join(lines)


def _distances(space: FeatureSpace, sets: Sets, held_out: np.ndarray) -> list[DistanceRow]:
    reference = space.features(held_out)
    features = {name: space.features(images) for name, images in sets.items()}
    return [
        DistanceRow(
            name,
            metrics.frechet_distance(values, reference),
            metrics.kernel_distance(values, reference),
        )
        for name, values in features.items()
    ]


def _inception_scores(space: FeatureSpace, sets: Sets) -> list[InceptionRow]:
    if space.probabilities is None:
        return []
    return [
        InceptionRow(
            name,
            *metrics.inception_score(
                space.probabilities(images), num_splits=min(_SPLITS, len(images))
            ),
        )
        for name, images in sets.items()
    ]


@functools.partial(jax.jit, static_argnames="model")
def _scores(model: DataEBM, params: Params, x: jax.Array) -> jax.Array:
    """Columns of ``_SCORES``, (n, 2)."""
    value, gradient = jax.vjp(lambda x: model.logdensity(params, x), x)
    (score,) = gradient(jax.numpy.ones_like(value))
    norm = jax.numpy.linalg.norm(score.reshape(len(x), -1), axis=1)
    return jax.numpy.stack([value, -norm], -1)


def _outliers(
    model: DataEBM, params: Params, held_out: np.ndarray, others: Sets, seed: int
) -> list[OutlierRow]:
    key = jax.random.key(seed)

    def score(x: np.ndarray) -> dict[str, np.ndarray]:
        columns = in_batches(lambda _, x: _scores(model, params, x), key, x)
        return dict(zip(_SCORES, columns.T, strict=True))

    made = outliers.other_images(np.random.default_rng(seed), held_out)
    return outliers.rows(score, held_out, {**made, **others})


def evaluate(
    folder: RunFolder,
    dataset: ImageDataset,
    params: Params,
    step: int,
    *,
    seed: int = 0,
    others: Sequence[Path] = (),
) -> ImageEvaluation:
    """Measure fresh samples and the density, write ``evaluation.json`` and the pictures of the run.

    Args:
        folder: the run folder.
        dataset: its data.
        params: its parameters.
        step: updates behind them.
        seed: seed of chains and other images.
        others: npz files of other data sets, whose test images are told from the held-out ones.

    Raises:
        InputError: if one of the files cannot be used.
        DivergedError: if chains of the trained model are not finite.
        OSError: if the folder cannot be written.
    """
    config = events.scaled(folder.config, len(events.read(folder.events)))
    num_images = min(_MOST_IMAGES, len(dataset.x_train), len(dataset.x_test))
    held_out = dataset.x_test[:num_images]
    loaded = outliers.load_others(others, dataset.event_shape, num_images)
    keys = jax.random.split(jax.random.key(seed), -(-num_images // _BATCH))
    samples = np.concatenate(
        [
            build.generate(config, dataset.x_train, params, key, _BATCH)  # type: ignore[arg-type]
            for key in keys
        ]
    )[:num_images]
    start = build.build_start(config, dataset.x_train)  # type: ignore[arg-type]
    began = np.asarray(start(keys[0], jax.numpy.zeros(num_images, int)))
    made = {"samples": samples, "starts of the chains": began}
    sets = {"training set (floor)": dataset.x_train[:num_images], **made}
    space = fit_features(dataset)
    model = build.build_model(config, dataset.event_shape)  # type: ignore[arg-type]
    evaluation = ImageEvaluation(
        step=step,
        feature_space=space.name,
        num_images=num_images,
        distances=_distances(space, sets, held_out),
        inception_scores=_inception_scores(space, {"held-out images (ceiling)": held_out, **made}),
        out_of_distribution=_outliers(model, params, held_out, loaded, seed),
    )
    _files.write_json(folder.evaluation, asdict(evaluation))
    panels = {name: images[:100].clip(-1, 1) for name, images in sets.items()}
    pictures.write(folder, {"samples": plotting.image_panels(panels)})
    return evaluation
