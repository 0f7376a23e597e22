import numpy as np
import pytest

import tempered_ebm as te
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
