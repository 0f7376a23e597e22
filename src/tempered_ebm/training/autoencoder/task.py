"""Building, sampling and evaluating an autoencoder with a latent energy-based model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from tempered_ebm import metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import AutoencoderEBM, AutoencoderEBMParams
from tempered_ebm.training.autoencoder.learner import (
    binarized,
    build_learner,
    build_model,
    init_params,
)
from tempered_ebm.training.task import Evaluated, Labels, Task, TrainedModel, Trajectory
from tempered_ebm.types import PRNGKey

_MOST_CODES = 2000
_IMPORTANCE_DRAWS = 500_000
_BLOCK = 50_000


@dataclass(frozen=True)
class AutoencoderEvaluation:
    """Measurements on held-out images and their codes.

    Attributes:
        step: updates behind the parameters.
        reconstruction_loss: minus the log-likelihood of an image given its code, in nats.
        reconstruction_error: mean squared error of pixels in {0, 1}.
        code_loss: minus the log density of a standardised code under the model, in nats.
        code_loss_of_normal: the same under N(0, I).
        log_normalizer: log Z by tempering.
        log_normalizer_error: its standard error.
        log_normalizer_by_importance: log Z by independent draws of N(0, I).
        energy_distance: of codes from chains to held-out codes.
        energy_distance_of_normal: of draws of N(0, I) to held-out codes.
        warnings: why the normaliser should not be trusted; empty if nothing was noticed.
    """

    step: int
    reconstruction_loss: float
    reconstruction_error: float
    code_loss: float
    code_loss_of_normal: float
    log_normalizer: float
    log_normalizer_error: float
    log_normalizer_by_importance: float
    energy_distance: float
    energy_distance_of_normal: float
    warnings: list[str]

    def __str__(self) -> str:
        """Return a table for people."""
        rows = (
            ("reconstruction loss (nats)", f"{self.reconstruction_loss:10.3f}"),
            ("reconstruction error", f"{self.reconstruction_error:10.4f}"),
            ("codes, minus log density (nats)", f"{self.code_loss:10.3f}"),
            ("  under N(0, I)", f"{self.code_loss_of_normal:10.3f}"),
            (
                "log Z, by tempering",
                f"{self.log_normalizer:10.3f} ± {self.log_normalizer_error:.3f}",
            ),
            ("log Z, by importance sampling", f"{self.log_normalizer_by_importance:10.3f}"),
            ("energy distance to held-out codes", f"{self.energy_distance:10.4f}"),
            ("  of N(0, I)", f"{self.energy_distance_of_normal:10.4f}"),
        )
        lines = [f"after {self.step} updates; held-out images"]
        lines += [f"{name:34}{value}" for name, value in rows]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


class AutoencoderTask(Task):
    """The autoencoder of binary images: chains on codes, decoded into images."""

    has_chains = True
    build_model = staticmethod(build_model)
    build_learner = staticmethod(build_learner)
    init_params = staticmethod(init_params)

    def _chains(
        self, trained: TrainedModel, model: AutoencoderEBM, rng_key: PRNGKey, n: int, label: Labels
    ) -> Trajectory:
        """Return chains on codes from N(0, I).

        They are shown as probabilities of white pixels, brought to [-1, 1].
        """
        params = trained.params
        return Trajectory(
            jax.random.normal(rng_key, (n, model.latent_dim)),
            lambda key, z: model.codes.run_chains(key, params.prior, z).position,
            lambda z: 2 * model.decode(params, z) - 1,
            lambda z: -model.codes.logdensity(params.prior, z),
        )

    def evaluate(self, trained: TrainedModel, seed: int, others: Sequence[Path]) -> Evaluated:
        """Measure the reconstruction of images and the density of codes."""
        config, params, step = trained.config, trained.params, trained.step
        dataset: ImageDataset = trained.load_dataset()
        model = build_model(config, dataset.event_shape, sampling=True)
        keys = jax.random.split(jax.random.key(seed), 5)
        x = binarized(config, jnp.asarray(dataset.x_test[:_MOST_CODES]))
        z = model.encode(params, x)
        reconstructed = model.decode(params, z)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            report = model.log_normalizer(keys[0], params)
        log_normalizer = float(report.log_evidence)
        codes = np.asarray(model.sample_codes(keys[1], params, len(x)))
        normal = np.asarray(jax.random.normal(keys[2], z.shape))
        constant = 0.5 * model.latent_dim * math.log(2 * math.pi)
        table = AutoencoderEvaluation(
            step=step,
            reconstruction_loss=float(model.reconstruction_loss(params, x)),
            reconstruction_error=float(jnp.mean((reconstructed - x) ** 2)),
            code_loss=log_normalizer - float(model.codes.logdensity(params.prior, z).mean()),
            code_loss_of_normal=0.5 * float(jnp.sum(z**2, -1).mean()) + constant,
            log_normalizer=log_normalizer,
            log_normalizer_error=float(report.standard_error),
            log_normalizer_by_importance=importance_log_normalizer(keys[3], model, params),
            energy_distance=metrics.energy_distance(codes, np.asarray(z)),
            energy_distance_of_normal=metrics.energy_distance(normal, np.asarray(z)),
            warnings=[str(one.message) for one in caught],
        )
        shown = {
            "held-out images": x[:100],
            "reconstructions": reconstructed[:100],
            "codes from the model": model.decode(params, jnp.asarray(codes[:100])),
            "codes from N(0, I)": model.decode(params, jnp.asarray(normal[:100])),
        }
        panels = {name: np.asarray(2 * images - 1) for name, images in shown.items()}
        return Evaluated(table, {"samples": plotting.image_panels(panels)})


def importance_log_normalizer(
    rng_key: jax.Array, model: AutoencoderEBM, params: AutoencoderEBMParams
) -> float:
    """Return the log of the mean of exp f over independent draws of N(0, I), in float64."""

    @jax.jit
    def block(key: jax.Array) -> jax.Array:
        z = jax.random.normal(key, (_BLOCK, model.latent_dim))
        return model.codes.negative_energy(params.prior, z)

    keys = jax.random.split(rng_key, _IMPORTANCE_DRAWS // _BLOCK)
    f = np.concatenate([np.asarray(block(key), np.float64) for key in keys])
    return float(logsumexp(f, b=1 / len(f)))
