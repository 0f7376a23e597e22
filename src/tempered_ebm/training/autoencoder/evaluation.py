"""What a trained autoencoder with a latent EBM is worth: its codes, and its images."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np

from tempered_ebm import _files, metrics, plotting
from tempered_ebm.datasets import ImageDataset
from tempered_ebm.models import AutoencoderEBM, AutoencoderEBMParams
from tempered_ebm.training import events, pictures
from tempered_ebm.training.autoencoder import build
from tempered_ebm.training.run_folder import RunFolder

_MOST_CODES = 2000
_IMPORTANCE_DRAWS = 500_000
_BLOCK = 50_000


@dataclass(frozen=True)
class AutoencoderEvaluation:
    """Everything that is measured, on held-out images and their codes.

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
        warnings: what speaks against the normaliser; empty if nothing was noticed.
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
        """Table for people."""
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


def importance_log_normalizer(
    rng_key: jax.Array, model: AutoencoderEBM, params: AutoencoderEBMParams
) -> float:
    """Log of the mean of exp f over independent draws of N(0, I), in float64."""

    @jax.jit
    def block(key: jax.Array) -> jax.Array:
        z = jax.random.normal(key, (_BLOCK, model.latent_dim))
        return model.codes.negative_energy(params.prior, z)

    keys = jax.random.split(rng_key, _IMPORTANCE_DRAWS // _BLOCK)
    f = np.concatenate([np.asarray(block(key), np.float64) for key in keys])
    peak = f.max()
    return float(peak + math.log(np.mean(np.exp(f - peak))))


def evaluate(
    folder: RunFolder,
    dataset: ImageDataset,
    params: AutoencoderEBMParams,
    step: int,
    *,
    seed: int = 0,
) -> AutoencoderEvaluation:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

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
    keys = jax.random.split(jax.random.key(seed), 5)
    x = build.binarized(config, jnp.asarray(dataset.x_test[:_MOST_CODES]))  # type: ignore[arg-type]
    z = model.encode(params, x)
    reconstructed = model.decode(params, z)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        report = model.log_normalizer(keys[0], params)
    log_normalizer = float(report.log_evidence)
    codes = np.asarray(model.sample_codes(keys[1], params, len(x)))
    normal = np.asarray(jax.random.normal(keys[2], z.shape))
    constant = 0.5 * model.latent_dim * math.log(2 * math.pi)
    evaluation = AutoencoderEvaluation(
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
    _files.write_json(folder.evaluation, asdict(evaluation))
    shown = {
        "held-out images": x[:100],
        "reconstructions": reconstructed[:100],
        "codes from the model": model.decode(params, jnp.asarray(codes[:100])),
        "codes from N(0, I)": model.decode(params, jnp.asarray(normal[:100])),
    }
    panels = {name: np.asarray(2 * images - 1) for name, images in shown.items()}
    figures = {"samples": plotting.image_panels(panels)}
    pictures.write(folder, figures)
    return evaluation
