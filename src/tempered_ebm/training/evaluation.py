"""What a trained model with a latent vector is worth: distances, errors, evidence, pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from tempered_ebm import _files, metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.training import anomalies, pictures
from tempered_ebm.training.anomalies import AnomalyRow, Scorer
from tempered_ebm.training.run_folder import RunFolder

MOST_IMAGES = 5000
"""Images of each set whose distance is taken."""
MOST_RECONSTRUCTED = 500
"""Held-out images that are reconstructed."""
EVIDENCE_IMAGES = 4
"""Held-out images whose evidence is estimated."""
_BATCH = 500


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


@dataclass(frozen=True)
class Evaluation:
    """Everything that :func:`evaluate` measures.

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
        """Table for people."""
        sizes = f"{self.num_images[0]} against {self.num_images[1]} held-out images"
        lines = [
            f"after {self.step} updates; features: {self.feature_space}; {sizes}",
            f"{'':34}{'Fréchet':>10}{'kernel':>10}",
            *(f"{row.images:34}{row.frechet:10.3f}{row.kernel:10.4f}" for row in self.distances),
            f"{'reconstruction error, held out':34}{self.reconstruction_error:10.4f}",
            "log-evidence of held-out images (nats)",
        ]
        lines += [
            f"{f'  image {i}':34}{value:10.2f} ± {error:.2f}   bracket [{low:.1f}, {high:.1f}]"
            for i, (value, error, low, high) in enumerate(
                zip(
                    self.log_evidence,
                    self.log_evidence_standard_error,
                    self.log_evidence_lower_bound,
                    self.log_evidence_upper_bound,
                    strict=True,
                )
            )
        ]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        lines += anomalies.table(self.held_out_label, self.anomalies)
        return "\n".join(lines)


class FeatureSpace(NamedTuple):
    """What a training set says of images.

    Attributes:
        features: images to features, for distances.
        name: how they were made.
        probabilities: images to class probabilities, or None without labels.
    """

    features: metrics.FeatureMap
    name: str
    probabilities: metrics.FeatureMap | None = None


def fit_features(dataset: ImageDataset) -> FeatureSpace:
    """Feature space of a training set: a small classifier's, or PCA without labels."""
    if dataset.y_train is None or len(np.unique(dataset.y_train)) < 2:
        components = f"{metrics.features.FEATURE_DIM} principal components"
        return FeatureSpace(metrics.fit_pca_features(dataset.x_train[:MOST_IMAGES]), components)
    classifier = metrics.fit_classifier_features(dataset.x_train, dataset.y_train)
    name = "last hidden layer of a classifier"
    if dataset.y_test is not None:
        accuracy = np.mean(classifier.predict(dataset.x_test) == dataset.y_test)
        name += f" of held-out accuracy {accuracy:.3f}"
    return FeatureSpace(classifier.features, name, classifier.probabilities)


def in_batches(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    rng_key: jax.Array,
    values: Float[np.ndarray, "n ..."],
) -> np.ndarray:
    """``function(rng_key, batch)`` for all values, batch by batch, joined on the host."""
    starts = range(0, len(values), _BATCH)
    keys = jax.random.split(rng_key, len(starts))
    return np.concatenate(
        [
            np.asarray(function(key, jax.numpy.asarray(values[i : i + _BATCH])))
            for key, i in zip(keys, starts, strict=True)
        ]
    )


class Evidence(NamedTuple):
    """Log-evidence of held-out images, and how it was estimated.

    Attributes:
        temperatures: the ladder.
        estimate: of each image.
        warnings: what was said against it.
    """

    temperatures: Float[np.ndarray, "K"]
    estimate: EvidenceEstimate
    warnings: list[str]


def conclude(
    folder: RunFolder,
    dataset: ImageDataset,
    step: int,
    generated: dict[str, Float[np.ndarray, "n h w c"]],
    reconstructed: Float[np.ndarray, "m h w c"],
    evidence: Evidence,
    scorers: Mapping[str, Scorer],
) -> Evaluation:
    """Take distances, write ``evaluation.json`` and the pictures of the run.

    Distances are taken to held-out images; that of the training set, to which the features were
    fitted, is the floor to aim at.

    Args:
        folder: the run folder.
        dataset: its data.
        step: updates behind the parameters.
        generated: sets of images by what made them, all of one size.
        reconstructed: the first m held-out images, encoded and decoded.
        evidence: of the first held-out images.
        scorers: what to look for a held-out class by.

    Raises:
        OSError: if the folder cannot be written.
    """
    feature_map, feature_space, _ = fit_features(dataset)
    held_out = dataset.x_test[:MOST_IMAGES]
    num_samples = len(next(iter(generated.values())))
    sets = {"training set (floor)": dataset.x_train[:num_samples], **generated}
    reference = feature_map(held_out)
    features = {name: feature_map(images) for name, images in sets.items()}
    distances = [
        DistanceRow(
            name,
            metrics.frechet_distance(values, reference),
            metrics.kernel_distance(values, reference),
        )
        for name, values in features.items()
    ]
    originals = dataset.x_test[: len(reconstructed)]
    estimate = evidence.estimate
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = anomalies.detect(folder.config.data, dataset, scorers)
    evaluation = Evaluation(
        step=step,
        feature_space=feature_space,
        num_images=(num_samples, len(held_out)),
        distances=distances,
        reconstruction_error=float(np.mean((reconstructed - originals) ** 2)),
        log_evidence=estimate.log_evidence.tolist(),
        log_evidence_standard_error=estimate.standard_error.tolist(),
        log_evidence_lower_bound=estimate.lower_bound.tolist(),
        log_evidence_upper_bound=estimate.upper_bound.tolist(),
        warnings=[*evidence.warnings, *(str(one.message) for one in caught)],
        anomalies=found,
        held_out_label=folder.config.data.held_out_label,
    )
    _files.write_json(folder.evaluation, asdict(evaluation))
    _draw(folder, sets, originals, reconstructed, evidence)
    return evaluation


def _draw(
    folder: RunFolder,
    sets: dict[str, np.ndarray],
    originals: np.ndarray,
    reconstructed: np.ndarray,
    evidence: Evidence,
) -> None:
    panels = {name: images[:100] for name, images in sets.items()}
    figures = {
        "samples": plotting.image_panels(panels),
        "reconstructions": plotting.reconstructions(originals[:40], reconstructed[:40]),
        "integrand": plotting.integrand(
            evidence.temperatures,
            evidence.estimate,
            title="thermodynamic integrand of held-out images; the ladder in red",
        ),
    }
    pictures.write(folder, figures)
