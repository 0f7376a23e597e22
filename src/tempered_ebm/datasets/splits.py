"""Choose examples: a validation set, a subset, one class, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Int

from tempered_ebm import _checks
from tempered_ebm.datasets.dataset import ImageDataset, require_images
from tempered_ebm.errors import InputError


def split_validation(dataset: ImageDataset, size: float | int, seed: int = 0) -> ImageDataset:
    """Move some of the training images to a validation set.

    With labels the choice is stratified: every class gives its share, rounded so that the shares
    add up. Both sets keep the order of the training set.

    Args:
        dataset: a data set without validation images.
        size: a number of images, int, or a fraction of the training set, float in (0, 1).
        seed: seed of the choice; the same seed gives the same images.

    Returns:
        The data set with ``x_validation`` (and ``y_validation``, if there are labels).

    Raises:
        InputError: if there are validation images already, or fewer than 2 would be in either set.

    Example:
        >>> import tempered_ebm as te
        >>> digits = te.datasets.split_validation(te.datasets.load_digits(), 0.1)
        >>> len(digits.x_train), len(digits.x_validation)
        (1294, 144)
    """
    require_images(dataset)
    _checks.seed("seed", seed)
    if dataset.x_validation is not None:
        raise InputError(
            f"dataset {dataset.name} already has {len(dataset.x_validation)} validation images; "
            "expected none"
        )
    num_images = len(dataset.x_train)
    if isinstance(size, float):
        if not 0 < size < 1:
            raise InputError(f"size must be a fraction between 0 and 1 or an integer, got {size}")
        count = round(size * num_images)
    else:
        _checks.at_least("size", size, 1)
        count = int(size)
    if not 2 <= count <= num_images - 2:
        raise InputError(
            f"size must leave at least 2 of the {num_images} training images of {dataset.name} in "
            f"either set, got {size}"
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
        dataset: the whole data set; its validation images all stay.
        num_train: training images to keep, at least 2; all of them by default.
        num_test: test images to keep, at least 2; all of them by default.
        seed: seed of the choice; the same seed gives the same images.

    Returns:
        The smaller data set, in the order of the whole.

    Raises:
        InputError: if a number is below 2, or larger than the data set.

    Example:
        >>> import tempered_ebm as te
        >>> few = te.datasets.subset(te.datasets.load_digits(), 100, 50)
        >>> len(few.x_train), len(few.x_test)
        (100, 50)
    """
    require_images(dataset)
    _checks.seed("seed", seed)
    fields = {}
    for split, count in (("train", num_train), ("test", num_test)):
        images, labels = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
        if count is None:
            continue
        _checks.at_least(f"num_{split}", count, 2)
        if count > len(images):
            raise InputError(
                f"num_{split} must be at most the {len(images)} images of {dataset.name}, "
                f"got {count}"
            )
        chosen = _choose(labels, len(images), count, seed)
        fields[f"x_{split}"] = images[chosen]
        fields[f"y_{split}"] = None if labels is None else labels[chosen]
    return dataclasses.replace(dataset, **fields)


def _choose(
    labels: Int[np.ndarray, "n"] | None, num_images: int, count: int, seed: int
) -> Int[np.ndarray, "count"]:
    """Return sorted indices, of every class in proportion (largest remainders)."""
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
    """Remove a class from the training, test and validation images.

    A detector of anomalies is trained on the rest. The anomalies are the images of the removed
    class, ``only_label(dataset, label)``, as in the protocol of Zenati et al. (2018) on MNIST.

    Args:
        dataset: a data set with labels.
        label: the class to remove.

    Returns:
        The smaller data set, in the same order; its name says which class is missing.

    Raises:
        InputError: if training, test or validation images have no labels, no training image has
            this one, or fewer than 2 images of one of them would be left.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.without_label(te.datasets.load_digits(), 9).name
        'digits-without-9'
    """
    return _by_label(dataset, label, keep=False)


def only_label(dataset: ImageDataset, label: int) -> ImageDataset:
    """Keep one class of the training, test and validation images.

    Args:
        dataset: a data set with labels.
        label: the class to keep.

    Returns:
        The smaller data set, in the same order; its name says which class it is.

    Raises:
        InputError: as for :func:`without_label`.

    Example:
        >>> import tempered_ebm as te
        >>> set(te.datasets.only_label(te.datasets.load_digits(), 9).y_test.tolist())
        {9}
    """
    return _by_label(dataset, label, keep=True)


def _by_label(dataset: ImageDataset, label: int, *, keep: bool) -> ImageDataset:
    require_images(dataset)
    _checks.at_least("label", label, 0)
    fields: dict[str, Any] = {}
    for split in ("train", "test", "validation"):
        images, labels = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
        if images is None:
            continue
        if labels is None:
            raise InputError(f"{dataset.name} has no labels y_{split} to choose label {label} by")
        if split == "train" and label not in labels:
            known = ", ".join(map(str, np.unique(labels)))
            raise InputError(f"label must be a class of {dataset.name} ({known}), got {label}")
        chosen = (labels == label) == keep
        if chosen.sum() < 2:
            raise InputError(
                f"{dataset.name} has {chosen.sum()} images in x_{split} "
                f"{'of' if keep else 'without'} label {label}; expected at least 2"
            )
        fields[f"x_{split}"], fields[f"y_{split}"] = images[chosen], labels[chosen]
    name = f"{dataset.name}-{'only' if keep else 'without'}-{label}"
    return dataclasses.replace(dataset, name=name, **fields)


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_images).astype(np.int32)


def batch_index(
    seed: int, step: int, num_images: int, batch_size: int
) -> Int[np.ndarray, "batch_size"]:
    """Return the indices of the batch of an update, a function of the seed and the step alone.

    Nothing is remembered between steps, so that a run that resumes at any step sees exactly the
    examples that it would have seen. Each epoch of ``num_images // batch_size`` updates is a fresh
    permutation, of which 4 bytes an image are kept while it lasts. No image is twice in a batch,
    and a remainder smaller than a batch is left out of its epoch.

    Args:
        seed: seed of the order.
        step: number of the update, from 0.
        num_images: number of examples.
        batch_size: examples in a batch, at most ``num_images``.

    Returns:
        (batch_size,), int32, in [0, num_images).

    Raises:
        InputError: if an argument is no integer in range.

    Example:
        >>> import numpy as np, tempered_ebm as te
        >>> epoch = [te.datasets.batch_index(0, step, 6, 2) for step in range(3)]
        >>> np.sort(np.concatenate(epoch))
        array([0, 1, 2, 3, 4, 5], dtype=int32)
    """
    _checks.seed("seed", seed)
    _checks.at_least("step", step, 0)
    _checks.at_least("batch_size", batch_size, 1)
    _checks.at_least("num_images", num_images, 1)
    if batch_size > num_images:
        raise InputError(f"batch_size must be at most num_images = {num_images}, got {batch_size}")
    epoch, position = divmod(step, num_images // batch_size)
    order = _epoch_order(seed, epoch, num_images)
    return order[position * batch_size : (position + 1) * batch_size]
