"""What a trained variational autoencoder is worth, measured like a latent EBM."""

from __future__ import annotations

import functools

import jax
import numpy as np

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import VAE, ChainSettings, VAEParams, latent_ebm_params
from tempered_ebm.training import evaluation
from tempered_ebm.training.anomalies import Scorer
from tempered_ebm.training.evaluation import Evaluation, in_batches
from tempered_ebm.training.latent.config import ChainConfig
from tempered_ebm.training.latent.evaluation import estimate_evidence, matched_normal
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.vae import build

_MOST_MATCHED = 1000
_MOST_SCORED = 10_000


@functools.partial(jax.jit, static_argnames="model")
def _decode(model: VAE, params: VAEParams, z: jax.Array) -> jax.Array:
    return model.decode(params, z)


@functools.partial(jax.jit, static_argnames="model")
def _minus_bound(model: VAE, params: VAEParams, rng_key: jax.Array, x: jax.Array) -> jax.Array:
    loglikelihood, kl = model.evidence_terms(rng_key, params, x)
    return kl - loglikelihood


def evaluate(
    folder: RunFolder, dataset: ImageDataset, params: VAEParams, step: int, *, seed: int = 0
) -> Evaluation:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

    The log-evidence is estimated by tempering from N(0, I), as that of a latent EBM is; the
    encoder has no part in it.

    Args:
        folder: the run folder.
        dataset: its data.
        params: its parameters.
        step: updates behind them.
        seed: seed of all draws here.

    Raises:
        OSError: if the folder cannot be written.
    """
    model = build.build_model(folder.config, folder.event_shape)  # type: ignore[arg-type]
    keys = jax.random.split(jax.random.key(seed), 6)
    num_samples = min(len(dataset.x_train), evaluation.MOST_IMAGES)
    codes = in_batches(
        lambda key, x: model.sample_posterior(key, params, x),
        keys[0],
        dataset.x_train[:_MOST_MATCHED],
    )

    def decoded(z: jax.Array) -> np.ndarray:
        return in_batches(lambda _, z: _decode(model, params, z), keys[0], np.asarray(z))

    sets = {
        "N(0, I)": decoded(jax.random.normal(keys[1], (num_samples, model.latent_dim))),
        "normal matched to posterior": decoded(matched_normal(keys[2], codes, num_samples)),
    }
    reconstructed = in_batches(
        lambda key, x: model.reconstruct(key, params, x),
        keys[3],
        dataset.x_test[: evaluation.MOST_RECONSTRUCTED],
    )
    chain = ChainSettings(ChainConfig.posterior_steps, ChainConfig.posterior_step_size)
    held_out = dataset.x_test[: evaluation.EVIDENCE_IMAGES]
    evidence = estimate_evidence(
        keys[4], model.as_latent_ebm(chain), latent_ebm_params(params), held_out
    )
    scorer = Scorer(
        lambda x: in_batches(lambda key, x: _minus_bound(model, params, key, x), keys[5], x),
        _MOST_SCORED,
    )
    scorers = {"evidence lower bound": scorer}
    return evaluation.conclude(folder, dataset, step, sets, reconstructed, evidence, scorers)
