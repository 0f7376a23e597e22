"""Parts of a set of images: a validation part, a smaller set, one without a class."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int

from tempered_ebm import _checks as checks
from tempered_ebm.datasets.images import ImageDataset
from tempered_ebm.errors import InputError


def split_validation(dataset: ImageDataset, size: float | int, seed: int = 0) -> ImageDataset:
    """Move some of the training images to a validation part.

    With labels the choice is stratified: every class gives its share, rounded so that the shares
    add up. Both parts keep the order of the training set.

    Args:
        dataset: a set without a validation part.
        size: a number of images, int, or a fraction of the training set, float in (0, 1).
        seed: seed of the choice; the same seed gives the same parts.

    Returns:
        The set with ``x_validation`` (and ``y_validation``, if there are labels).

    Raises:
        InputError: if there is a validation part already, or a part would have fewer than 2 images.

    Example:
        >>> import tempered_ebm as te
        >>> parts = te.datasets.split_validation(te.datasets.load_digits(), 0.1)
        >>> len(parts.x_train), len(parts.x_validation)
        (1294, 144)
    """
    checks.seed("seed", seed)
    if dataset.x_validation is not None:
        raise InputError(
            f"{dataset.name} has a validation part of {len(dataset.x_validation)} images already"
        )
    num_images = len(dataset.x_train)
    if isinstance(size, float):
        if not 0 < size < 1:
            raise InputError(f"size must be a fraction between 0 and 1 or an integer, got {size}")
        count = round(size * num_images)
    else:
        checks.at_least("size", size, 1)
        count = int(size)
    if not 2 <= count <= num_images - 2:
        raise InputError(
            f"size must leave at least 2 of the {num_images} training images of {dataset.name} in "
            f"either part, got {size}"
        )
    chosen = _choose(dataset.y_train, num_images, count, seed)
    kept = np.setdiff1d(np.arange(num_images), chosen)
    labels = dataset.y_train
    return dataclasses.replace(
        dataset,
        x_train=dataset.x_train[kept],
        y_train=None if labels is None else labels[kept],
        x_validation=dataset.x_train[chosen],
        y_validation=None if labels is None else labels[chosen],
    )


def subset(
    dataset: ImageDataset,
    num_train: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
) -> ImageDataset:
    """Choose some of the training and test images, stratified when there are labels.

    Args:
        dataset: the whole set; its validation part stays whole.
        num_train: training images to keep, at least 2; all of them by default.
        num_test: test images to keep, at least 2; all of them by default.
        seed: seed of the choice; the same seed gives the same images.

    Returns:
        The smaller set, in the order of the whole.

    Raises:
        InputError: if a number is below 2, or above what there is.

    Example:
        >>> import tempered_ebm as te
        >>> few = te.datasets.subset(te.datasets.load_digits(), 100, 50)
        >>> len(few.x_train), len(few.x_test)
        (100, 50)
    """
    checks.seed("seed", seed)
    fields = {}
    for part, count in (("train", num_train), ("test", num_test)):
        images, labels = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        if count is None:
            continue
        checks.at_least(f"num_{part}", count, 2)
        if count > len(images):
            raise InputError(
                f"num_{part} must be at most the {len(images)} images of {dataset.name}, "
                f"got {count}"
            )
        chosen = _choose(labels, len(images), count, seed)
        fields[f"x_{part}"] = images[chosen]
        fields[f"y_{part}"] = None if labels is None else labels[chosen]
    return dataclasses.replace(dataset, **fields)


def _choose(
    labels: Int[np.ndarray, "n"] | None, num_images: int, count: int, seed: int
) -> Int[np.ndarray, "count"]:
    """Sorted indices, of every class in proportion (largest remainders)."""
    rng = np.random.default_rng(seed)
    if labels is None:
        return np.sort(rng.choice(num_images, count, replace=False))
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    whole, remainders = np.divmod(sizes * count, num_images)
    largest = np.argsort(-remainders, kind="stable")[: count - int(whole.sum())]
    whole[largest] += 1
    members = [np.flatnonzero(classes == i) for i in range(len(sizes))]
    chosen = [rng.choice(m, size, replace=False) for m, size in zip(members, whole)]
    return np.sort(np.concatenate(chosen))


def without_label(dataset: ImageDataset, label: int) -> ImageDataset:
    """Leave a class out of every part: what a detector of anomalies is trained on.

    The held-out class, ``only_label(dataset, label)``, then has the anomalies, as in the protocol
    of Zenati et al. (2018) on MNIST.

    Args:
        dataset: a set with labels.
        label: the class to leave out.

    Returns:
        The smaller set, in the same order; its name says what is missing.

    Raises:
        InputError: if a part has no labels, no training image has this one, or fewer than 2 images
            of a part would be left.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.without_label(te.datasets.load_digits(), 9).name
        'digits-without-9'
    """
    return _by_label(dataset, label, keep=False)


def only_label(dataset: ImageDataset, label: int) -> ImageDataset:
    """Keep one class alone, in every part.

    Args:
        dataset: a set with labels.
        label: the class to keep.

    Returns:
        The smaller set, in the same order; its name says which class it is.

    Raises:
        InputError: as for :func:`without_label`.

    Example:
        >>> import tempered_ebm as te
        >>> set(te.datasets.only_label(te.datasets.load_digits(), 9).y_test.tolist())
        {9}
    """
    return _by_label(dataset, label, keep=True)


def _by_label(dataset: ImageDataset, label: int, *, keep: bool) -> ImageDataset:
    checks.at_least("label", label, 0)
    fields: dict[str, Any] = {}
    for part in ("train", "test", "validation"):
        images, labels = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        if images is None:
            continue
        if labels is None:
            raise InputError(f"{dataset.name} has no labels y_{part} to choose label {label} by")
        if part == "train" and label not in labels:
            known = ", ".join(map(str, np.unique(labels)))
            raise InputError(f"label must be a class of {dataset.name} ({known}), got {label}")
        chosen = (labels == label) == keep
        if chosen.sum() < 2:
            raise InputError(
                f"{dataset.name} has {chosen.sum()} images in x_{part} "
                f"{'of' if keep else 'without'} label {label}; expected at least 2"
            )
        fields[f"x_{part}"], fields[f"y_{part}"] = images[chosen], labels[chosen]
    name = f"{dataset.name}-{'only' if keep else 'without'}-{label}"
    return dataclasses.replace(dataset, name=name, **fields)
