"""Building, sampling and evaluating a latent EBM."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tempered_ebm import schedules
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.training import evaluation
from tempered_ebm.training.evaluation import Evidence, Scorer, in_batches
from tempered_ebm.training.latent.config import LatentConfig
from tempered_ebm.training.latent.learner import build_learner, build_model
from tempered_ebm.training.state import Learner
from tempered_ebm.training.task import (
    Evaluated,
    Labels,
    Task,
    TrainedModel,
    Trajectory,
    require_finite,
)
from tempered_ebm.types import PRNGKey

_EVIDENCE_CHAINS = 16
_EVIDENCE_STEPS = 250
_MOST_MATCHED = 1000
_MOST_ENERGIES = 2_000
_MOST_EVIDENCES = 300
_CHEAP_STEPS = 40


class LatentTask(Task):
    """The latent EBM: chains on latent vectors, decoded into images."""

    has_chains = True
    build_model = staticmethod(build_model)

    def build_learner(self, config: LatentConfig, dataset: ImageDataset) -> Learner:
        """Return the model as the training loop sees it."""
        return build_learner(config, dataset.image_shape, len(dataset.x_train))

    def generate(
        self, trained: TrainedModel, rng_key: PRNGKey, num_samples: int, label: Labels = None
    ) -> np.ndarray:
        """Return images from the learned prior, by chains of ``sampling_steps``."""
        model = self.build_model(trained.config, trained.event_shape, sampling=True)
        images = np.asarray(model.generate(rng_key, trained.params, num_samples))
        _require_finite("prior", images)
        return images

    def _chains(
        self, trained: TrainedModel, model: LatentEBM, rng_key: PRNGKey, n: int, label: Labels
    ) -> Trajectory:
        """Return prior chains from N(0, I), shown as images."""
        params = trained.params
        return Trajectory(
            jax.random.normal(rng_key, (n, model.latent_dim)),
            lambda key, z: model.sample_prior(key, params, n, initial=z),
            lambda z: model.decode(params, z),
            lambda z: -model.logprior(params, z),
        )

    def evaluate(self, trained: TrainedModel, seed: int, others: Sequence[Path]) -> Evaluated:
        """Measure distances, reconstruction errors, log-evidence and detection of anomalies.

        Sampling chains have ``sampling_steps`` steps and start from N(0, I).
        """
        config, params, step = trained.config, trained.params, trained.step
        dataset: ImageDataset = trained.load_dataset()
        model = build_model(config, dataset.image_shape, sampling=True)
        root = jax.random.key(seed)
        sets_key, reconstruction_key, evidence_key = jax.random.split(root, 3)
        num_samples = min(len(dataset.x_train), evaluation.MOST_IMAGES)
        sets = generated_sets(sets_key, model, params, dataset.x_train, num_samples)
        originals = dataset.x_test[: evaluation.MOST_RECONSTRUCTED]
        z = _posterior_draws(model, params, originals, reconstruction_key)
        held_out = dataset.x_test[: evaluation.EVIDENCE_IMAGES]
        return evaluation.evaluate_latent(
            config.data,
            dataset,
            step,
            sets,
            evaluation.decode(model, params, z),
            estimate_evidence(evidence_key, model, params, held_out),
            _scorers(jax.random.fold_in(root, 3), model, params),
        )


def _require_finite(name: str, values: np.ndarray) -> None:
    """Require that the "prior" or "posterior" chains have not diverged."""
    require_finite(values, f"{name} chains", f"a smaller --{name}-step-size or --metropolis")


def _posterior_draws(
    model: LatentEBM, params: LatentEBMParams, x: np.ndarray, rng_key: jax.Array
) -> np.ndarray:
    z = in_batches(lambda key, x: model.sample_posterior(key, params, x), rng_key, x)
    _require_finite("posterior", z)
    return z


def generated_sets(
    rng_key: jax.Array,
    model: LatentEBM,
    params: LatentEBMParams,
    x_train: Float[np.ndarray, "n h w c"],
    num_samples: int,
) -> dict[str, Float[np.ndarray, "num_samples h w c"]]:
    """Return images through one generator from three laws of the latent vector.

    The learned prior; N(0, I), the law the prior chains start from; and the normal with
    the mean and covariance of posterior draws of training images, which has the right
    scale and no shape.
    """
    prior_key, normal_key, posterior_key, matched_key = jax.random.split(rng_key, 4)
    shape = (num_samples, model.latent_dim)
    posterior = _posterior_draws(model, params, x_train[:_MOST_MATCHED], posterior_key)
    prior = model.sample_prior(prior_key, params, num_samples)
    _require_finite("prior", np.asarray(prior))
    latents = {
        "learned prior": prior,
        "N(0, I)": jax.random.normal(normal_key, shape),
        "normal matched to posterior": matched_normal(matched_key, posterior, num_samples),
    }
    return {name: evaluation.decode(model, params, z) for name, z in latents.items()}


def matched_normal(
    rng_key: jax.Array, z: Float[np.ndarray, "n d"], num_samples: int
) -> Float[jax.Array, "num_samples d"]:
    """Return draws of the normal with the mean and covariance of some latent vectors."""
    d = z.shape[1]
    root = np.linalg.cholesky(np.atleast_2d(np.cov(z, rowvar=False)) + 1e-6 * np.eye(d))
    return jax.random.normal(rng_key, (num_samples, d)) @ root.T + z.mean(0)


def estimate_evidence(
    rng_key: jax.Array, model: LatentEBM, params: LatentEBMParams, x: Float[np.ndarray, "n ..."]
) -> Evidence:
    """Return the log-evidence of images, and the ladder behind it."""
    num_chains, num_steps = _EVIDENCE_CHAINS, _EVIDENCE_STEPS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        estimate = _log_evidence(rng_key, model, params, jnp.asarray(x), num_chains, num_steps)
    return Evidence(np.asarray(_ladder()), estimate, [str(one.message) for one in caught])


def _ladder() -> jax.Array:
    return schedules.power(24, 5.0)


def _log_evidence(
    rng_key: jax.Array, model: LatentEBM, params: LatentEBMParams, x: jax.Array, chains: int, n: int
) -> EvidenceEstimate:
    """Return the log-evidence of images from n draws of each chain, after as many of warm-up."""
    options = {"num_chains": chains, "num_warmup": n, "num_samples": n}
    return model.log_evidence(rng_key, params, x, temperatures=_ladder(), **options)


def _scorers(rng_key: jax.Array, model: LatentEBM, params: LatentEBMParams) -> dict[str, Scorer]:
    """Return scores of anomalies: a high energy of image and code, a low evidence."""

    def joint_energy(key: jax.Array, x: jax.Array) -> jax.Array:
        return -_log_joint(model, params, x, model.sample_posterior(key, params, x))

    def minus_log_evidence(key: jax.Array, x: jax.Array) -> jax.Array:
        # At a cost for many images: one chain each.
        return -_log_evidence(key, model, params, x, 1, _CHEAP_STEPS).log_evidence

    def scorer(score: Callable[[jax.Array, jax.Array], jax.Array], most: int) -> Scorer:
        return lambda x: in_batches(score, rng_key, x[:most])

    return {
        "joint energy": scorer(joint_energy, _MOST_ENERGIES),
        "log-evidence": scorer(minus_log_evidence, _MOST_EVIDENCES),
    }


@functools.partial(jax.jit, static_argnames="model")
def _log_joint(model: LatentEBM, params: LatentEBMParams, x: jax.Array, z: jax.Array) -> jax.Array:
    return model.log_joint(params, x, z)
