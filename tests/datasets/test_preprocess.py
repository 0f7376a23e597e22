import dataclasses

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.datasets import formats


def dataset(shape, n=4, with_validation=True):
    images = te.datasets.from_bytes(formats.pixels(n, shape))
    validation = images[::-1] if with_validation else None
    return te.datasets.ImageDataset("random", images, images[:2], x_validation=validation)


def test_areas_of_whole_factors_are_means():
    data = dataset((6, 6, 3))
    small = te.datasets.resize(data, 3, "area")
    means = data.x_train.reshape(4, 3, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(small.x_train, means, atol=1e-6)
    np.testing.assert_allclose(small.x_validation, means[::-1], atol=1e-6)
    assert small.x_test.shape == (2, 3, 3, 3)


@pytest.mark.parametrize("method", ["area", "bilinear"])
@pytest.mark.parametrize("size", [1, 5, 8, 13])
def test_constants_stay_and_the_range_holds(method, size):
    data = dataset((8, 8, 1))
    flat = dataclasses.replace(data, x_train=np.full((3, 8, 8, 1), 0.3, np.float32))
    np.testing.assert_allclose(te.datasets.resize(flat, size, method).x_train, 0.3, atol=1e-6)
    images = te.datasets.resize(data, size, method).x_train
    assert images.dtype == np.float32
    assert -1 <= images.min() <= images.max() <= 1


def test_a_bilinear_ramp_stays_a_ramp():
    ramp = np.broadcast_to(np.linspace(-1, 1, 32, dtype=np.float32)[:, None, None], (2, 32, 32, 1))
    data = te.datasets.ImageDataset("ramp", ramp, ramp)
    column = te.datasets.resize(data, 8).x_train[0, :, 0, 0]
    step = 8 / 31
    np.testing.assert_allclose(np.diff(column)[1:-1], step, atol=1e-5)


def test_the_centre_square_is_taken():
    data = dataset((4, 10, 1), with_validation=False)
    np.testing.assert_array_equal(te.datasets.resize(data, 4).x_train, data.x_train[:, :, 3:7])
    tall = dataset((9, 4, 1))
    np.testing.assert_array_equal(te.datasets.resize(tall, 4).x_train, tall.x_train[:, 2:6])


def test_images_of_the_size_and_grey_ones_are_left_alone():
    data = dataset((4, 4, 1))
    assert te.datasets.resize(data, 4) is data
    assert te.datasets.grayscale(data) is data


def test_grey_is_the_weighted_mean_and_keeps_white_and_black():
    data = dataset((4, 4, 3))
    grey = te.datasets.grayscale(data)
    expected = data.x_train @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.x_train[..., 0], expected, atol=1e-6)
    assert grey.x_train.dtype == np.float32
    ends = np.stack([np.full((2, 2, 3), -1), np.full((2, 2, 3), 1)]).astype(np.float32)
    both = te.datasets.grayscale(te.datasets.ImageDataset("ends", ends, ends)).x_train
    np.testing.assert_allclose(both[:, 0, 0, 0], [-1, 1], atol=1e-6)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.statistical
def test_noise_is_uniform_within_the_level_of_each_pixel(levels):
    v = gt.rng(0).integers(0, levels, 50_000)
    x = (2 * v / (levels - 1) - 1).astype(np.float32)
    y = np.asarray(te.datasets.dequantise(gt.key(1), x, levels), np.float64)
    assert -1 <= y.min() <= y.max() < 1
    noise = (y + 1) * levels / 2 - v
    assert noise.min() >= -1e-4
    assert noise.max() <= 1 + 1e-4
    gt.assert_law(noise, lambda u: np.clip(u, 0, 1), f"{levels} levels")


def test_noise_is_a_function_of_the_key_with_or_without_jit():
    x = dataset((4, 4, 3)).x_train
    first, again = (te.datasets.dequantise(jax.random.key(3), x) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    compiled = jax.jit(te.datasets.dequantise)(jax.random.key(3), x)
    np.testing.assert_allclose(compiled, first, atol=1e-6)
    other = te.datasets.dequantise(jax.random.key(4), x)
    assert np.mean(first == other) < 0.01


def test_bad_arguments_are_named():
    data = dataset((4, 4, 1))
    with pytest.raises(te.InputError, match=r"image_size must be an integer >= 1, got 2\.5"):
        te.datasets.resize(data, 2.5)
    with pytest.raises(te.InputError, match=r"method must be one of .*, got 'nearest'"):
        te.datasets.resize(data, 2, "nearest")
    with pytest.raises(te.InputError, match="rng_key must be one key"):
        te.datasets.dequantise(0, data.x_train)
    with pytest.raises(te.InputError, match="levels must be an integer >= 2, got 1"):
        te.datasets.dequantise(jax.random.key(0), data.x_train, 1)
    with pytest.raises(te.InputError, match="images must lie on the grid of 17 levels"):
        te.datasets.dequantise(jax.random.key(0), data.x_train, 17)
