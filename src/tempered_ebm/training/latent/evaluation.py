"""What a trained latent EBM is worth: distances, reconstruction error, log-evidence, pictures."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tempered_ebm import schedules
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.training import evaluation, events
from tempered_ebm.training.anomalies import Scorer
from tempered_ebm.training.evaluation import Evaluation, Evidence, in_batches
from tempered_ebm.training.latent import build
from tempered_ebm.training.latent.build import require_finite
from tempered_ebm.training.run_folder import RunFolder

_EVIDENCE_CHAINS = 16
_EVIDENCE_STEPS = 250
_MOST_MATCHED = 1000
_MOST_ENERGIES = 2_000
_MOST_EVIDENCES = 300
_CHEAP_TEMPERATURES = 24
_CHEAP_STEPS = 40


@functools.partial(jax.jit, static_argnames="model")
def _decode_batch(model: LatentEBM, params: LatentEBMParams, z: jax.Array) -> jax.Array:
    return model.decode(params, z)


def _decode(model: LatentEBM, params: LatentEBMParams, z: np.ndarray) -> np.ndarray:
    return in_batches(lambda _, z: _decode_batch(model, params, z), jax.random.key(0), z)


def _posterior_draws(
    model: LatentEBM, params: LatentEBMParams, x: np.ndarray, rng_key: jax.Array
) -> np.ndarray:
    z = in_batches(lambda key, x: model.sample_posterior(key, params, x), rng_key, x)
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
    prior = model.sample_prior(prior_key, params, num_samples)
    require_finite("prior", np.asarray(prior))
    latents = {
        "learned prior": prior,
        "N(0, I)": jax.random.normal(normal_key, shape),
        "normal matched to posterior": matched_normal(matched_key, posterior, num_samples),
    }
    return {name: _decode(model, params, np.asarray(z)) for name, z in latents.items()}


def matched_normal(
    rng_key: jax.Array, z: Float[np.ndarray, "n d"], num_samples: int
) -> Float[jax.Array, "num_samples d"]:
    """Draws of the normal with the mean and covariance of some latent vectors."""
    d = z.shape[1]
    root = np.linalg.cholesky(np.atleast_2d(np.cov(z, rowvar=False)) + 1e-6 * np.eye(d))
    return jax.random.normal(rng_key, (num_samples, d)) @ root.T + z.mean(0)


def estimate_evidence(
    rng_key: jax.Array, model: LatentEBM, params: LatentEBMParams, x: Float[np.ndarray, "n ..."]
) -> Evidence:
    """Log-evidence of images, and the ladder behind it."""
    temperatures = schedules.power(24, 5.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        estimate = model.log_evidence(
            rng_key,
            params,
            jnp.asarray(x),
            temperatures=temperatures,
            num_chains=_EVIDENCE_CHAINS,
            num_warmup=_EVIDENCE_STEPS,
            num_samples=_EVIDENCE_STEPS,
        )
    return Evidence(np.asarray(temperatures), estimate, [str(one.message) for one in caught])


def evaluate(
    folder: RunFolder, dataset: ImageDataset, params: LatentEBMParams, step: int, *, seed: int = 0
) -> Evaluation:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

    Sampling chains have ``sampling_steps`` steps and start from N(0, I).

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
    model = build.build_model(config, folder.event_shape, sampling=True)  # type: ignore[arg-type]
    root = jax.random.key(seed)
    sets_key, reconstruction_key, evidence_key = jax.random.split(root, 3)
    score_key = jax.random.fold_in(root, 3)
    num_samples = min(len(dataset.x_train), evaluation.MOST_IMAGES)
    sets = generated_sets(sets_key, model, params, dataset.x_train, num_samples)
    originals = dataset.x_test[: evaluation.MOST_RECONSTRUCTED]
    z = _posterior_draws(model, params, originals, reconstruction_key)
    held_out = dataset.x_test[: evaluation.EVIDENCE_IMAGES]
    return evaluation.conclude(
        folder,
        dataset,
        step,
        sets,
        _decode(model, params, z),
        estimate_evidence(evidence_key, model, params, held_out),
        _scorers(score_key, model, params),
    )


def _scorers(rng_key: jax.Array, model: LatentEBM, params: LatentEBMParams) -> dict[str, Scorer]:
    """What speaks for an anomaly: a high energy of image and code, a low evidence."""

    def joint_energy(key: jax.Array, x: jax.Array) -> jax.Array:
        return -_log_joint(model, params, x, model.sample_posterior(key, params, x))

    def minus_log_evidence(key: jax.Array, x: jax.Array) -> jax.Array:
        return -evidence_of_many(key, model, params, x)

    def scorer(score: Callable[[jax.Array, jax.Array], jax.Array], most: int) -> Scorer:
        return Scorer(lambda x: in_batches(score, rng_key, x), most)

    return {
        "joint energy": scorer(joint_energy, _MOST_ENERGIES),
        "log-evidence": scorer(minus_log_evidence, _MOST_EVIDENCES),
    }


@functools.partial(jax.jit, static_argnames="model")
def _log_joint(model: LatentEBM, params: LatentEBMParams, x: jax.Array, z: jax.Array) -> jax.Array:
    return model.log_joint(params, x, z)


def evidence_of_many(
    rng_key: jax.Array, model: LatentEBM, params: LatentEBMParams, x: jax.Array
) -> jax.Array:
    """Log-evidence at a cost that many images bear: fewer temperatures, one chain each."""
    return model.log_evidence(
        rng_key,
        params,
        x,
        temperatures=schedules.power(_CHEAP_TEMPERATURES, 5.0),
        num_chains=1,
        num_warmup=_CHEAP_STEPS,
        num_samples=_CHEAP_STEPS,
    ).log_evidence
