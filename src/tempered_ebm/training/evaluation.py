"""What a trained latent EBM is worth: distances, reconstruction error, log-evidence, pictures."""

from __future__ import annotations

import functools
import warnings
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tempered_ebm import metrics, plotting, schedules
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.errors import DivergedError
from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.training import build, events, metrics_log
from tempered_ebm.training.run_folder import RunFolder, write_atomically, write_json

_MOST_IMAGES = 5000
_MOST_RECONSTRUCTED = 500
_BATCH = 500
_EVIDENCE_IMAGES = 4
_EVIDENCE_CHAINS = 16
_EVIDENCE_STEPS = 250
_MOST_MATCHED = 1000


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
        warnings: why a log-evidence should not be trusted; empty if nothing was noticed.
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
        return "\n".join(lines)


def fit_features(dataset: ImageDataset) -> tuple[metrics.FeatureMap, str]:
    """Feature space of a training set: a small classifier's, or PCA without labels."""
    if dataset.y_train is None or len(np.unique(dataset.y_train)) < 2:
        components = f"{metrics.features.FEATURE_DIM} principal components"
        return metrics.fit_pca_features(dataset.x_train[:_MOST_IMAGES]), components
    classifier = metrics.fit_classifier_features(dataset.x_train, dataset.y_train)
    name = "last hidden layer of a classifier"
    if dataset.y_test is not None:
        accuracy = np.mean(classifier.predict(dataset.x_test) == dataset.y_test)
        name += f" of held-out accuracy {accuracy:.3f}"
    return classifier.features, name


def require_finite(name: str, values: np.ndarray) -> None:
    """Require that chains have not run away.

    Args:
        name: which chains, "prior" or "posterior".
        values: their positions, or what was made of them.

    Raises:
        DivergedError: if a value is not finite.
    """
    if not np.all(np.isfinite(values)):
        raise DivergedError(
            f"the {name} chains of the trained model diverged: expected finite values; a smaller "
            f"--{name}-step-size or --metropolis in training may help"
        )


@functools.partial(jax.jit, static_argnames="model")
def _decode_batch(model: LatentEBM, params: LatentEBMParams, z: jax.Array) -> jax.Array:
    return model.decode(params, z)


def _decode(model: LatentEBM, params: LatentEBMParams, z: np.ndarray) -> np.ndarray:
    starts = range(0, len(z), _BATCH)
    return np.concatenate(
        [np.asarray(_decode_batch(model, params, jnp.asarray(z[i : i + _BATCH]))) for i in starts]
    )


def _posterior_draws(
    model: LatentEBM, params: LatentEBMParams, x: np.ndarray, rng_key: jax.Array
) -> np.ndarray:
    starts = range(0, len(x), _BATCH)
    keys = jax.random.split(rng_key, len(starts))
    z = np.concatenate(
        [
            np.asarray(model.sample_posterior(key, params, jnp.asarray(x[i : i + _BATCH])))
            for key, i in zip(keys, starts, strict=True)
        ]
    )
    require_finite("posterior", z)
    return z


def generated_sets(
    rng_key: jax.Array,
    model: LatentEBM,
    params: LatentEBMParams,
    x_train: Float[np.ndarray, "n h w c"],
    num_samples: int,
) -> dict[str, Float[np.ndarray, "num_samples h w c"]]:
    """Images through one generator from three laws of the latent vector.

    The learned prior; N(0, I), the law the prior chains start from; and the normal with
    the mean and covariance of posterior draws of training images, which has the right
    scale and no shape.
    """
    prior_key, normal_key, posterior_key, matched_key = jax.random.split(rng_key, 4)
    shape = (num_samples, model.latent_dim)
    posterior = _posterior_draws(model, params, x_train[:_MOST_MATCHED], posterior_key)
    root = np.linalg.cholesky(np.cov(posterior, rowvar=False) + 1e-6 * np.eye(shape[1]))
    prior = model.sample_prior(prior_key, params, num_samples)
    require_finite("prior", np.asarray(prior))
    latents = {
        "learned prior": prior,
        "N(0, I)": jax.random.normal(normal_key, shape),
        "normal matched to posterior": jax.random.normal(matched_key, shape) @ root.T
        + posterior.mean(0),
    }
    return {name: _decode(model, params, np.asarray(z)) for name, z in latents.items()}


def evaluate(
    folder: RunFolder, dataset: ImageDataset, params: LatentEBMParams, step: int, *, seed: int = 0
) -> Evaluation:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

    Sampling chains have ``sampling_steps`` steps and start from N(0, I). Distances are
    taken to held-out images, all sets cut to the same size; the distance of the training
    set, to which the features were fitted, is the floor to aim at.

    Args:
        folder: the run folder.
        dataset: its data.
        params: its parameters.
        step: updates behind them.
        seed: seed of all draws here.

    Raises:
        DivergedError: if chains of the trained model are not finite.
        OSError: if the folder cannot be written.
    """
    config = events.scaled(folder.config, len(events.read(folder.events)))
    model = build.build_model(config, folder.image_shape, sampling=True)
    sets_key, reconstruction_key, evidence_key = jax.random.split(jax.random.key(seed), 3)
    feature_map, feature_space = fit_features(dataset)
    num_samples = min(len(dataset.x_train), _MOST_IMAGES)
    held_out = dataset.x_test[:_MOST_IMAGES]
    sets = {
        "training set (floor)": dataset.x_train[:num_samples],
        **generated_sets(sets_key, model, params, dataset.x_train, num_samples),
    }
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
    originals = dataset.x_test[:_MOST_RECONSTRUCTED]
    z = _posterior_draws(model, params, originals, reconstruction_key)
    reconstructed = _decode(model, params, z)
    temperatures = schedules.power(24, 5.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        estimate = model.log_evidence(
            evidence_key,
            params,
            jnp.asarray(dataset.x_test[:_EVIDENCE_IMAGES]),
            temperatures=temperatures,
            num_chains=_EVIDENCE_CHAINS,
            num_warmup=_EVIDENCE_STEPS,
            num_samples=_EVIDENCE_STEPS,
        )
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
        warnings=[str(warning.message) for warning in caught],
    )
    write_json(folder.evaluation, asdict(evaluation))
    _draw(folder, sets, originals, reconstructed, np.asarray(temperatures), estimate)
    return evaluation


def _draw(
    folder: RunFolder,
    sets: dict[str, np.ndarray],
    originals: np.ndarray,
    reconstructed: np.ndarray,
    temperatures: np.ndarray,
    estimate: EvidenceEstimate,
) -> None:
    panels = {name: images[:100] for name, images in sets.items()}
    figures = {
        "samples": plotting.image_panels(panels),
        "reconstructions": plotting.reconstructions(originals[:40], reconstructed[:40]),
        "integrand": plotting.integrand(
            temperatures,
            estimate,
            title="thermodynamic integrand of held-out images; the ladder in red",
        ),
    }
    if folder.metrics.exists():
        figures["training_curves"] = plotting.training_curves(metrics_log.read(folder.metrics))
    folder.figures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        write_atomically(folder.figures / f"{name}.png", plotting.to_png(figure))
