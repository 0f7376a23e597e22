import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tempered_ebm as te
from tests.datasets import formats

LOADERS = {
    "mnist": te.datasets.load_mnist,
    "fashion_mnist": te.datasets.load_fashion_mnist,
    "kmnist": te.datasets.load_kmnist,
}
IMAGES = formats.pixels(7, (28, 28)), formats.pixels(4, (28, 28), seed=1)
LABELS = np.arange(7, dtype=np.uint8), np.array([9, 0, 3, 9], np.uint8)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_images_and_labels_come_in_order_on_the_common_scale(tmp_path, name, ending):
    data = LOADERS[name](formats.write_idx(tmp_path / "d", IMAGES, LABELS, ending))
    assert data.name == name
    for x, y, images, labels in zip(
        (data.x_train, data.x_test), (data.y_train, data.y_test), IMAGES, LABELS
    ):
        assert (x.dtype, y.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(x, te.datasets.from_bytes(images)[..., None])
        np.testing.assert_array_equal(y, labels)


@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0)), st.booleans()
)
def test_whatever_is_written_is_read(tmp_path_factory, array, is_compressed):
    path = tmp_path_factory.mktemp("idx") / ("a-ubyte" + ".gz" * is_compressed)
    content = formats.idx_bytes(array)
    path.write_bytes(gzip.compress(content, 1) if is_compressed else content)
    np.testing.assert_array_equal(te.datasets.read_idx(path), array)


def refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(te.InputError, match=message) as error:
        te.datasets.read_idx(path)
    assert str(path) in str(error.value)


def test_a_malformed_file_is_named_with_what_was_expected(tmp_path):
    whole = formats.idx_bytes(IMAGES[0])
    packed = gzip.compress(whole)
    plain, compressed = tmp_path / "a-ubyte", tmp_path / "a-ubyte.gz"
    refused(plain, b"", "begins with nothing; expected 00 00 08")
    refused(plain, b"\0\0\x0d" + whole[3:], "begins with 00 00 0d 03; expected 00 00 08")
    refused(plain, whole[:10], "ends within its header; expected 3 sizes")
    refused(plain, whole[:-1], r"states shape \(7, 28, 28\); expected 5488 bytes, got 5487")
    refused(plain, whole + b"\0", "expected 5488 bytes, got more")
    refused(plain, packed, "begins with 1f 8b 08 00")
    refused(compressed, packed[: len(packed) // 2], "cannot be read as an idx file")
    refused(compressed, whole, "cannot be read as an idx file: Not a gzipped file")
    broken = bytearray(packed)
    broken[-5] ^= 1
    refused(compressed, bytes(broken), "cannot be read as an idx file: CRC check failed")


def test_a_header_that_claims_too_much_asks_for_no_memory(tmp_path):
    header = bytes([0, 0, 8, 4]) + b"\xff" * 16
    refused(tmp_path / "a-ubyte", header + b"\0" * 9, r"expected \d{39} bytes, got 9")


def test_a_missing_file_is_named_with_both_names(tmp_path):
    folder = formats.write_idx(tmp_path / "d", IMAGES, LABELS)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    expected = r"d has no file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz"
    with pytest.raises(te.InputError, match=expected):
        te.datasets.load_mnist(folder)
    with pytest.raises(te.InputError, match="is a file; expected a folder"):
        te.datasets.load_mnist(folder / "train-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[0], LABELS[0][:6], "train-labels.* has 6 labels; expected 7, one for each image"),
        (IMAGES[0], LABELS[0] + 5, "train-labels.* has label 10 for image 5; expected 0 to 9"),
        (IMAGES[0][:, :27], LABELS[0], r"images.* holds shape \(7, 27, 28\); expected \(n, 28, 28"),
        (IMAGES[0], LABELS[0][:, None], r"labels.* holds shape \(7, 1\); expected \(n,\)"),
        (IMAGES[0][:1], LABELS[0][:1], "describes 1 images; expected at least 2"),
    ],
)
def test_files_that_do_not_match_are_named(tmp_path, images, labels, message):
    folder = formats.write_idx(tmp_path / "d", (images, IMAGES[1]), (labels, LABELS[1]))
    with pytest.raises(te.InputError, match=message):
        te.datasets.load_mnist(folder)
