"""Building, sampling and evaluating a joint energy-based model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tempered_ebm import metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import InputError
from tempered_ebm.models import JEM, DataEBM
from tempered_ebm.training import evaluation
from tempered_ebm.training.config import with_sampling_steps
from tempered_ebm.training.evaluation import OutlierRow, in_batches
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.jem.learner import build_learner, build_model, build_start
from tempered_ebm.training.task import Evaluated, Labels, Task, TrainedModel, Trajectory
from tempered_ebm.types import Params, PRNGKey

_MOST_IMAGES = 10_000
_PER_CLASS = 10


class JEMTask(Task):
    """The joint energy-based model: chains on images, each of a class."""

    has_chains = True
    takes_others = True
    build_model = staticmethod(build_model)
    build_learner = staticmethod(build_learner)

    def num_classes(self, config: JEMConfig) -> int:
        """Return the number of classes that can be drawn from."""
        return config.model.num_classes or 0

    def _chains(
        self, trained: TrainedModel, model: JEM, rng_key: PRNGKey, n: int, label: Labels
    ) -> Trajectory:
        """Return chains on p(x|y), by default all classes in turn.

        The chains of a model whose density is marginal are given a class, too.
        """
        classes = _classes(trained.config, n, label)
        return Trajectory(
            build_start(trained.config, trained.load_dataset())(rng_key, classes),
            lambda key, x: model.run_chains(key, trained.params, x, classes).position,
            lambda x: x,
        )

    def density(
        self, config: JEMConfig, event_shape: tuple[int, ...], num_steps: int | None = None
    ) -> DataEBM:
        """Return the density of images alone, with the chain of sampling.

        Raises:
            InputError: if the run trains the classifier alone.
        """
        if not config.has_density:
            raise InputError("this needs a density, and the run was trained with --density none")
        config = with_sampling_steps(config, num_steps)
        return build_model(config, event_shape, sampling=True).marginal

    def evaluate(self, trained: TrainedModel, seed: int, others: Sequence[Path]) -> Evaluated:
        """Measure the classifier, and the density of held-out and other images."""
        config, params, step = trained.config, trained.params, trained.step
        dataset: ImageDataset = trained.load_dataset()
        model = build_model(config, dataset.event_shape)
        loaded = evaluation.load_others(others, dataset.event_shape, _MOST_IMAGES)
        x = dataset.x_test[:_MOST_IMAGES]
        assert dataset.y_test is not None
        labels = dataset.y_test[:_MOST_IMAGES]
        key = jax.random.key(seed)
        probabilities = in_batches(lambda _, x: model.class_probabilities(params, x), key, x)
        of_label = probabilities[np.arange(len(x)), labels]
        table = JEMEvaluation(
            step=step,
            num_images=len(x),
            accuracy=float(np.mean(probabilities.argmax(1) == labels)),
            cross_entropy=-float(np.mean(np.log(of_label.clip(1e-30)))),
            expected_calibration_error=metrics.calibration(probabilities, labels).expected_error,
            out_of_distribution=evaluation.detect_outliers(
                (evaluation.LOG_DENSITY, evaluation.PROBABILITY, evaluation.SCORE_NORM),
                lambda x: _scores(model, params, x),
                x,
                loaded,
                seed,
            ),
        )
        figures = {}
        if config.has_density:
            wanted = np.tile(np.arange(model.num_classes), _PER_CLASS)
            samples = self.generate(trained, key, len(wanted), wanted)
            panels = {"held-out images": x[:100], "samples, a column for each class": samples}
            figures["samples"] = plotting.image_panels(
                {name: images.clip(-1, 1) for name, images in panels.items()}
            )
        return Evaluated(table, figures)


def _classes(config: JEMConfig, num_samples: int, label: np.ndarray | None) -> jax.Array:
    """Return the class of each chain."""
    if label is None:
        label = np.arange(num_samples) % (config.model.num_classes or 1)
    return jnp.asarray(label, jnp.int32)


def _scores(model: JEM, params: Params, x: jax.Array) -> jax.Array:
    """Return log p(x) up to its constant, the largest p(y|x), and minus the norm of the score."""
    logits = model.logits(params, x)
    largest = jax.nn.softmax(logits, -1).max(-1)
    return jnp.stack([jax.nn.logsumexp(logits, -1), largest, -model.score_norm(params, x)], -1)


@dataclass(frozen=True)
class JEMEvaluation:
    """Measurements on held-out images.

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
        """Return a table for people."""
        lines = [
            f"after {self.step} updates; {self.num_images} held-out images",
            f"{'accuracy':34}{self.accuracy:10.4f}",
            f"{'cross-entropy (nats)':34}{self.cross_entropy:10.4f}",
            f"{'expected calibration error':34}{self.expected_calibration_error:10.4f}",
            *evaluation.outlier_lines(self.out_of_distribution),
        ]
        return "\n".join(lines)
