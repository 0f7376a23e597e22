"""Features of a small classifier that is trained on the labelled images themselves."""

from __future__ import annotations

import functools
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from tempered_ebm import _checks
from tempered_ebm.errors import InputError
from tempered_ebm.metrics.features import FEATURE_DIM, FeatureMap, check_images, in_batches

_BATCH = 128
_AT_ONCE = 1024


class ClassifierFeatures(NamedTuple):
    """Outputs of a small classifier of images in [-1, 1].

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


def _check_labels(labels: np.ndarray, num_images: int) -> Int[np.ndarray, "n"]:
    expected = f"integers from 0, one for each of {num_images} images"
    labels = _checks.array("labels", labels, expected, "iu")
    if labels.shape != (num_images,):
        raise InputError(
            f"labels must have shape ({num_images},), one per image, got {labels.shape}"
        )
    if labels.min() < 0:
        raise InputError(f"labels must be {expected}, got {labels.min()}")
    if labels.max() < 1:
        raise InputError(f"labels must hold at least two classes, got {labels.max() + 1}")
    return labels.astype(np.int32)


@functools.partial(jax.jit, static_argnames=("num_classes", "num_steps"))
def _train(
    rng_key: Key[Array, ""], data: Array, labels: Array, *, num_classes: int, num_steps: int
) -> hk.Params:
    network = _network(num_classes)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, num_steps), weight_decay=1e-3)

    def loss_fn(params: hk.Params, x: Array, y: Array) -> Array:
        logits, _ = network.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, optimizer_state = carry
        index_key, noise_key = jax.random.split(key)
        index = jax.random.randint(index_key, (_BATCH,), 0, len(data))
        x = data[index] + 0.1 * jax.random.normal(noise_key, (_BATCH, *data.shape[1:]))
        grads = jax.grad(loss_fn)(params, x, labels[index])
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state), None

    init_key, run_key = jax.random.split(rng_key)
    params = network.init(init_key, data[:1])
    start = (params, optimizer.init(params))
    (params, _), _ = jax.lax.scan(step, start, jax.random.split(run_key, num_steps))
    return params


@functools.partial(jax.jit, static_argnames="num_classes")
def _outputs(params: hk.Params, images: Array, *, num_classes: int) -> tuple[Array, Array, Array]:
    logits, features = _network(num_classes).apply(params, images)
    return features, logits, jax.nn.softmax(logits)


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
        InputError: if images are not floats in [-1, 1], labels and images differ in number, or
            there are fewer than two classes.

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
    _checks.at_least("num_steps", num_steps, 1)
    _checks.seed("seed", seed)
    images = check_images(images)
    labels = _check_labels(labels, len(images))
    num_classes = int(labels.max()) + 1
    params = _train(
        jax.random.key(seed),
        jnp.asarray(images),
        jnp.asarray(labels),
        num_classes=num_classes,
        num_steps=num_steps,
    )

    def output(index: int) -> FeatureMap:
        def apply(params: hk.Params, batch: Array) -> Array:
            return _outputs(params, batch, num_classes=num_classes)[index]

        return lambda x: in_batches(apply, params, check_images(x, largest=np.inf), _AT_ONCE)

    logits = output(1)
    return ClassifierFeatures(output(0), lambda x: logits(x).argmax(-1), output(2))
