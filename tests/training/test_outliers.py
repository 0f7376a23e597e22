"""Other images, and how well scores tell the data from them."""

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training import evaluation
from tests.training.runs import DIGITS


def test_other_images_are_none_of_the_data():
    x = DIGITS.x_test[:20]
    others = evaluation.other_images(np.random.default_rng(0), x)
    assert set(others) == {"shuffled pixels", "uniform noise", "inverted images"}
    shuffled = others["shuffled pixels"].reshape(20, -1)
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(x.reshape(20, -1)))
    assert not np.array_equal(others["shuffled pixels"], x)
    np.testing.assert_array_equal(others["inverted images"], -x)


def test_areas_count_pairs_in_the_right_order():
    """Three of the four pairs are ordered as they should be; the second score has them reversed."""
    x, other = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    (row,) = evaluation.outlier_rows(lambda x: {"score": x, "reversed": -x}, x, {"other": other})
    assert row == evaluation.OutlierRow("other", {"score": 0.75, "reversed": 0.25})
    assert evaluation.outlier_lines([row])[1].split() == ["other", "0.7500", "0.2500"]
    assert evaluation.outlier_lines([]) == []


def archive(path, shape, n=10):
    images = np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)
    np.savez(path, x_train=images, x_test=images[:4])
    return path


def test_files_are_brought_to_the_shape_of_the_model(tmp_path):
    paths = [archive(tmp_path / "gray.npz", (8, 8)), archive(tmp_path / "colour.npz", (16, 16, 3))]
    others = evaluation.load_others(paths, (8, 8, 1), 3)
    assert {name: x.shape for name, x in others.items()} == {
        "gray": (3, 8, 8, 1),
        "colour": (3, 8, 8, 1),
    }
    np.savez(tmp_path / "tested.npz", x_test=np.load(paths[0])["x_test"])
    alone = evaluation.load_others([tmp_path / "tested.npz"], (8, 8, 1), 3)["tested"]
    np.testing.assert_array_equal(alone, others["gray"])
    expected = np.load(paths[0])["x_test"][:3, ..., None] / 127.5 - 1
    np.testing.assert_allclose(others["gray"], expected, atol=1e-6)


def test_files_that_do_not_fit_are_named(tmp_path):
    gray = archive(tmp_path / "gray.npz", (8, 8))
    with pytest.raises(te.InputError, match=r"gray.npz must hold images .* shape \(8, 8, 3\)"):
        evaluation.load_others([gray], (8, 8, 3), 5)
    with pytest.raises(te.InputError, match="got gray twice"):
        evaluation.load_others([gray, gray], (8, 8, 1), 5)
