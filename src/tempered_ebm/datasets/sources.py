"""Data sets by name, from where they lie: what a configuration says in strings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tempered_ebm.datasets.celeba import load_celeba
from tempered_ebm.datasets.cifar10 import load_cifar10
from tempered_ebm.datasets.huggingface import load_huggingface
from tempered_ebm.datasets.idx import load_fashion_mnist, load_kmnist, load_mnist
from tempered_ebm.datasets.images import ImageDataset
from tempered_ebm.datasets.picture_folder import load_folder
from tempered_ebm.datasets.preprocess import grayscale as to_gray
from tempered_ebm.datasets.preprocess import resize
from tempered_ebm.datasets.svhn import load_svhn
from tempered_ebm.errors import InputError

_ARRAYS: dict[str, Callable[[Path | str], ImageDataset]] = {
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "kmnist": load_kmnist,
    "svhn": load_svhn,
    "cifar10": load_cifar10,
}
_CELEBA_SIZE = 64


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
    if name not in _ARRAYS:
        known = ", ".join([*_ARRAYS, "celeba", "folder", "huggingface"])
        raise InputError(f"name must be one of {known}, got {name!r}")
    return prepared(_ARRAYS[name](source), image_size, grayscale=grayscale)


def prepared(
    dataset: ImageDataset, image_size: int | None = None, *, grayscale: bool = False
) -> ImageDataset:
    """Make a set grey, if asked, and then bring it to a size, if asked.

    Args:
        dataset: any set.
        image_size: height and width in pixels, or None to keep them.
        grayscale: whether to make one channel of the colours.

    Raises:
        InputError: if ``image_size`` is no positive integer.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.prepared(te.datasets.load_digits(), 4).image_shape
        (4, 4, 1)
    """
    dataset = to_gray(dataset) if grayscale else dataset
    return dataset if image_size is None else resize(dataset, image_size)
