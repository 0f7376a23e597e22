import os
import pickle

import numpy as np
import pytest

import tempered_ebm as te
from tests.datasets import formats

IMAGES = formats.pixels(9, (32, 32, 3))
LABELS = np.arange(9, dtype=np.uint8)


def write_binary(path, images, labels):
    path.write_bytes(np.column_stack([labels, formats.planes(images)]).tobytes())


def write_pickle(path, images, labels, changes=None):
    tree = {b"labels": labels.tolist(), b"data": formats.planes(images), b"filenames": [b"a.png"]}
    tree |= {key.encode(): value for key, value in (changes or {}).items()}
    path.write_bytes(pickle.dumps(tree, 2))


WRITERS = {".bin": write_binary, "": write_pickle}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("subfolder", [True, False])
def test_batches_are_put_together_in_numerical_order(tmp_path, ending, subfolder):
    folder = tmp_path / f"cifar-10-batches-{'bin' if ending else 'py'}" if subfolder else tmp_path
    folder.mkdir(exist_ok=True)
    for number, rows in ((10, slice(5, 7)), (2, slice(2, 5)), (1, slice(0, 2))):
        WRITERS[ending](folder / f"data_batch_{number}{ending}", IMAGES[rows], LABELS[rows])
    WRITERS[ending](folder / f"test_batch{ending}", IMAGES[7:], LABELS[7:])
    data = te.datasets.load_cifar10(tmp_path)
    np.testing.assert_array_equal(data.x_train, te.datasets.from_bytes(IMAGES[:7]))
    np.testing.assert_array_equal(data.x_test, te.datasets.from_bytes(IMAGES[7:]))
    np.testing.assert_array_equal(data.y_train, LABELS[:7])
    np.testing.assert_array_equal(data.y_test, LABELS[7:])


def loaded_with(tmp_path, name, write, *arguments):
    for ending in WRITERS:
        (tmp_path / f"data_batch_1{ending}").unlink(missing_ok=True)
    ending = ".bin" if name.endswith(".bin") else ""
    WRITERS[ending](tmp_path / f"test_batch{ending}", IMAGES, LABELS)
    write(tmp_path / name, *arguments)
    return te.datasets.load_cifar10(tmp_path)


class Malicious:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": Malicious()}, rf"is refused: it asks for {os.system.__module__}\.system"),
        ({"data": np.zeros((9, 3071), np.uint8)}, r"data in .* shape \(9, 3071\); expected \(n, 3"),
        ({"data": np.zeros((9, 3072))}, "data in .* dtype float64; expected uint8"),
        ({"data": [1]}, r"data in .* shape \(1,\)"),
        ({"labels": [0] * 8}, "labels in .* has 8 labels; expected 9"),
        ({"labels": [0] * 8 + [10]}, "labels in .* from 0 to 10; expected 0-9"),
        ({"labels": [0] * 8 + [-1]}, "labels in .* from -1 to 0; expected 0-9"),
        ({"labels": [0] * 8 + ["cat"]}, "labels in .* no list of integers"),
    ],
)
def test_a_bad_pickle_is_named(tmp_path, changes, message):
    with pytest.raises(te.InputError, match=message) as error:
        loaded_with(tmp_path, "data_batch_1", write_pickle, IMAGES, LABELS, changes)
    assert "data_batch_1" in str(error.value)


def test_a_pickle_without_an_entry_is_named(tmp_path):
    def write(path):
        path.write_bytes(pickle.dumps({b"fine_labels": [], b"data": 1}, 2))

    with pytest.raises(te.InputError, match="has no entry labels; it holds fine_labels, data"):
        loaded_with(tmp_path, "data_batch_1", write)


def test_a_bad_binary_file_is_named(tmp_path):
    with pytest.raises(te.InputError, match=r"data_batch_1\.bin has 100 bytes; expected records"):
        loaded_with(tmp_path, "data_batch_1.bin", lambda path: path.write_bytes(b"\0" * 100))
    with pytest.raises(te.InputError, match=r"data_batch_1\.bin has label 12 for image 0"):
        loaded_with(tmp_path, "data_batch_1.bin", write_binary, IMAGES, LABELS + 12)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(te.InputError, match="has no CIFAR-10: expected data_batch_1"):
        te.datasets.load_cifar10(tmp_path)
    write_pickle(tmp_path / "data_batch_3", IMAGES, LABELS)
    with pytest.raises(te.InputError, match="has data_batch_3 but no test_batch"):
        te.datasets.load_cifar10(tmp_path)
