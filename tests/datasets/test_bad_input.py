"""Every public function answers wrong objects with an error that names the argument."""

import jax
import numpy as np
import pytest

import tempered_ebm as te

data = te.datasets
DIGITS = data.load_digits()
BYTES = np.zeros((4, 8, 8, 1), np.uint8)
RAGGED = [[0.0, 1.0], [2.0]]
FOLDERS = [
    data.load_mnist,
    data.load_fashion_mnist,
    data.load_kmnist,
    data.load_svhn,
    data.load_cifar10,
    data.load_celeba,
    data.open_celeba,
    data.load_folder,
]
PATHS = [data.read_idx, data.load_npz, data.load_npz_held_out, data.load_arrays]
OF_IMAGES = [
    lambda x: data.resize(x, 4),
    data.grayscale,
    data.prepared,
    lambda x: data.split_validation(x, 0.5),
    lambda x: data.subset(x, 10),
    lambda x: data.only_label(x, 1),
    lambda x: data.without_label(x, 1),
    data.checksum,
]
CASES = [
    *((load, bad, "data_dir must be a path or a string, got") for load in FOLDERS for bad in (3,)),
    *((load, None, "path must be a path or a string, got None") for load in PATHS),
    *((change, BYTES, "dataset must be an ImageDataset.*, got uint8 of") for change in OF_IMAGES),
    *((change, "digits", "dataset must be an ImageDataset.*, got 'dig") for change in OF_IMAGES),
    (data.load_huggingface, 3, "source must be a path or a string, got 3"),
    (lambda x: data.load_named(x, "."), RAGGED, r"name must be one of mnist, .*, got \[\[0.0"),
    (lambda x: data.load_named("mnist", x), None, "data_dir must be a path or a string, got None"),
    (data.load_toy, BYTES, r"name must be one of .*, got uint8 of shape \(4, 8, 8, 1\)"),
    (lambda x: data.load_toy("moons", x), "10", "num_samples must be an integer >= 2, got '10'"),
    (lambda x: data.load_toy("moons", held_out=x), "half", "cannot hold out a fraction half"),
    (
        lambda x: data.ImageDataset("a", x, x),
        BYTES,
        "x_train must be an array of .*uint8",
    ),
    (lambda x: data.ImageDataset("a", x, x), RAGGED, r"x_train must be an array .*got \[\[0.0"),
    (lambda x: data.ImageDataset("a", x, x), "images", "x_train must be an array .* got 'images'"),
    (data.from_bytes, DIGITS.x_train, "pixels must be an array of uint8, got float32 of shape"),
    (data.from_bytes, RAGGED, r"pixels must be an array of uint8, got \[\[0.0"),
    (
        lambda x: data.dequantise(jax.random.key(0), x),
        BYTES,
        "images must be an array of floats",
    ),
    (lambda x: data.dequantise(jax.random.key(0), x), RAGGED, "images must be an array of floats"),
    (lambda x: data.dequantise(jax.random.key(0), x), "x", "images must be an array of .*got 'x'"),
    (lambda x: data.dequantise(x, DIGITS.x_test), "key", "rng_key must be one key"),
    (lambda x: data.resize(DIGITS, x), "4", "image_size must be an integer >= 1, got '4'"),
    (lambda x: data.resize(DIGITS, 4, x), RAGGED, r"method must be one of .*, got \[\[0.0"),
    (lambda x: data.prepared(DIGITS, x), 2.0, "image_size must be an integer >= 1, got 2.0"),
    (lambda x: data.split_validation(DIGITS, x), "0.1", "size must be an integer >= 1, got '0.1'"),
    (lambda x: data.subset(DIGITS, x), RAGGED, r"num_train must be an integer >= 2, got \[\[0.0"),
    (lambda x: data.only_label(DIGITS, x), "1", "label must be an integer >= 0, got '1'"),
    (lambda x: data.batch_index(x, 0, 3, 2), "0", "seed must be an integer >= 0, got '0'"),
    (lambda x: data.batch_index(0, 0, x, 2), RAGGED, "num_images must be an integer >= 1"),
]


@pytest.mark.parametrize(("function", "bad", "message"), CASES)
def test_a_wrong_object_is_named_with_what_was_expected(function, bad, message):
    with pytest.raises(te.InputError, match=message):
        function(bad)
