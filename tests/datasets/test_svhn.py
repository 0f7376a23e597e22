import numpy as np
import pytest
from scipy.io import savemat

import tempered_ebm as te
from tests.datasets import formats

IMAGES = formats.pixels(11, (32, 32, 3))
LABELS = np.arange(11, dtype=np.uint8) % 10


@pytest.fixture
def folder(tmp_path):
    formats.write_svhn(tmp_path, "train", IMAGES, LABELS)
    formats.write_svhn(tmp_path, "test", IMAGES[::-1], LABELS[::-1])
    return tmp_path


def test_images_are_upright_in_order_and_ten_is_zero(folder):
    data = te.datasets.load_svhn(folder)
    np.testing.assert_array_equal(data.x_train, te.datasets.from_bytes(IMAGES))
    np.testing.assert_array_equal(data.x_test, te.datasets.from_bytes(IMAGES[::-1]))
    np.testing.assert_array_equal(data.y_train, LABELS)
    assert data.y_test.dtype == np.int32


X = np.moveaxis(IMAGES, 0, 3)
Y = np.where(LABELS == 0, 10, LABELS)[:, None]
BAD = {
    "no X": ({"y": Y}, "has no array X; expected X"),
    "no y": ({"X": X}, "has no array y; expected X"),
    "order": ({"X": IMAGES, "y": Y}, r"X in .* shape \(11, 32, 32, 3\) .*; expected \(32, 32, 3"),
    "floats": ({"X": X / 255.0, "y": Y}, r"X in .* dtype float64; expected .* uint8"),
    "fewer labels": ({"X": X, "y": Y[:9]}, r"y in .* shape \(9, 1\) .*; expected \(11, 1\)"),
    "halves": ({"X": X, "y": Y + 0.5}, r"y in .* dtype float64; expected \(11, 1\) whole"),
    "zero": ({"X": X, "y": Y % 10}, r"y in .* runs from 0 to 9; expected 1 to 10"),
    "one image": ({"X": X[..., :1], "y": Y[:1]}, "describes 1 images"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_named_with_what_was_expected(folder, name):
    columns, message = BAD[name]
    savemat(folder / "test_32x32.mat", columns)
    with pytest.raises(te.InputError, match=message) as error:
        te.datasets.load_svhn(folder)
    assert "test_32x32.mat" in str(error.value)


def test_whole_numbers_as_floats_are_labels(folder):
    savemat(folder / "test_32x32.mat", {"X": X, "y": Y.astype(float)})
    np.testing.assert_array_equal(te.datasets.load_svhn(folder).y_test, LABELS)


def test_damaged_files_are_named(folder):
    path = folder / "train_32x32.mat"
    whole = path.read_bytes()
    for content in (b"", b"hello" * 40, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(te.InputError, match=r"train_32x32\.mat cannot be read as a MATLAB 5"):
            te.datasets.load_svhn(folder)
    path.unlink()
    with pytest.raises(te.InputError, match=r"has no file train_32x32\.mat"):
        te.datasets.load_svhn(folder)
