"""What a trained joint energy-based model is worth: as a classifier, and as a density."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

from tempered_ebm import _files, metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import JEM
from tempered_ebm.training import events, outliers, pictures
from tempered_ebm.training.evaluation import in_batches
from tempered_ebm.training.jem import build
from tempered_ebm.training.outliers import OutlierRow
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.types import Params

_MOST_IMAGES = 10_000
_PER_CLASS = 10
_SCORES = (outliers.LOG_DENSITY, outliers.PROBABILITY, outliers.SCORE_NORM)


@dataclass(frozen=True)
class JEMEvaluation:
    """Everything that is measured, on held-out images.

    Attributes:
        step: updates behind the parameters.
        num_images: held-out images.
        accuracy: fraction classified as labelled.
        cross_entropy: minus log p(y|x), in nats.
        expected_calibration_error: over 15 bins of the confidence.
        out_of_distribution: other images, told from these by log p(x) up to its constant, by the
            largest class probability, and by minus the norm of ∇ log p(x).
    """

    step: int
    num_images: int
    accuracy: float
    cross_entropy: float
    expected_calibration_error: float
    out_of_distribution: list[OutlierRow]

    def __str__(self) -> str:
        """Table for people."""
        lines = [
            f"after {self.step} updates; {self.num_images} held-out images",
            f"{'accuracy':34}{self.accuracy:10.4f}",
            f"{'cross-entropy (nats)':34}{self.cross_entropy:10.4f}",
            f"{'expected calibration error':34}{self.expected_calibration_error:10.4f}",
            *outliers.table(self.out_of_distribution),
        ]
        return "\n".join(lines)


@functools.partial(jax.jit, static_argnames="model")
def _scores(model: JEM, params: Params, x: jax.Array) -> jax.Array:
    """Columns of ``_SCORES``, (n, 3)."""
    logits = model.logits(params, x)
    return jax.numpy.stack(
        [
            jax.nn.logsumexp(logits, -1),
            jax.nn.softmax(logits, -1).max(-1),
            -model.score_norm(params, x),
        ],
        -1,
    )


def evaluate(
    folder: RunFolder,
    dataset: ImageDataset,
    params: Params,
    step: int,
    *,
    seed: int = 0,
    others: Sequence[Path] = (),
) -> JEMEvaluation:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

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
    model = build.build_model(config, dataset.event_shape)  # type: ignore[arg-type]
    loaded = outliers.load_others(others, dataset.event_shape, _MOST_IMAGES)
    x = dataset.x_test[:_MOST_IMAGES]
    assert dataset.y_test is not None
    labels = dataset.y_test[:_MOST_IMAGES]
    key = jax.random.key(seed)
    probabilities = in_batches(lambda _, x: model.class_probabilities(params, x), key, x)

    def score(x: np.ndarray) -> dict[str, np.ndarray]:
        columns = in_batches(lambda _, x: _scores(model, params, x), key, x)
        return dict(zip(_SCORES, columns.T, strict=True))

    sets = outliers.other_images(np.random.default_rng(seed), x) | loaded
    evaluation = JEMEvaluation(
        step=step,
        num_images=len(x),
        accuracy=float(np.mean(probabilities.argmax(1) == labels)),
        cross_entropy=-float(np.mean(np.log(probabilities[np.arange(len(x)), labels].clip(1e-30)))),
        expected_calibration_error=metrics.calibration(probabilities, labels).expected_error,
        out_of_distribution=outliers.rows(score, x, sets),
    )
    _files.write_json(folder.evaluation, asdict(evaluation))
    figures = {}
    if config.objective.density != "none":  # type: ignore[attr-defined]
        wanted = np.tile(np.arange(model.num_classes), _PER_CLASS)
        samples = build.generate(config, dataset, params, key, len(wanted), wanted)  # type: ignore[arg-type]
        panels = {"held-out images": x[:100], "samples, a column for each class": samples}
        figures["samples"] = plotting.image_panels(
            {name: images.clip(-1, 1) for name, images in panels.items()}
        )
    pictures.write(folder, figures)
    return evaluation
