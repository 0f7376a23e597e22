"""Measurements that several models share: distances, log-evidence, anomalies, outliers."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm import metrics, plotting
from tempered_ebm.datasets import ImageDataset, load_npz_held_out, only_label, prepared
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.training.config import DataConfig, load_images
from tempered_ebm.training.task import Evaluated
from tempered_ebm.types import Params

MOST_IMAGES = 5000
"""Images of each set whose distance is taken."""
MOST_RECONSTRUCTED = 500
"""Held-out images that are reconstructed."""
EVIDENCE_IMAGES = 4
"""Held-out images whose evidence is estimated."""
LOG_DENSITY = "log p(x)"
PROBABILITY = "max p(y|x)"
SCORE_NORM = "-|grad log p|"
_BATCH = 500
_NORMAL_IN_TEST = 0.2

Images = Float[np.ndarray, "n h w c"]


def in_batches(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    rng_key: jax.Array,
    values: Float[np.ndarray, "n ..."],
) -> np.ndarray:
    """Return ``function(rng_key, batch)`` of all values, batch by batch, joined on the host."""
    starts = range(0, len(values), _BATCH)
    keys = jax.random.split(rng_key, len(starts))
    return np.concatenate(
        [
            np.asarray(function(key, jax.numpy.asarray(values[i : i + _BATCH])))
            for key, i in zip(keys, starts, strict=True)
        ]
    )


@functools.partial(jax.jit, static_argnames="model")
def _decode(model: Any, params: Params, z: jax.Array) -> jax.Array:
    return model.decode(params, z)


def decode(model: Any, params: Params, z: np.ndarray | jax.Array) -> np.ndarray:
    """Return the observations that a model makes of latent vectors, batch by batch."""
    return in_batches(lambda _, z: _decode(model, params, z), jax.random.key(0), np.asarray(z))


class FeatureSpace(NamedTuple):
    """Feature maps of images, fitted to a training set.

    Attributes:
        features: images to features, for distances.
        name: how they were made.
        probabilities: images to class probabilities, or None without labels.
    """

    features: metrics.FeatureMap
    name: str
    probabilities: metrics.FeatureMap | None = None


def fit_features(dataset: ImageDataset) -> FeatureSpace:
    """Return the feature space of a training set: a small classifier's, or PCA without labels."""
    if dataset.y_train is None or len(np.unique(dataset.y_train)) < 2:
        components = f"{metrics.features.FEATURE_DIM} principal components"
        return FeatureSpace(metrics.fit_pca_features(dataset.x_train[:MOST_IMAGES]), components)
    classifier = metrics.fit_classifier_features(dataset.x_train, dataset.y_train)
    name = "last hidden layer of a classifier"
    if dataset.y_test is not None:
        accuracy = np.mean(classifier.predict(dataset.x_test) == dataset.y_test)
        name += f" of held-out accuracy {accuracy:.3f}"
    return FeatureSpace(classifier.features, name, classifier.probabilities)


@dataclass(frozen=True)
class DistanceRow:
    """Distance of one set of images to the held-out images, in one feature space.

    Attributes:
        images: which set.
        frechet: Fréchet distance.
        kernel: kernel distance.
    """

    images: str
    frechet: float
    kernel: float


def distances(
    space: FeatureSpace, sets: Mapping[str, Images], held_out: Images
) -> list[DistanceRow]:
    """Return the distances of sets of images to held-out ones.

    The distance of the training set, to which the features were fitted, is the floor to aim at.
    """
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


def distance_lines(rows: Sequence[DistanceRow]) -> list[str]:
    """Return lines of a table for people."""
    lines = [f"{row.images:34}{row.frechet:10.3f}{row.kernel:10.4f}" for row in rows]
    return [f"{'':34}{'Fréchet':>10}{'kernel':>10}", *lines]


Scorer = Callable[[Images], Float[np.ndarray, "n"]]
"""Images to scores, larger for what the model finds less likely, of the first n of them: as many as
it is worth computing for."""


@dataclass(frozen=True)
class AnomalyRow:
    """Detection of the held-out class among the test images by one score.

    Attributes:
        score: which.
        num_images: normal and anomalous test images that were scored.
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


def detect_anomalies(
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
    for name, score in scorers.items():
        normal, anomalous = score(dataset.x_test), score(held_out.x_test)
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


def anomaly_lines(label: int | None, rows: list[AnomalyRow]) -> list[str]:
    """Return lines of a table for people."""
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


class Evidence(NamedTuple):
    """Log-evidence of held-out images.

    Attributes:
        temperatures: the ladder.
        estimate: of each image.
        warnings: why it should not be trusted; empty if nothing was noticed.
    """

    temperatures: Float[np.ndarray, "K"]
    estimate: EvidenceEstimate
    warnings: list[str]


@dataclass(frozen=True)
class LatentEvaluation:
    """Measurements of a model with a latent vector.

    Attributes:
        step: updates behind the parameters.
        feature_space: how the features of the distances were made.
        num_images: images in each set, and held-out images, of the distances.
        distances: training set (the floor to aim at), learned prior, and two baselines.
        reconstruction_error: mean squared error per pixel, for pixels in [-1, 1], of
            held-out images decoded at a posterior draw.
        log_evidence: log p(x) of a few held-out images, in nats.
        log_evidence_standard_error: their Monte Carlo standard errors.
        log_evidence_lower_bound: left Riemann sums.
        log_evidence_upper_bound: right Riemann sums.
        warnings: why a log-evidence, here or of anomalies, should not be trusted; empty if nothing
            was noticed.
        anomalies: how well the held-out class is found, if one is held out.
        held_out_label: that class.
    """

    step: int
    feature_space: str
    num_images: tuple[int, int]
    distances: list[DistanceRow]
    reconstruction_error: float
    log_evidence: list[float]
    log_evidence_standard_error: list[float]
    log_evidence_lower_bound: list[float]
    log_evidence_upper_bound: list[float]
    warnings: list[str]
    anomalies: list[AnomalyRow]
    held_out_label: int | None

    def __str__(self) -> str:
        """Return a table for people."""
        sizes = f"{self.num_images[0]} against {self.num_images[1]} held-out images"
        lines = [
            f"after {self.step} updates; features: {self.feature_space}; {sizes}",
            *distance_lines(self.distances),
            f"{'reconstruction error, held out':34}{self.reconstruction_error:10.4f}",
            "log-evidence of held-out images (nats)",
        ]
        errors = self.log_evidence_standard_error
        brackets = zip(self.log_evidence_lower_bound, self.log_evidence_upper_bound, strict=True)
        rows = zip(self.log_evidence, errors, brackets, strict=True)
        lines += [
            f"{f'  image {i}':34}{value:10.2f} ± {error:.2f}   bracket [{low:.1f}, {high:.1f}]"
            for i, (value, error, (low, high)) in enumerate(rows)
        ]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        lines += anomaly_lines(self.held_out_label, self.anomalies)
        return "\n".join(lines)


def evaluate_latent(
    data: DataConfig,
    dataset: ImageDataset,
    step: int,
    generated: dict[str, Images],
    reconstructed: Images,
    evidence: Evidence,
    scorers: Mapping[str, Scorer],
) -> Evaluated:
    """Return the measurements and pictures of a model that decodes a latent vector.

    Args:
        data: options of its data.
        dataset: its data.
        step: updates behind the parameters.
        generated: sets of images by what made them, all of one size.
        reconstructed: the first m held-out images, encoded and decoded.
        evidence: of the first held-out images.
        scorers: scores by which a held-out class is looked for.
    """
    space = fit_features(dataset)
    held_out = dataset.x_test[:MOST_IMAGES]
    num_samples = len(next(iter(generated.values())))
    sets = {"training set (floor)": dataset.x_train[:num_samples], **generated}
    originals = dataset.x_test[: len(reconstructed)]
    estimate = evidence.estimate
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = detect_anomalies(data, dataset, scorers)
    table = LatentEvaluation(
        step=step,
        feature_space=space.name,
        num_images=(num_samples, len(held_out)),
        distances=distances(space, sets, held_out),
        reconstruction_error=float(np.mean((reconstructed - originals) ** 2)),
        log_evidence=estimate.log_evidence.tolist(),
        log_evidence_standard_error=estimate.standard_error.tolist(),
        log_evidence_lower_bound=estimate.lower_bound.tolist(),
        log_evidence_upper_bound=estimate.upper_bound.tolist(),
        warnings=[*evidence.warnings, *(str(one.message) for one in caught)],
        anomalies=found,
        held_out_label=data.held_out_label,
    )
    figures = {
        "samples": plotting.image_panels({name: x[:100] for name, x in sets.items()}),
        "reconstructions": plotting.reconstructions(originals[:40], reconstructed[:40]),
        "integrand": plotting.integrand(
            evidence.temperatures,
            estimate,
            title="thermodynamic integrand of held-out images; the ladder in red",
        ),
    }
    return Evaluated(table, figures)


@dataclass(frozen=True)
class OutlierRow:
    """Detection of one other set of images by the scores of a density.

    Attributes:
        images: the other set.
        areas: areas under the curve of true against false positive rates, by score; 0.5 is chance.
    """

    images: str
    areas: dict[str, float]


def other_images(rng: np.random.Generator, x: Images) -> dict[str, Images]:
    """Return images that are none of the data: shuffled pixels, uniform noise, inverted images."""
    flat = x.reshape(len(x), -1)
    shuffled = rng.permuted(flat, axis=1).reshape(x.shape)
    noise = rng.uniform(-1, 1, x.shape).astype(x.dtype)
    return {"shuffled pixels": shuffled, "uniform noise": noise, "inverted images": -x}


def load_others(
    paths: Sequence[Path], event_shape: tuple[int, ...], most: int
) -> dict[str, Images]:
    """Return held-out images of other data sets, by the names of their files.

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


def detect_outliers(
    names: Sequence[str],
    score: Callable[[jax.Array], jax.Array],
    held_out: Images,
    others: Mapping[str, Images],
    seed: int,
) -> list[OutlierRow]:
    """Return how well scores tell held-out images from made ones and those of other files.

    Args:
        names: of the scores.
        score: a batch of images to columns of scores, larger for what is more like the data.
        held_out: images.
        others: sets of images, by name.
        seed: of the images that are made.
    """
    compiled = jax.jit(score)

    def columns(x: Images) -> np.ndarray:
        return in_batches(lambda _, x: compiled(x), jax.random.key(seed), x).T

    mine, found = columns(held_out), []
    made = other_images(np.random.default_rng(seed), held_out)
    for name, images in {**made, **others}.items():
        pairs = zip(mine, columns(images), strict=True)
        areas = [metrics.detection(-inside, -outside).roc for inside, outside in pairs]
        found.append(OutlierRow(name, dict(zip(names, areas, strict=True))))
    return found


def outlier_lines(found: Sequence[OutlierRow]) -> list[str]:
    """Return lines of a table for people."""
    if not found:
        return []
    lines = ["area under ROC against".ljust(34) + "".join(f"{key:>15}" for key in found[0].areas)]
    lines += [
        f"  {row.images}".ljust(34) + "".join(f"{area:15.4f}" for area in row.areas.values())
        for row in found
    ]
    return lines
