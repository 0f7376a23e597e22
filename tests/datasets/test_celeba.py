import numpy as np
import pytest

import tempered_ebm as te
from tests.datasets import formats

PARTITION = [0, 2, 0, 1, 2, 0, 1, 0]


def test_the_partition_makes_three_parts_in_order(tmp_path):
    data = te.datasets.load_celeba(formats.write_celeba(tmp_path / "c", 8, PARTITION), 16)
    assert data.x_train.shape == (4, 16, 16, 3)
    assert data.x_validation.shape == data.x_test.shape == (2, 16, 16, 3)
    for images, numbers in ((data.x_train, [0, 2, 5, 7]), (data.x_validation, [3, 6])):
        means = (images.mean((1, 2, 3)) + 1) * 127.5
        np.testing.assert_allclose(means, [6 * i for i in numbers], atol=1.5)
    assert data.y_train is None


def test_the_centre_square_keeps_the_whole_width(tmp_path):
    data = te.datasets.load_celeba(formats.write_celeba(tmp_path / "c", 8, PARTITION), 16)
    columns = (data.x_train[3].mean((0, 2)) + 1) * 127.5
    np.testing.assert_allclose(columns, 84 * (np.arange(16) + 0.5) / 16, atol=1.5)


def test_without_a_list_a_fifth_is_held_out(tmp_path):
    folder = formats.write_celeba(tmp_path / "c", 10)
    data = te.datasets.load_celeba(folder, 8)
    assert (len(data.x_train), len(data.x_test), data.x_validation) == (8, 2, None)


def test_a_list_without_validation_makes_none(tmp_path):
    folder = formats.write_celeba(tmp_path / "c", 8, [0, 2] * 4)
    assert te.datasets.load_celeba(folder, 8).x_validation is None


def test_bytes_are_mapped_from_the_disk(tmp_path):
    folder = formats.write_celeba(tmp_path / "c", 8, PARTITION)
    pixels, partition = te.datasets.open_celeba(folder, 8, grayscale=True)
    assert isinstance(pixels, np.memmap)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 8, 1), np.uint8)
    assert partition.tolist() == PARTITION
    data = te.datasets.load_celeba(folder, 8, grayscale=True)
    np.testing.assert_array_equal(data.x_test, te.datasets.from_bytes(pixels[partition == 2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-2] + "3\n", r"line 8 of .* is '000008.jpg 3'; expected a file name"),
        (lambda text: "8\n" + text, r"line 1 of .* is '8'; expected a file name and 0, 1 or 2"),
        (lambda text: text[13:], r"partition.txt does not list 000001\.jpg; expected every file"),
        (lambda text: text + "000009.jpg 0\n", r"lists 000009\.jpg, which is not in img_align"),
        (lambda text: text.replace(" 2", " 0"), r"makes 0 test images \(2\); expected at least 2"),
    ],
)
def test_a_bad_list_is_named(tmp_path, change, message):
    folder = formats.write_celeba(tmp_path / "c", 8, PARTITION)
    path = folder / "list_eval_partition.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(te.InputError, match=message):
        te.datasets.load_celeba(folder, 8)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(te.InputError, match="has no folder img_align_celeba"):
        te.datasets.load_celeba(tmp_path)
    folder = formats.write_celeba(tmp_path / "c", 8, PARTITION)
    path = folder / "img_align_celeba" / "000005.jpg"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(te.InputError, match=r"000005\.jpg cannot be read as a picture"):
        te.datasets.load_celeba(folder, 8)
    for picture in (folder / "img_align_celeba").iterdir():
        picture.unlink()
    with pytest.raises(te.InputError, match=r"has 0 files \*\.jpg; expected at least 2"):
        te.datasets.load_celeba(folder, 8)
