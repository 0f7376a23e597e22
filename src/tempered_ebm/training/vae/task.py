"""Building, sampling and evaluating a variational autoencoder, measured like a latent EBM."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import VAE, ChainSettings, VAEParams, latent_ebm_params
from tempered_ebm.training import evaluation
from tempered_ebm.training.evaluation import in_batches
from tempered_ebm.training.latent.config import LatentChainConfig
from tempered_ebm.training.latent.task import estimate_evidence, matched_normal
from tempered_ebm.training.state import Learner
from tempered_ebm.training.task import Evaluated, Labels, Task, TrainedModel
from tempered_ebm.training.vae.config import VAEConfig
from tempered_ebm.training.vae.learner import build_learner, build_model, init_params
from tempered_ebm.types import PRNGKey

_MOST_MATCHED = 1000
_MOST_SCORED = 10_000


class VAETask(Task):
    """The variational autoencoder: no chains, an encoder in their place."""

    build_model = staticmethod(build_model)
    init_params = staticmethod(init_params)

    def build_learner(self, config: VAEConfig, dataset: ImageDataset) -> Learner:
        """Return the model as the training loop sees it."""
        return build_learner(config, dataset.image_shape)

    def generate(
        self, trained: TrainedModel, rng_key: PRNGKey, num_samples: int, label: Labels = None
    ) -> np.ndarray:
        """Return images at latent vectors from N(0, I)."""
        model = self.build_model(trained.config, trained.event_shape)
        return np.asarray(model.generate(rng_key, trained.params, num_samples))

    def evaluate(self, trained: TrainedModel, seed: int, others: Sequence[Path]) -> Evaluated:
        """Measure distances, reconstruction errors, log-evidence and detection of anomalies.

        The log-evidence is estimated by tempering from N(0, I), as that of a latent EBM is; the
        encoder has no part in it.
        """
        config, params, step = trained.config, trained.params, trained.step
        dataset: ImageDataset = trained.load_dataset()
        model = build_model(config, dataset.image_shape)
        keys = jax.random.split(jax.random.key(seed), 6)
        num_samples = min(len(dataset.x_train), evaluation.MOST_IMAGES)
        codes = in_batches(
            lambda key, x: model.sample_posterior(key, params, x),
            keys[0],
            dataset.x_train[:_MOST_MATCHED],
        )
        latents = {
            "N(0, I)": jax.random.normal(keys[1], (num_samples, model.latent_dim)),
            "normal matched to posterior": matched_normal(keys[2], codes, num_samples),
        }
        sets = {name: evaluation.decode(model, params, z) for name, z in latents.items()}
        reconstructed = in_batches(
            lambda key, x: model.reconstruct(key, params, x),
            keys[3],
            dataset.x_test[: evaluation.MOST_RECONSTRUCTED],
        )
        chain = ChainSettings(
            LatentChainConfig.posterior_steps, LatentChainConfig.posterior_step_size
        )
        held_out = dataset.x_test[: evaluation.EVIDENCE_IMAGES]
        evidence = estimate_evidence(
            keys[4], model.as_latent_ebm(chain), latent_ebm_params(params), held_out
        )

        def score(x: np.ndarray) -> np.ndarray:
            x = x[:_MOST_SCORED]
            return in_batches(lambda key, x: _minus_bound(model, params, key, x), keys[5], x)

        scorers = {"evidence lower bound": score}
        return evaluation.evaluate_latent(
            config.data, dataset, step, sets, reconstructed, evidence, scorers
        )


@functools.partial(jax.jit, static_argnames="model")
def _minus_bound(model: VAE, params: VAEParams, rng_key: jax.Array, x: jax.Array) -> jax.Array:
    loglikelihood, kl = model.evidence_terms(rng_key, params, x)
    return kl - loglikelihood
