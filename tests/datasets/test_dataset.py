import dataclasses

import pytest

import tempered_ebm as te

DIGITS = te.datasets.load_digits()


def test_the_checksum_is_that_of_run_folders_and_of_existing_ones():
    assert te.datasets.checksum(DIGITS) == 2195647720


def test_the_checksum_knows_order_and_strides_do_not_matter():
    reversed_twice = dataclasses.replace(DIGITS, x_train=DIGITS.x_train[::-1].copy()[::-1])
    assert te.datasets.checksum(reversed_twice) == te.datasets.checksum(DIGITS)
    backwards = dataclasses.replace(DIGITS, x_train=DIGITS.x_train[::-1])
    assert te.datasets.checksum(backwards) != te.datasets.checksum(DIGITS)


def test_images_and_labels_must_fit():
    x, y = DIGITS.x_train, DIGITS.y_train
    with pytest.raises(te.InputError, match=r"y_train must be 1438 integers.* int32 of shape \(9"):
        te.datasets.ImageDataset("a", x, x, y[:9])
    with pytest.raises(te.InputError, match=r"y_test must be 1438 integers, .* float64"):
        te.datasets.ImageDataset("a", x, x, y, y / 2)
    with pytest.raises(te.InputError, match=r"x_test must be an array of floats .* got None"):
        te.datasets.ImageDataset("a", x, None)
    with pytest.raises(te.InputError, match=r"x_validation must be .* float32 of shape \(8, 8, 1"):
        te.datasets.ImageDataset("a", x, x, x_validation=x[0])
