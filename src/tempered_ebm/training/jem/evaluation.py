"""What a trained joint energy-based model is worth: as a classifier, and as a density."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import jax
import numpy as np

from tempered_ebm import metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import JEM
from tempered_ebm.training import events, metrics_log
from tempered_ebm.training.evaluation import in_batches
from tempered_ebm.training.jem import build
from tempered_ebm.training.run_folder import RunFolder, write_atomically, write_json
from tempered_ebm.types import Params

_MOST_IMAGES = 5000
_PER_CLASS = 10


@dataclass(frozen=True)
class OutOfDistributionRow:
    """How well scores tell held-out images from another set: areas under ROC.

    Attributes:
        images: the other set.
        log_density: by log p(x), up to its constant.
        probability: by the largest class probability.
        score_norm: by minus the norm of ∇ log p(x).
    """

    images: str
    log_density: float
    probability: float
    score_norm: float


@dataclass(frozen=True)
class JEMEvaluation:
    """Everything that is measured, on held-out images.

    Attributes:
        step: updates behind the parameters.
        num_images: held-out images.
        accuracy: fraction classified as labelled.
        cross_entropy: minus log p(y|x), in nats.
        expected_calibration_error: over 15 bins of the confidence.
        out_of_distribution: other images, told from these.
    """

    step: int
    num_images: int
    accuracy: float
    cross_entropy: float
    expected_calibration_error: float
    out_of_distribution: list[OutOfDistributionRow]

    def __str__(self) -> str:
        """Table for people."""
        lines = [
            f"after {self.step} updates; {self.num_images} held-out images",
            f"{'accuracy':34}{self.accuracy:10.4f}",
            f"{'cross-entropy (nats)':34}{self.cross_entropy:10.4f}",
            f"{'expected calibration error':34}{self.expected_calibration_error:10.4f}",
            f"{'area under ROC against':34}{'log p(x)':>10}{'max p(y|x)':>12}{'gradient':>10}",
        ]
        lines += [
            f"{f'  {row.images}':34}{row.log_density:10.4f}{row.probability:12.4f}"
            f"{row.score_norm:10.4f}"
            for row in self.out_of_distribution
        ]
        return "\n".join(lines)


def other_images(rng: np.random.Generator, x: np.ndarray) -> dict[str, np.ndarray]:
    """Images that are none of the data: shuffled pixels, uniform noise, inverted images."""
    flat = x.reshape(len(x), -1)
    shuffled = rng.permuted(flat, axis=1).reshape(x.shape)
    noise = rng.uniform(-1, 1, x.shape).astype(x.dtype)
    return {"shuffled pixels": shuffled, "uniform noise": noise, "inverted images": -x}


@functools.partial(jax.jit, static_argnames="model")
def _scores(model: JEM, params: Params, x: jax.Array) -> jax.Array:
    """Log p(x) + log Z, largest probability, minus the norm of the score: (n, 3)."""
    logits = model.logits(params, x)
    return jax.numpy.stack(
        [
            jax.nn.logsumexp(logits, -1),
            jax.nn.softmax(logits, -1).max(-1),
            -model.score_norm(params, x),
        ],
        -1,
    )


def out_of_distribution(
    score: Callable[[np.ndarray], np.ndarray], x: np.ndarray, others: dict[str, np.ndarray]
) -> list[OutOfDistributionRow]:
    """Areas under ROC of the three scores, for each set of other images.

    Args:
        score: images to scores (n, 3), larger for what is more like the data.
        x: held-out images.
        others: sets of images, by name.
    """
    mine = score(x)
    rows = []
    for name, images in others.items():
        theirs = score(images)
        areas = [metrics.detection(-mine[:, i], -theirs[:, i]).roc for i in range(3)]
        rows.append(OutOfDistributionRow(name, *areas))
    return rows


def evaluate(
    folder: RunFolder, dataset: ImageDataset, params: Params, step: int, *, seed: int = 0
) -> JEMEvaluation:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

    Args:
        folder: the run folder.
        dataset: its data.
        params: its parameters.
        step: updates behind them.
        seed: seed of chains and other images.

    Raises:
        DivergedError: if chains of the trained model are not finite.
        OSError: if the folder cannot be written.
    """
    config = events.scaled(folder.config, len(events.read(folder.events)))
    model = build.build_model(config, dataset.event_shape)  # type: ignore[arg-type]
    x = dataset.x_test[:_MOST_IMAGES]
    assert dataset.y_test is not None
    labels = dataset.y_test[:_MOST_IMAGES]
    key = jax.random.key(seed)
    probabilities = in_batches(lambda _, x: model.class_probabilities(params, x), key, x)
    others = other_images(np.random.default_rng(seed), x)
    evaluation = JEMEvaluation(
        step=step,
        num_images=len(x),
        accuracy=float(np.mean(probabilities.argmax(1) == labels)),
        cross_entropy=-float(np.mean(np.log(probabilities[np.arange(len(x)), labels].clip(1e-30)))),
        expected_calibration_error=metrics.calibration(probabilities, labels).expected_error,
        out_of_distribution=out_of_distribution(
            lambda x: in_batches(lambda _, x: _scores(model, params, x), key, x), x, others
        ),
    )
    write_json(folder.evaluation, asdict(evaluation))
    figures = {}
    if config.objective.density != "none":  # type: ignore[attr-defined]
        wanted = np.tile(np.arange(model.num_classes), _PER_CLASS)
        samples = build.generate(config, dataset, params, key, len(wanted), wanted)  # type: ignore[arg-type]
        panels = {"held-out images": x[:100], "samples, a column for each class": samples}
        figures["samples"] = plotting.image_panels(
            {name: images.clip(-1, 1) for name, images in panels.items()}
        )
    if folder.metrics.exists():
        figures["training_curves"] = plotting.training_curves(metrics_log.read(folder.metrics))
    folder.figures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        write_atomically(folder.figures / f"{name}.png", plotting.to_png(figure))
    return evaluation
