"""Inpainting and denoising of held-out images by the density of a run."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tempered_ebm import _checks as checks
from tempered_ebm import _files, metrics, plotting
from tempered_ebm.errors import InputError
from tempered_ebm.models import DataEBM, denoise, denoising_chain, inpaint
from tempered_ebm.training import loop
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.task import TrainedModel, require_finite

Missing = Literal["left", "right", "top", "bottom", "centre", "random"]
_PICTURED = 100
_COLUMNS = 6


@dataclass(frozen=True)
class RestorationConfig:
    """Images to restore, and the chains that restore them.

    Attributes:
        num_images: the first held-out ones.
        num_steps: steps of the chains; those of sampling by default.
        seed: of whatever is random.
        best: whether the best checkpoint is used, or the newest.
    """

    num_images: int = 16
    num_steps: int | None = None
    seed: int = 0
    best: bool = False


class RestorationResult(NamedTuple):
    """PSNR of each image before and after restoration.

    Attributes:
        before: PSNR of every image before, dB.
        after: PSNR of every image after, dB.
        summary: a text for people.
    """

    before: Float[np.ndarray, "n"]
    after: Float[np.ndarray, "n"]
    summary: str

    def __str__(self) -> str:
        return self.summary


def missing_pixels(
    missing: Missing,
    fraction: float,
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> Bool[np.ndarray, "n h w c"]:
    """Return which pixels are hidden.

    Args:
        missing: a side, as many whole rows or columns as are nearest to the fraction; ``centre``,
            a rectangle in the middle with the proportions of the image, and the whole number of
            rows and columns nearest to that fraction of its area; ``random``, every pixel with
            this probability.
        fraction: above 0 and below 1.
        shape: number, height, width and channels of the images; the channels of a pixel are
            hidden together.
        rng: of random pixels.

    Raises:
        InputError: if the fraction is out of range, or nothing or everything would be hidden.
    """
    if not 0 < fraction < 1:
        raise InputError(f"--fraction must be above 0 and below 1, got {fraction}")
    n, height, width, _ = shape
    hidden = np.zeros((n, height, width, 1), bool)
    rows, columns = round(fraction * height), round(fraction * width)
    if missing == "random":
        hidden = rng.uniform(size=hidden.shape) < fraction
    else:
        inner = [round(math.sqrt(fraction) * size) for size in (height, width)]
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        part = {
            "left": np.s_[:, :, :columns],
            "right": np.s_[:, :, width - columns :],
            "top": np.s_[:, :rows],
            "bottom": np.s_[:, height - rows :],
            "centre": np.s_[:, top : top + inner[0], left : left + inner[1]],
        }
        hidden[part[missing]] = True
    if hidden.all() or not hidden.any():
        what = "every pixel" if hidden.any() else "no pixel"
        raise InputError(
            f"--fraction must leave something to hide and something to see, got {fraction}, which "
            f"hides {what} of {n} images of {height} x {width} with --missing {missing}"
        )
    return np.broadcast_to(hidden, shape)


def inpaint_images(
    folder: RunFolder, config: RestorationConfig, missing: Missing = "left", fraction: float = 0.5
) -> RestorationResult:
    """Hide a part of held-out images and fill it in, from where new chains of the run start.

    Writes ``inpainted.npz`` and ``inpainted.png`` into the folder.

    Args:
        folder: of a run of images with a density.
        config: images and chains.
        missing: which part is hidden.
        fraction: how much of it.

    Raises:
        InputError: if a value is out of range, or the model of the run has no density of images.
        DivergedError: if the chains are not finite.
    """
    _check(folder, "inpaint", config)
    rng = np.random.default_rng(config.seed)
    hidden = missing_pixels(missing, fraction, (config.num_images, *folder.event_shape), rng)
    model, trained, images = _prepare(folder, config)
    start_key, chain_key = jax.random.split(jax.random.key(config.seed))
    chains = folder.task.trajectory(trained, start_key, config.num_images, 1)
    start = jnp.where(hidden, chains.show(chains.initial), images)
    filled = inpaint(model, chain_key, trained.params, images, jnp.asarray(~hidden), start)
    original, before, after = _on_host(images, start, filled)
    arrays = {"original": original, "before": before, "after": after}
    panels = {
        "held-out": original,
        "a part missing": np.where(hidden, 0.0, original),
        "filled in": after,
    }
    is_same = np.array_equal(after[~hidden], original[~hidden])
    note = f"observed pixels are {'as they were, bit for bit' if is_same else 'CHANGED'}"
    psnr = [metrics.psnr(x.clip(-1, 1), original, where=hidden) for x in (before, after)]
    written = _save(folder, "inpainted", {**arrays, "observed": ~hidden}, panels)
    return _result(" of the missing pixels", ("start", "filled in"), psnr, note, written)


def denoise_images(
    folder: RunFolder,
    config: RestorationConfig,
    noise_scale: float = 0.3,
    prior_weight: float | None = None,
) -> RestorationResult:
    r"""Add normal noise to held-out images and remove it.

    Writes ``denoised.npz`` and ``denoised.png`` into the folder. The chains are those of
    :func:`tempered_ebm.models.denoising_chain`.

    Args:
        folder: of a run of images with a density.
        config: images and chains.
        noise_scale: σ, for pixels in [-1, 1].
        prior_weight: w; by default :math:`T^{-1/2}` with the temperature T of the chains of the
            run, half way on a logarithmic scale between 1, which follows the energy as it is, and
            1/T, which leaves the likelihood as it is.

    Raises:
        InputError: if a value is out of range, or the model of the run has no density of images.
        DivergedError: if the chains are not finite.
    """
    checks.positive("--noise-scale", noise_scale)
    if prior_weight is not None:
        checks.positive("--prior-weight", prior_weight)
    _check(folder, "denoise", config)
    model, trained, images = _prepare(folder, config)
    weight = prior_weight or model.chain.effective_temperature**-0.5
    chain = denoising_chain(model.chain, noise_scale, weight)
    model = DataEBM(model.network, model.event_shape, chain, model.base_scale)
    noise_key, chain_key = jax.random.split(jax.random.key(config.seed))
    noisy = images + noise_scale * jax.random.normal(noise_key, images.shape)
    clean = denoise(model, chain_key, trained.params, noisy, noise_scale, weight)
    original, before, after = _on_host(images, noisy, clean)
    arrays = {"original": original, "noisy": before, "denoised": after}
    panels = {"held-out": original, f"noise of {noise_scale:g}": before, "denoised": after}
    note = f"prior weight {weight:.4g}, step size {chain.step_size:.4g}"
    psnr = [metrics.psnr(x.clip(-1, 1), original) for x in (before, after)]
    written = _save(folder, "denoised", arrays, panels)
    return _result("", ("noisy", "denoised"), psnr, note, written)


def _check(folder: RunFolder, command: str, config: RestorationConfig) -> None:
    """Refuse what can be refused before anything is loaded."""
    checks.at_least("--num-images", config.num_images, 1)
    checks.seed("--seed", config.seed)
    if config.num_steps is not None:
        checks.at_least("--num-steps", config.num_steps, 1)
    density = folder.task.density(folder.config, folder.event_shape, config.num_steps)
    if density is None:
        raise InputError(
            f"{command} needs a model of images with a density, of train data or train jem, and "
            f"{folder.path} is a run of train {folder.config.kind}"
        )
    if len(folder.event_shape) != 3:
        raise InputError(f"{command} needs images, and {folder.path} is a run on points")


def _prepare(
    folder: RunFolder, config: RestorationConfig
) -> tuple[DataEBM, TrainedModel, Float[Array, "n h w c"]]:
    """Return the density, what it was trained to, and the images."""
    images = folder.load_dataset().x_test
    if len(images) < config.num_images:
        raise InputError(
            f"--num-images must be at most the {len(images)} held-out images, got "
            f"{config.num_images}"
        )
    trained = loop.load_trained(folder, best=config.best)
    model = folder.task.density(trained.config, folder.event_shape, config.num_steps)
    assert model is not None
    return model, trained, jnp.asarray(images[: config.num_images])


def _on_host(*arrays: Array) -> list[np.ndarray]:
    found = [np.asarray(array) for array in arrays]
    for array in found:
        require_finite(array, advice="fewer --num-steps, or a smaller --step-size")
    return found


def _result(
    pixels: str,
    names: tuple[str, str],
    psnr: Sequence[Float[np.ndarray, "n"]],
    note: str,
    written: str,
) -> RestorationResult:
    over = f"mean over {len(psnr[0])} images (standard deviation), pixels kept in [-1, 1]"
    lines, width = [f"PSNR{pixels}, {over}"], max(map(len, names))
    for name, values in zip(names, psnr):
        # Of an image no pixel of which counts it is not a number.
        known = values[~np.isnan(values)]
        lines.append(f"  {name:{width}}  {known.mean():6.2f} dB ({known.std():.2f})")
    return RestorationResult(psnr[0], psnr[1], "\n".join([*lines, note, written]))


def _save(
    folder: RunFolder, name: str, arrays: Mapping[str, Any], panels: Mapping[str, np.ndarray]
) -> str:
    """Write arrays, images in [-1, 1] as bytes, and a picture; return where, in words."""
    saved = {
        key: x if x.dtype == bool else np.round((x + 1) * 127.5).clip(0, 255).astype(np.uint8)
        for key, x in arrays.items()
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, **saved)
    shown = {title: x[:_PICTURED] for title, x in panels.items()}
    columns = min(_COLUMNS, len(next(iter(shown.values()))))
    figure = plotting.image_panels(shown, num_columns=columns, panels_in_row=len(shown))
    figure.set_layout_engine("constrained", w_pad=0.15)
    _files.write_atomically(folder.path / f"{name}.npz", archive.getvalue())
    _files.write_atomically(folder.path / f"{name}.png", plotting.to_png(figure))
    return f"images in {folder.path / name}.npz, picture beside it"
