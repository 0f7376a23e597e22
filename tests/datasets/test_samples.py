"""Readers against real files, pixel by pixel; skipped where those are not at hand."""

import numpy as np
import pytest

import tempered_ebm as te
from tests.datasets import formats

pytestmark = pytest.mark.skipif(not formats.SAMPLES.is_dir(), reason="no sample files at hand")

READERS = {
    "mnist": (te.datasets.load_mnist, "mnist"),
    "fashion-mnist": (te.datasets.load_fashion_mnist, "fashion_mnist"),
    "svhn": (te.datasets.load_svhn, "svhn_subset"),
    "cifar-10-batches-py": (te.datasets.load_cifar10, "cifar10_lossless_subset"),
}


@pytest.mark.parametrize("folder", READERS)
def test_samples_are_the_first_images_of_the_archive(folder):
    read, archive = READERS[folder]
    data = read(formats.SAMPLES / folder)
    with np.load(formats.SHARED / "data" / f"{archive}.npz") as arrays:
        for part in ("train", "test"):
            images, labels = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
            n = len(images)
            expected = te.datasets.from_bytes(arrays[f"x_{part}"][:n])
            np.testing.assert_array_equal(images.reshape(expected.shape), expected)
            np.testing.assert_array_equal(labels, arrays[f"y_{part}"][:n])
