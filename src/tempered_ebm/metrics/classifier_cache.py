"""Trained classifiers kept on disk, under a checksum of all that they follow from."""

from __future__ import annotations

import hashlib
import json
import warnings
from importlib.metadata import version
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.archives import read_archive, write_archive
from tempered_ebm.metrics.classifier import (
    ClassifierFeatures,
    checked_training_set,
    classifier_features,
    fit_classifier_params,
)

_LAYOUT = 1
"""Raised whenever the network or its training changes."""
_LIBRARIES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy")


def _checksum(images: np.ndarray, labels: np.ndarray, num_steps: int, seed: int) -> str:
    settings = {
        "layout": _LAYOUT,
        "num_steps": num_steps,
        "seed": seed,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "backend": jax.default_backend(),
        "arrays": [(array.shape, array.dtype.str) for array in (images, labels)],
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in (images, labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _content_checksum(arrays: dict[str, np.ndarray]) -> np.ndarray:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} {arrays[name].dtype.str}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _write(path: Path, params: hk.Params) -> None:
    arrays = {
        f"{layer}|{name}": np.asarray(value)
        for layer, values in params.items()
        for name, value in values.items()
    }
    write_archive(path, {**arrays, "checksum": _content_checksum(arrays)})


def _read(path: Path) -> hk.Params:
    arrays = read_archive("classifier cache", path)
    checksum = arrays.pop("checksum", None)
    if checksum is None or not np.array_equal(checksum, _content_checksum(arrays)):
        raise InputError(f"classifier cache {path} does not have the checksum it was written with")
    params: dict[str, dict[str, jax.Array]] = {}
    for key, value in arrays.items():
        layer, _, name = key.partition("|")
        params.setdefault(layer, {})[name] = jnp.asarray(value)
    return params


def cached_classifier_features(
    cache_dir: Path | str,
    images: Float[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, "n"],
    *,
    num_steps: int = 1500,
    seed: int = 0,
) -> ClassifierFeatures:
    """``fit_classifier_features``, trained once and then read from disk.

    A file is named by the SHA-256 of images, labels, settings, library versions and
    backend, so that it is found again only where training would give the same network. It
    is written whole or not at all. A damaged file is named in a warning, and trained anew.

    Args:
        cache_dir: folder of the files, made if there is none.
        images: training images in [-1, 1].
        labels: their classes, integers from 0.
        num_steps: number of optimiser updates of batch size 128.
        seed: seed of initial weights, batches and noise.

    Raises:
        InputError: if labels and images differ in number, or there are fewer than two classes.
        OSError: if the folder cannot be written to.

    Warns:
        RuntimeWarning: if a cached file is damaged.

    Example:
        >>> import tempfile, numpy as np, tempered_ebm as te
        >>> from tempered_ebm import metrics
        >>> digits, folder = te.datasets.load_digits(), tempfile.mkdtemp()
        >>> first, again = (
        ...     metrics.cached_classifier_features(
        ...         folder, digits.x_train, digits.y_train, num_steps=10
        ...     )
        ...     for _ in range(2)
        ... )
        >>> np.array_equal(first.features(digits.x_test), again.features(digits.x_test))
        True
    """
    checks.at_least("num_steps", num_steps, 1)
    checks.seed("seed", seed)
    images, labels, num_classes = checked_training_set(images, labels)
    folder = Path(cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"classifier-{_checksum(images, labels, num_steps, seed)}.npz"
    if path.exists():
        try:
            return classifier_features(_read(path), num_classes)
        except InputError as error:
            warnings.warn(f"{error}; it is trained anew", RuntimeWarning, stacklevel=2)
    params = fit_classifier_params(images, labels, num_classes, num_steps, seed)
    _write(path, params)
    return classifier_features(params, num_classes)
