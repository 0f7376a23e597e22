"""Data sets by name: embedded digits, draws of toy densities, and those with files of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from tempered_ebm import _checks, densities
from tempered_ebm.datasets.celeba import load_celeba
from tempered_ebm.datasets.cifar10 import load_cifar10
from tempered_ebm.datasets.dataset import ImageDataset, PointDataset, split_indices
from tempered_ebm.datasets.huggingface import load_huggingface
from tempered_ebm.datasets.mnist import load_fashion_mnist, load_kmnist, load_mnist
from tempered_ebm.datasets.pictures import load_folder
from tempered_ebm.datasets.preprocess import prepared
from tempered_ebm.datasets.svhn import load_svhn
from tempered_ebm.densities import ToyDensity
from tempered_ebm.errors import InputError

_OF_ONE_SIZE: dict[str, Callable[[Path | str], ImageDataset]] = {
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "kmnist": load_kmnist,
    "svhn": load_svhn,
    "cifar10": load_cifar10,
}
_CELEBA_SIZE = 64


def load_digits() -> ImageDataset:
    """Load 1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak 1998).

    1,438 are for training, 359 are held out, by a fixed permutation.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_digits().x_train.shape
        (1438, 8, 8, 1)
    """
    from sklearn.datasets import load_digits as load

    bunch = load()
    images = (bunch.images[..., None] / 8.0 - 1.0).astype(np.float32)
    labels = bunch.target.astype(np.int32)
    train, test = split_indices(len(images))
    return ImageDataset("digits", images[train], images[test], labels[train], labels[test])


@functools.cache
def _make_density(name: str) -> ToyDensity:
    # Kept, because its sampler is compiled again for every new object.
    return next(make for make in densities.ALL if make.__name__ == name)()


def _find_density(name: str | ToyDensity) -> ToyDensity:
    if isinstance(name, ToyDensity):
        return name
    known = sorted(make.__name__ for make in densities.ALL)
    if not isinstance(name, str) or name not in known:
        raise InputError(f"name must be one of {', '.join(known)}, got {_checks.describe(name)}")
    return _make_density(name)


def load_toy(
    name: str | ToyDensity, num_samples: int = 10_000, seed: int = 0, *, held_out: float = 0.2
) -> PointDataset:
    """Draw independent points from a toy density.

    Args:
        name: a density of ``tempered_ebm.densities.ALL`` by name, or a ``ToyDensity``
            made with other parameters.
        num_samples: number of points in all, at least 2.
        seed: seed of the draws; the same seed gives the same points.
        held_out: fraction of them that is held out, in (0, 1).

    Raises:
        InputError: if there is no density of that name, it has no exact sampler, no point would
            be left for training or held out, or ``num_samples`` or ``seed`` is not an integer in
            range.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_toy("moons", 1_000).x_train.shape
        (800, 2)
    """
    density = _find_density(name)
    if density.sample is None:
        raise InputError(f"{density.name} has no exact sampler, so there are no points to load")
    _checks.at_least("num_samples", num_samples, 2)
    _checks.seed("seed", seed)
    train, test = split_indices(num_samples, held_out)
    draw = jax.jit(density.sample, static_argnums=1)
    points = np.asarray(draw(jax.random.key(seed), num_samples), np.float32)
    return PointDataset(density.name, points[train], points[test], density)


def load_named(
    name: str, source: Path | str, image_size: int | None = None, *, grayscale: bool = False
) -> ImageDataset:
    """Load a data set by its name, and bring it to a size.

    Args:
        name: ``mnist``, ``fashion_mnist``, ``kmnist``, ``svhn``, ``cifar10``, ``celeba``,
            ``folder`` or ``huggingface``.
        source: the folder that it lies in; for ``huggingface`` a name on the hub (a string), or a
            folder written by ``save_to_disk`` (a path).
        image_size: height and width in pixels that the centre square of every image is brought to.
            By default 64 for ``celeba``; others keep their size.
        grayscale: whether to make one channel of the colours.

    Raises:
        InputError: if there is no data set of that name, or its reader refuses the files.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_named("minst", ".")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: name must be one of mnist, fashion_mnist, kmnist, svhn,
        cifar10, celeba, folder, huggingface, got 'minst'
    """
    if name == "celeba":
        return load_celeba(source, image_size or _CELEBA_SIZE, grayscale=grayscale)
    if name == "folder":
        return load_folder(source, image_size, grayscale=grayscale)
    if name == "huggingface":
        return load_huggingface(source, image_size, grayscale=grayscale)
    if not isinstance(name, str) or name not in _OF_ONE_SIZE:
        known = ", ".join([*_OF_ONE_SIZE, "celeba", "folder", "huggingface"])
        raise InputError(f"name must be one of {known}, got {_checks.describe(name)}")
    return prepared(_OF_ONE_SIZE[name](source), image_size, grayscale=grayscale)
