"""Animations of chains, and of a ladder over training, as GIF files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.plotting.densities import scatter
from tempered_ebm.plotting.figures import GREY, INK, SECOND, figure_with_axes, remove_box, to_png
from tempered_ebm.plotting.images import image_panels, show_images

_DPI = 80


def to_gif(figures: Sequence[Figure], *, seconds: float = 0.5, num_colors: int = 64) -> bytes:
    """Return the bytes of a GIF that repeats figures of one size; the last one stays longer.

    Args:
        figures: the frames.
        seconds: time that each frame is shown.
        num_colors: number of colours in every frame, from 2 to 256.

    Raises:
        InputError: if there is no figure.
    """
    from PIL import Image

    if not figures:
        raise InputError("figures must hold at least one frame, got none")
    pictures = (Image.open(io.BytesIO(to_png(figure, dpi=_DPI))) for figure in figures)
    frames = [picture.convert("RGB").quantize(num_colors) for picture in pictures]
    durations = [int(1000 * seconds)] * len(frames)
    durations[-1] *= 4
    result = io.BytesIO()
    frames[0].save(
        result, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return result.getvalue()


def sampling(frames: Iterable[Float[np.ndarray, "n ..."]]) -> bytes:
    """Return a GIF of chains as they move: images as tiles, points of the plane as dots.

    Args:
        frames: observations of the same chains, frame after frame; images in [-1, 1]. The last
            frame of points sets the limits of the axes.

    Raises:
        InputError: if there is no frame.
    """
    positions = [np.asarray(frame) for frame in frames]
    if not positions:
        raise InputError("frames must hold at least one frame, got none")
    figures, reach = [], 1.1 * float(np.abs(positions[-1]).max())
    for i, x in enumerate(positions):
        title = f"{i} of {len(positions) - 1}"
        if x.ndim == 4:
            figures.append(image_panels({title: x.clip(-1, 1)}))
        else:
            figures.append(scatter(x, title))
            figures[-1].axes[0].set(xlim=(-reach, reach), ylim=(-reach, reach))
    return to_gif(figures, seconds=0.15)


def _principal_plane(codes: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d 2"]:
    """Orthonormal axes of largest variance; the only axis and a zero one for d = 1."""
    _, _, axes = np.linalg.svd(codes - codes.mean(0), full_matrices=False)
    plane = np.zeros((codes.shape[1], 2))
    plane[:, : min(2, len(axes))] = axes[:2].T
    return plane


def latent_trajectories(
    codes: Sequence[Float[np.ndarray, "n d"]],
    potential: Sequence[Float[np.ndarray, "n"]],
    images: Sequence[Float[np.ndarray, "n h w c"]],
) -> bytes:
    r"""Return a GIF of chains on latent codes, beside the images that the codes decode to.

    Codes are shown in the plane of their two principal axes, all frames together, with a line to
    where each was a frame before; their colour is minus the log density, whose mean over the chains
    is written above.

    Args:
        codes: codes of the same chains, frame after frame.
        potential: minus their log densities, up to a constant of all frames, in nats.
        images: decoded codes, in [-1, 1].

    Raises:
        InputError: if there is no frame, or the frames do not match.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.plotting import latent_trajectories
        >>> z = np.zeros((3, 5, 2))
        >>> latent_trajectories(z, np.zeros((3, 5)), np.zeros((3, 5, 8, 8, 1)))[:3]
        b'GIF'
    """
    lengths = len(codes), len(potential), len(images)
    if len(set(lengths)) != 1 or not lengths[0]:
        raise InputError(
            f"codes, potential and images must hold as many frames, at least one, got {lengths}"
        )
    path, height = np.asarray(codes, np.float64), np.asarray(potential, np.float64)
    every = path.reshape(-1, path.shape[-1])
    path = path @ _principal_plane(every)
    limits = [_limits(path[..., i]) for i in range(2)]
    low, high = _limits(height)
    figures = []
    for i, frame in enumerate(images):
        figure, (axis, tiles) = figure_with_axes(1, 2, 9.0, 4.6)
        tail = path[max(0, i - 1) : i + 1]
        axis.plot(*np.moveaxis(tail, -1, 0), color=GREY, linewidth=0.5, alpha=0.6, zorder=1)
        first, second = path[i].T
        dots = axis.scatter(first, second, 16, height[i], cmap="viridis", vmin=low, vmax=high)
        label = "minus log density, up to a constant (nats)"
        figure.colorbar(dots, ax=axis, shrink=0.8, label=label)
        axis.set(xlim=limits[0], ylim=limits[1])
        axis.set(xlabel="first principal axis", ylabel="second principal axis")
        axis.set_title(f"codes: {height[i].mean():.2f} nats on average", fontsize=11)
        show_images(tiles, np.asarray(frame).clip(-1, 1), 10, f"images: {i} of {len(images) - 1}")
        figures.append(figure)
    return to_gif(figures, seconds=0.15, num_colors=192)


def _frames(
    steps: Sequence[int], ylabel: str, draw: Callable[[Axes, int], None], limits: tuple
) -> bytes:
    figures = []
    for i, step in enumerate(steps):
        figure, (axis,) = figure_with_axes(1, 1, 5.0, 3.4)
        draw(axis, i)
        axis.set(xlim=(-0.02, 1.02), ylim=limits, xlabel="temperature t", ylabel=ylabel)
        axis.set_title(f"after {int(step)} updates", fontsize=10)
        remove_box(axis)
        figures.append(figure)
    return to_gif(figures)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * max(high - low, 1e-9)
    return low - margin, high + margin


def _frame_by_frame(
    name: str, values: np.ndarray, steps: Sequence[int], ladder: np.ndarray
) -> np.ndarray:
    values = np.asarray(values, np.float64)
    checks.shape(name, values, (len(steps), len(ladder)))
    return values


def integrand_over_training(
    ladder: Float[np.ndarray, "K"],
    steps: Sequence[int],
    mean_loglikelihood: Float[np.ndarray, "T K"],
) -> bytes:
    """Return a GIF of the thermodynamic integrand ``E_t[ℓ]`` over training, with its integral.

    The integral is by the trapezoidal rule; a temperature t is the power of the likelihood.

    Args:
        ladder: temperatures.
        steps: updates behind each frame.
        mean_loglikelihood: mean log-likelihood at each temperature.

    Returns:
        The bytes of a GIF file.

    Raises:
        InputError: if the shapes do not match.
    """
    values = _frame_by_frame("mean_loglikelihood", mean_loglikelihood, steps, ladder)

    def draw(axis: Axes, i: int) -> None:
        axis.fill_between(ladder, _limits(values)[0], values[i], color=INK, alpha=0.15, lw=0)
        axis.plot(ladder, values[i], "o-", color=INK, markersize=4, linewidth=1.3)
        integral = np.trapezoid(values[i], ladder)
        axis.text(0.97, 0.05, f"integral {integral:.1f}", transform=axis.transAxes, ha="right")

    return _frames(steps, "mean log-likelihood, nats", draw, _limits(values))


def ladder_over_training(
    ladder: Float[np.ndarray, "K"],
    steps: Sequence[int],
    variance_loglikelihood: Float[np.ndarray, "T K"],
) -> bytes:
    r"""Return a GIF of thermodynamic length against the ladder over training.

    Rungs at equal heights would be an equal-length ladder:
    :math:`\Lambda(t) = \int_0^t \sqrt{\mathrm{Var}_s \ell}\,ds`, by the trapezoidal rule.

    Args:
        ladder: temperatures.
        steps: updates behind each frame.
        variance_loglikelihood: variance of the log-likelihood at each temperature.

    Returns:
        The bytes of a GIF file.

    Raises:
        InputError: if the shapes do not match.
    """
    variance = _frame_by_frame("variance_loglikelihood", variance_loglikelihood, steps, ladder)
    speed = np.sqrt(np.maximum(variance, 0))
    pieces = 0.5 * (speed[:, 1:] + speed[:, :-1]) * np.diff(ladder)
    length = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(pieces, 1)], 1)

    def draw(axis: Axes, i: int) -> None:
        axis.plot(ladder, length[i], color=INK, linewidth=1.3)
        axis.hlines(length[i], 0, ladder, color=SECOND, linewidth=0.8)
        axis.plot(ladder, length[i], "o", color=SECOND, markersize=4)

    return _frames(steps, "thermodynamic length", draw, _limits(length))
