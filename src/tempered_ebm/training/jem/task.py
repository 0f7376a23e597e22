"""Building, sampling and evaluating a joint energy-based model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from tempered_ebm.training.state import Learner
from tempered_ebm.training.task import (
    Evaluated,
    Labels,
    Task,
    TrainedModel,
    Trajectory,
    require_finite,
    steps_per_frame,
)
from tempered_ebm.types import Params, PRNGKey

_MOST_IMAGES = 10_000
_PER_CLASS = 10


class JEMTask(Task):
    """The joint energy-based model: chains on images, each of a class."""

    has_chains = True
    takes_others = True

    def build_learner(self, config: JEMConfig, dataset: ImageDataset) -> Learner:
        """Return the model as the training loop sees it."""
        return build_learner(config, dataset)

    def init_params(
        self, config: JEMConfig, event_shape: tuple[int, ...], rng_key: PRNGKey
    ) -> Params:
        """Return initial parameters."""
        return build_model(config, event_shape).init(rng_key)

    def num_classes(self, config: JEMConfig) -> int:
        """Return the number of classes that can be drawn from."""
        return config.model.num_classes or 0

    def generate(
        self, trained: TrainedModel, rng_key: PRNGKey, num_samples: int, label: Labels = None
    ) -> np.ndarray:
        """Return ends of chains of ``sampling_steps`` on p(x|y), by default all classes in turn.

        The chains of a model whose density is marginal are given a class, too.
        """
        config, params = trained.config, trained.params
        dataset: Any = trained.load_dataset()
        return generate(config, dataset, params, rng_key, num_samples, label)

    def trajectory(
        self,
        trained: TrainedModel,
        rng_key: PRNGKey,
        num_samples: int,
        num_frames: int,
        label: Labels = None,
    ) -> Trajectory:
        """Return chains on p(x|y), by default all classes in turn."""
        config, params = trained.config, trained.params
        dataset: Any = trained.load_dataset()
        steps = steps_per_frame(config.chain.sampling_steps, num_frames)
        model = build_model(with_sampling_steps(config, steps), dataset.event_shape, sampling=True)
        classes = _classes(config, num_samples, label)
        return Trajectory(
            build_start(config, dataset)(rng_key, classes),
            lambda key, x: model.run_chains(key, params, x, classes).position,
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

    def evaluate(
        self,
        trained: TrainedModel,
        dataset: ImageDataset,
        *,
        seed: int = 0,
        others: Sequence[Path] = (),
    ) -> Evaluated:
        """Measure the classifier, and the density of held-out and other images."""
        config, params, step = trained.config, trained.params, trained.step
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
            samples = generate(config, dataset, params, key, len(wanted), wanted)
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


def generate(
    config: JEMConfig,
    dataset: ImageDataset,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    label: np.ndarray | None = None,
) -> np.ndarray:
    """Return ends of chains that start from these data; see :meth:`JEMTask.generate`."""
    start_key, chain_key = jax.random.split(rng_key)
    model = build_model(config, dataset.event_shape, sampling=True)
    classes = _classes(config, num_samples, label)
    initial = build_start(config, dataset)(start_key, classes)
    samples = np.asarray(model.run_chains(chain_key, params, initial, classes).position)
    require_finite(samples)
    return samples


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
