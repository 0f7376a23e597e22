import dataclasses

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import densities
from tests import ground_truths as gt
from tests.datasets import formats


def idx_folder(tmp_path):
    images = formats.pixels(6, (28, 28)), formats.pixels(3, (28, 28))
    labels = np.arange(6, dtype=np.uint8), np.arange(3, dtype=np.uint8)
    return formats.write_idx(tmp_path / "idx", images, labels, ".gz")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_a_name_finds_its_reader_and_settings_apply(tmp_path, name):
    folder = idx_folder(tmp_path)
    data = te.datasets.load_named(name, folder, 14, grayscale=True)
    assert (data.name, data.image_shape) == (name, (14, 14, 1))
    whole = te.datasets.load_named(name, folder)
    np.testing.assert_array_equal(data.x_test, te.datasets.resize(whole, 14).x_test)


def test_colour_sets_turn_grey(tmp_path):
    images = formats.pixels(4, (32, 32, 3))
    for part in ("train", "test"):
        formats.write_svhn(tmp_path, part, images, np.arange(4))
    assert te.datasets.load_named("svhn", tmp_path).image_shape == (32, 32, 3)
    assert te.datasets.load_named("svhn", tmp_path, 8, grayscale=True).image_shape == (8, 8, 1)


def test_faces_have_64_pixels_unless_told_otherwise(tmp_path):
    folder = formats.write_celeba(tmp_path / "c", 10)
    assert te.datasets.load_named("celeba", folder).image_shape == (64, 64, 3)
    data = te.datasets.load_named("celeba", folder, 8, grayscale=True)
    assert data.image_shape == (8, 8, 1)
    faces = folder / "img_align_celeba"
    assert te.datasets.load_named("folder", faces, 8).image_shape == (8, 8, 3)


def test_an_unknown_name_is_answered_with_every_known_one(tmp_path):
    with pytest.raises(te.InputError, match=r"one of mnist, .*huggingface, got 'imagenet'"):
        te.datasets.load_named("imagenet", tmp_path)


def test_digits_are_all_there_once_and_scaled():
    data = te.datasets.load_digits()
    assert len(data.x_train) + len(data.x_test) == 1797
    assert data.image_shape == (8, 8, 1)
    assert data.x_train.min() == -1
    assert data.x_train.max() == 1
    assert set(data.y_test) == set(range(10))
    together = np.concatenate([data.x_train, data.x_test]).reshape(1797, -1)
    assert len(np.unique(together, axis=0)) == len(together)


@pytest.mark.statistical
def test_points_are_draws_of_the_named_density():
    name = "moons"
    data = te.datasets.load_toy(name, 20_000, seed=3)
    assert (data.name, data.density.name) == (name, name)
    for points, size in ((data.x_train, 16_000), (data.x_test, 4_000)):
        assert points.shape == (size, 2)
        assert points.dtype == np.float32
        surprise = -np.asarray(jax.jit(data.density.log_prob)(points))
        gt.assert_expectations(surprise, data.density.entropy, name)


def test_an_unknown_density_is_answered_with_every_known_one():
    with pytest.raises(te.InputError) as error:
        te.datasets.load_toy("eight_gaussian")
    assert all(make.__name__ in str(error.value) for make in densities.ALL)


def test_the_seed_decides_the_points_and_no_point_is_in_both_parts():
    first, again, other = (te.datasets.load_toy("squares", 1_000, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert not np.any(first.x_train == other.x_train)
    together = np.concatenate([first.x_train, first.x_test])
    assert len(np.unique(together, axis=0)) == 1_000


def test_a_density_with_other_parameters_can_be_given():
    density = densities.eight_gaussians(radius=5.0, scale=0.02)
    data = te.datasets.load_toy(density, 5_000, held_out=0.5)
    assert data.density is density
    assert data.x_test.shape == (2_500, 2)
    # On the circle of its means, to six of its standard deviations.
    np.testing.assert_allclose(np.linalg.norm(data.x_test, axis=1), 5.0, atol=0.12)


def test_points_are_float32_in_double_precision_too():
    with jax.enable_x64(True):
        assert te.datasets.load_toy("banana", 10).x_train.dtype == np.float32


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: te.datasets.load_toy("moon"), "name must be one of banana, .*, got 'moon'"),
        (lambda: te.datasets.load_toy("moons", 1), "num_samples must be an integer >= 2, got 1"),
        (lambda: te.datasets.load_toy("moons", 10.0), "num_samples must be an integer >= 2"),
        (lambda: te.datasets.load_toy("moons", seed=-1), "seed must be an integer >= 0, got -1"),
        (lambda: te.datasets.load_toy("moons", held_out=1.0), "cannot hold out"),
        (
            lambda: te.datasets.load_toy(dataclasses.replace(densities.moons(), sample=None)),
            "moons has no exact sampler",
        ),
    ],
)
def test_bad_arguments_of_a_density_are_named(load, message):
    with pytest.raises(te.InputError, match=message):
        load()
