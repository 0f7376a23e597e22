"""Building, sampling and evaluating an energy-based model of data, points or images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tempered_ebm import metrics, plotting
from tempered_ebm.datasets import ImageDataset, PointDataset
from tempered_ebm.densities import Bounds, quadrature
from tempered_ebm.errors import DivergedError
from tempered_ebm.models import DataEBM
from tempered_ebm.training import evaluation
from tempered_ebm.training.config import with_sampling_steps
from tempered_ebm.training.data_ebm.config import DataEBMConfig
from tempered_ebm.training.data_ebm.learner import (
    build_learner,
    build_model,
    build_start,
    run_chains,
)
from tempered_ebm.training.evaluation import DistanceRow, OutlierRow
from tempered_ebm.training.task import Evaluated, Labels, Task, TrainedModel, Trajectory
from tempered_ebm.types import Params, PRNGKey

_MOST_IMAGES = 2000
_BATCH = 500
_SPLITS = 10
_MARGIN = 0.5
_INTERVALS = 768
_BANDWIDTHS = np.geomspace(0.02, 0.6, 25)
_CHOSEN_BY = 2_000
_SAMPLES = 2_000


class DataEBMTask(Task):
    """The energy-based model of data: chains on observations, or ladders of their replicas."""

    has_chains = True
    takes_others = True
    build_model = staticmethod(build_model)
    build_learner = staticmethod(build_learner)

    def _chains(
        self, trained: TrainedModel, model: DataEBM, rng_key: PRNGKey, n: int, label: Labels
    ) -> Trajectory:
        """Return chains, or ladders shown by their replicas at the model.

        They start like new chains of training.
        """
        start = build_start(trained.config, trained.load_dataset().x_train)
        return Trajectory(
            start(rng_key, jnp.zeros(n, jnp.int32)),
            lambda key, x: run_chains(model, key, trained.params, x)[1],
            lambda x: x if model.temperatures is None else x[:, -1],
        )

    def density(
        self, config: DataEBMConfig, event_shape: tuple[int, ...], num_steps: int | None = None
    ) -> DataEBM:
        """Return the model with the chain of sampling.

        In place of a ladder its chains are Metropolis-adjusted, as all steps of a ladder are.
        """
        chain = dataclasses.replace(config.chain, metropolis=config.chain.is_adjusted)
        config = with_sampling_steps(dataclasses.replace(config, chain=chain), num_steps)
        return build_model(config, event_shape, sampling=True)

    def evaluate(self, trained: TrainedModel, seed: int, others: Sequence[Path]) -> Evaluated:
        """Measure the likelihood of points, or distances and scores of images."""
        if isinstance(trained.load_dataset(), PointDataset):
            return self._evaluate_points(trained, seed)
        return self._evaluate_images(trained, seed, others)

    def _evaluate_points(self, trained: TrainedModel, seed: int) -> Evaluated:
        """Measure the held-out likelihood beside the truth and a kernel density estimate."""
        dataset: PointDataset = trained.load_dataset()
        model = self.build_model(trained.config, dataset.event_shape)
        logdensity = jax.tree_util.Partial(model.logdensity, trained.params)
        box = _box(dataset, model.base_scale)
        found = quadrature(logdensity, box, num_intervals=_INTERVALS)
        values = np.asarray(logdensity(jnp.asarray(dataset.x_test)), np.float64)
        if not np.all(np.isfinite(values)):
            raise DivergedError("the log-density of held-out points is not finite")
        baseline, bandwidth = kernel_density(dataset.x_train, dataset.x_test)
        truth = np.asarray(dataset.density.log_prob(jnp.asarray(dataset.x_test)))
        table = PointEvaluation(
            step=trained.step,
            negative_log_likelihood=found.log_normalizer - float(values.mean()),
            standard_error=float(values.std(ddof=1) / np.sqrt(len(values))),
            log_normalizer=found.log_normalizer,
            edge=found.edge,
            kernel_density=baseline,
            bandwidth=bandwidth,
            truth=-float(truth.mean()),
            entropy=dataset.density.entropy,
        )
        samples = self.generate(trained, jax.random.key(seed), _SAMPLES)
        figure = plotting.learned_density(
            logdensity, found.log_normalizer, dataset.density.bounds, dataset.x_test, samples
        )
        return Evaluated(table, {"density": figure})

    def _evaluate_images(
        self, trained: TrainedModel, seed: int, others: Sequence[Path]
    ) -> Evaluated:
        """Measure fresh samples and the density of held-out and other images."""
        dataset: ImageDataset = trained.load_dataset()
        num_images = min(_MOST_IMAGES, len(dataset.x_train), len(dataset.x_test))
        held_out = dataset.x_test[:num_images]
        loaded = evaluation.load_others(others, dataset.event_shape, num_images)
        keys = jax.random.split(jax.random.key(seed), -(-num_images // _BATCH))
        batches = [self.generate(trained, key, _BATCH) for key in keys]
        start = build_start(trained.config, dataset.x_train)
        made = {
            "samples": np.concatenate(batches)[:num_images],
            "starts of the chains": np.asarray(start(keys[0], jnp.zeros(num_images, int))),
        }
        sets = {"training set (floor)": dataset.x_train[:num_images], **made}
        space = evaluation.fit_features(dataset)
        model = self.build_model(trained.config, dataset.event_shape)
        scores = []
        if space.probabilities is not None:
            for name, images in {"held-out images (ceiling)": held_out, **made}.items():
                classes, num_splits = space.probabilities(images), min(_SPLITS, len(images))
                found = metrics.inception_score(classes, num_splits=num_splits)
                scores.append(InceptionRow(name, *found))
        table = ImageEvaluation(
            step=trained.step,
            feature_space=space.name,
            num_images=num_images,
            distances=evaluation.distances(space, sets, held_out),
            inception_scores=scores,
            out_of_distribution=evaluation.detect_outliers(
                (evaluation.LOG_DENSITY, evaluation.SCORE_NORM),
                lambda x: density_scores(model, trained.params, x),
                held_out,
                loaded,
                seed,
            ),
        )
        panels = {name: images[:100].clip(-1, 1) for name, images in sets.items()}
        return Evaluated(table, {"samples": plotting.image_panels(panels)})


@dataclass(frozen=True)
class PointEvaluation:
    """Measurements of a density of the plane, in nats a point.

    Attributes:
        step: updates behind the parameters.
        negative_log_likelihood: of held-out points; the normaliser is by quadrature.
        standard_error: of that mean, from the number of held-out points.
        log_normalizer: log Z of the model.
        edge: highest density on the border of the box of the quadrature over the highest
            anywhere; unless it is tiny, mass is outside.
        kernel_density: the same for a kernel density estimate, its bandwidth chosen by the
            likelihood of training points that were set apart.
        bandwidth: that bandwidth.
        truth: the same under the density that the points come from.
        entropy: of that density, which is the least expected value.
    """

    step: int
    negative_log_likelihood: float
    standard_error: float
    log_normalizer: float
    edge: float
    kernel_density: float
    bandwidth: float
    truth: float
    entropy: float

    def __str__(self) -> str:
        """Return a table for people."""
        rows = (
            ("model", f"{self.negative_log_likelihood:8.3f} ± {self.standard_error:.3f}"),
            (f"kernel density estimate ({self.bandwidth:.3f})", f"{self.kernel_density:8.3f}"),
            ("truth, on these points", f"{self.truth:8.3f}"),
            ("truth, expected (entropy)", f"{self.entropy:8.3f}"),
        )
        lines = [
            f"after {self.step} updates; negative log-likelihood of held-out points (nats)",
            *(f"{name:34}{value}" for name, value in rows),
        ]
        if self.edge > 1e-3:
            lines.append(
                f"  warning: the density on the border of the box is {self.edge:.2g} of the "
                "highest; the normaliser is too small"
            )
        return "\n".join(lines)


def kernel_density(
    x_train: Float[np.ndarray, "n 2"], x_test: Float[np.ndarray, "m 2"]
) -> tuple[float, float]:
    """Return the held-out loss in nats of a Gaussian kernel density estimate, and its bandwidth.

    The bandwidth is the one of 25 that gives training points which were set apart the highest
    likelihood; the estimate then uses all training points.
    """
    from sklearn.neighbors import KernelDensity

    apart = min(_CHOSEN_BY, len(x_train) // 5)
    kept, chosen_by = x_train[apart:], x_train[:apart]
    scores = [KernelDensity(bandwidth=b).fit(kept).score(chosen_by) for b in _BANDWIDTHS]
    bandwidth = float(_BANDWIDTHS[int(np.argmax(scores))])
    fitted = KernelDensity(bandwidth=bandwidth).fit(x_train)
    return -float(fitted.score(x_test)) / len(x_test), bandwidth


def _box(dataset: PointDataset, base_scale: float | None) -> Bounds:
    """Return a box of the mass of the density: the truth's, or that of the reference normal."""
    (x0, x1), (y0, y1) = dataset.density.bounds
    if base_scale is None:
        across, up = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
        return (x0 - across, x1 + across), (y0 - up, y1 + up)
    reach = 5 * base_scale
    return (min(x0, -reach), max(x1, reach)), (min(y0, -reach), max(y1, reach))


def density_scores(model: DataEBM, params: Params, x: jax.Array) -> Float[jax.Array, "n 2"]:
    """Return log p(x) up to its constant, and minus the norm of its gradient."""
    value, gradient = jax.vjp(lambda x: model.logdensity(params, x), x)
    (score,) = gradient(jnp.ones_like(value))
    norm = jnp.linalg.norm(score.reshape(len(x), -1), axis=1)
    return jnp.stack([value, -norm], -1)


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
    """Measurements of a model of images.

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
        """Return a table for people."""
        lines = [
            f"after {self.step} updates; features: {self.feature_space}; {self.num_images} images",
            *evaluation.distance_lines(self.distances),
        ]
        if self.inception_scores:
            lines.append("inception score")
        lines += [
            f"{f'  {row.images}':34}{row.mean:10.3f} ± {row.standard_deviation:.3f}"
            for row in self.inception_scores
        ]
        lines += evaluation.outlier_lines(self.out_of_distribution)
        return "\n".join(lines)
