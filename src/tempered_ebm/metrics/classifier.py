"""A feature space for labelled images of any kind: a small classifier trained on them."""

from __future__ import annotations

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.batches import FeatureMap, in_batches

FEATURE_DIM = 32
_BATCH = 128
_AT_ONCE = 1024


class ClassifierFeatures(NamedTuple):
    """What a small classifier makes of images in [-1, 1].

    Attributes:
        features: images to penultimate activations, (n, 32).
        predict: images to predicted labels, (n,).
        probabilities: images to class probabilities, (n, c), for ``inception_score``.
    """

    features: FeatureMap
    predict: FeatureMap
    probabilities: FeatureMap


def _network(num_classes: int) -> hk.Transformed:
    def forward(images: Float[Array, "n h w c"]) -> tuple[Array, Array]:
        x = images.reshape(images.shape[0], -1)
        for width in (256, 128):
            x = jax.nn.gelu(hk.Linear(width)(x))
        features = jnp.tanh(hk.Linear(FEATURE_DIM)(x))
        return hk.Linear(num_classes)(features), features

    return hk.without_apply_rng(hk.transform(forward))


def checked_training_set(
    images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return images in float32, labels and the number of classes.

    Raises:
        InputError: if labels and images differ in number, or there are fewer than two classes.
    """
    images, labels = np.asarray(images, np.float32), np.asarray(labels)
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"labels must have shape ({images.shape[0]},), one per image, got {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(f"labels must be integers from 0, got {labels.min()} of {labels.dtype}")
    num_classes = int(labels.max()) + 1
    if num_classes < 2:
        raise InputError(f"labels must hold at least two classes, got {num_classes}")
    return images, labels.astype(np.int32), num_classes


def fit_classifier_params(
    images: np.ndarray, labels: np.ndarray, num_classes: int, num_steps: int, seed: int
) -> hk.Params:
    """Train the classifier of ``fit_classifier_features`` and return its parameters."""
    network = _network(num_classes)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, num_steps), weight_decay=1e-3)

    def loss_fn(params: hk.Params, x: Array, y: Array) -> Array:
        logits, _ = network.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, optimizer_state = carry
        index_key, noise_key = jax.random.split(key)
        index = jax.random.randint(index_key, (_BATCH,), 0, len(images))
        x = data[index] + 0.1 * jax.random.normal(noise_key, (_BATCH, *images.shape[1:]))
        grads = jax.grad(loss_fn)(params, x, classes[index])
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state), None

    data, classes = jnp.asarray(images), jnp.asarray(labels)
    init_key, run_key = jax.random.split(jax.random.key(seed))
    params = network.init(init_key, data[:1])
    (params, _), _ = jax.jit(lambda c, k: jax.lax.scan(step, c, k))(
        (params, optimizer.init(params)), jax.random.split(run_key, num_steps)
    )
    return params


def classifier_features(params: hk.Params, num_classes: int) -> ClassifierFeatures:
    """The callables of a classifier with these parameters."""
    network = _network(num_classes)
    features = jax.jit(lambda p, x: network.apply(p, x)[1])
    logits = jax.jit(lambda p, x: network.apply(p, x)[0])
    probabilities = jax.jit(lambda p, x: jax.nn.softmax(network.apply(p, x)[0]))
    return ClassifierFeatures(
        features=lambda x: in_batches(features, params, x, _AT_ONCE),
        predict=lambda x: in_batches(logits, params, x, _AT_ONCE).argmax(-1),
        probabilities=lambda x: in_batches(probabilities, params, x, _AT_ONCE),
    )


def fit_classifier_features(
    images: Float[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, "n"],
    *,
    num_steps: int = 1500,
    seed: int = 0,
) -> ClassifierFeatures:
    """Train a small classifier and take its last hidden layer as feature space.

    A 256-128-32 perceptron with tanh features, Adam with cosine decay, weight decay and
    Gaussian pixel noise, which keeps the features smooth off the data. Everything follows
    from the seed: the same images and labels give the same features on the same machine.

    Args:
        images: training images in [-1, 1].
        labels: their classes, integers from 0.
        num_steps: number of optimiser updates of batch size 128.
        seed: seed of initial weights, batches and noise.

    Raises:
        InputError: if labels and images differ in number, or there are fewer than two classes.

    Example:
        >>> import tempered_ebm as te
        >>> from tempered_ebm import metrics
        >>> digits = te.datasets.load_digits()
        >>> classifier = metrics.fit_classifier_features(
        ...     digits.x_train, digits.y_train, num_steps=10
        ... )
        >>> classifier.features(digits.x_test[:5]).shape
        (5, 32)
    """
    checks.at_least("num_steps", num_steps, 1)
    checks.seed("seed", seed)
    images, labels, num_classes = checked_training_set(images, labels)
    params = fit_classifier_params(images, labels, num_classes, num_steps, seed)
    return classifier_features(params, num_classes)
