import contextlib
import io
import json
import zipfile

import numpy as np
import pytest

import tempered_ebm as te


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def uint8_images(n=10, shape=(8, 8)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_uint8_pixels_map_onto_minus_one_to_one(tmp_path):
    images = uint8_images()
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    data = te.datasets.load_npz(save(tmp_path / "a.npz", x_train=images, x_test=images))
    assert data.x_train.shape == (10, 8, 8, 1)
    assert data.x_train.dtype == np.float32
    np.testing.assert_allclose(data.x_train[0, 0, :2, 0], [-1.0, 1.0])
    np.testing.assert_allclose(data.x_train[..., 0], images / 127.5 - 1, atol=1e-6)


def test_unit_floats_and_colour_are_accepted(tmp_path):
    images = np.random.default_rng(0).random((10, 4, 6, 3))
    data = te.datasets.load_npz(save(tmp_path / "a.npz", x_train=images))
    assert data.image_shape == (4, 6, 3)
    assert -1 <= data.x_train.min() <= data.x_train.max() <= 1


def test_without_a_test_part_a_fixed_fifth_is_held_out_with_its_labels(tmp_path):
    images, labels = uint8_images(50), np.arange(50)
    path = save(tmp_path / "a.npz", x_train=images, y_train=labels)
    first, second = te.datasets.load_npz(path), te.datasets.load_npz(path)
    assert len(first.x_test) == 10
    np.testing.assert_array_equal(first.y_test, second.y_test)
    assert sorted([*first.y_train, *first.y_test]) == list(range(50))
    np.testing.assert_allclose(first.x_test[..., 0], images[first.y_test] / 127.5 - 1, atol=1e-6)


def test_labels_of_either_part_are_optional(tmp_path):
    images = uint8_images()
    path = save(tmp_path / "a.npz", x_train=images, x_test=images[:4], y_test=np.arange(4))
    data = te.datasets.load_npz(path)
    assert data.y_train is None
    np.testing.assert_array_equal(data.y_test, np.arange(4))


BAD_ARRAYS = {
    "not finite": ({"x_train": np.full((10, 8, 8), np.nan)}, r"x_train in .*NaN.*image 0"),
    "int64": ({"x_train": np.zeros((10, 8, 8), np.int64)}, r"dtype int64; expected uint8"),
    "flat": ({"x_train": np.zeros((10, 64), np.uint8)}, r"shape \(10, 64\); expected"),
    "two channels": ({"x_train": np.zeros((10, 8, 8, 2), np.uint8)}, r"shape \(10, 8, 8, 2\)"),
    "empty": ({"x_train": np.zeros((0, 8, 8), np.uint8)}, r"shape \(0, 8, 8, 1\)"),
    "range": ({"x_train": np.full((10, 8, 8), 7.0)}, r"from 7 to 7; expected floats in \[0, 1\]"),
    "no x_train": ({"images": uint8_images()}, r"no array x_train; it holds images"),
    "objects": ({"x_train": np.array([{}, 1], dtype=object)}, r"pickled objects"),
    "too few labels": ({"x_train": uint8_images(), "y_train": np.zeros(9, int)}, r"y_train in"),
    "float labels": ({"x_train": uint8_images(), "y_train": np.zeros(10)}, r"float64; expected"),
    "negative label": ({"x_train": uint8_images(), "y_train": np.full(10, -1)}, r"holds -1"),
    "other test shape": (
        {"x_train": uint8_images(), "x_test": uint8_images(3, (4, 4))},
        r"x_test in .*\(4, 4, 1\); expected \(8, 8, 1\)",
    ),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_named_with_what_was_expected(tmp_path, name):
    arrays, message = BAD_ARRAYS[name]
    path = save(tmp_path / "bad.npz", **arrays)
    with pytest.raises(te.InputError, match=message) as error:
        te.datasets.load_npz(path)
    assert str(path) in str(error.value)


def damaged(path, kind):
    whole = save(path, x_train=uint8_images(200)).read_bytes()
    middle = len(whole) // 2
    content = {
        "truncated": whole[:middle],
        "flipped bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "text": b"hello",
        "empty": b"",
    }
    path.write_bytes(content[kind])
    return path


def test_a_member_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train", b"hello")
    with pytest.raises(te.InputError, match=r"x_train in .*bad\.npz is not a NumPy array"):
        te.datasets.load_npz(path)


def test_a_header_that_claims_too_much_is_named(tmp_path):
    path = tmp_path / "bad.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2**10)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(te.InputError, match=r"bad\.npz cannot be read"):
        te.datasets.load_npz(path)


def test_randomly_damaged_files_load_or_are_named(tmp_path):
    whole = np.frombuffer(save(tmp_path / "a.npz", x_train=uint8_images(4)).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.npz"
    for _ in range(300):
        content = whole.copy()
        content[rng.integers(len(whole), size=3)] ^= rng.integers(1, 256, size=3, dtype=np.uint8)
        path.write_bytes(content[: rng.integers(len(whole) // 2, len(whole) + 1)].tobytes())
        with contextlib.suppress(te.InputError):
            te.datasets.load_npz(path)


@pytest.mark.parametrize("part", ["x_train", "x_test"])
def test_a_single_image_is_too_few(tmp_path, part):
    arrays = {"x_train": uint8_images(), "x_test": uint8_images()} | {part: uint8_images(1)}
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(te.InputError, match=f"{part} in .* has 1 image; expected at least 2"):
        te.datasets.load_npz(path)


@pytest.mark.parametrize("kind", ["truncated", "flipped bit", "text", "empty"])
def test_a_damaged_file_is_named(tmp_path, kind):
    path = damaged(tmp_path / "bad.npz", kind)
    with pytest.raises(te.InputError, match=r"bad\.npz cannot be read as an \.npz archive"):
        te.datasets.load_npz(path)


def test_missing_files_folders_and_single_arrays_are_named(tmp_path):
    with pytest.raises(te.InputError, match="does not exist"):
        te.datasets.load_npz(tmp_path / "absent.npz")
    with pytest.raises(te.InputError, match="is a directory"):
        te.datasets.load_npz(tmp_path)
    np.save(tmp_path / "single.npy", uint8_images())
    with pytest.raises(te.InputError, match="single array"):
        te.datasets.load_npz(tmp_path / "single.npy")


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_table_has_its_columns_by_name(tmp_path):
    text = "\ufeff# strength of timber\nx, count ,y\n0.5,3,1e3\n\n-1, 4,nan\n"
    arrays = te.datasets.load_arrays(written(tmp_path / "a.CSV", text))
    assert list(arrays) == ["x", "count", "y"]
    np.testing.assert_array_equal(arrays["x"], [0.5, -1.0])
    assert arrays["count"].dtype == np.int64
    assert arrays["count"].tolist() == [3, 4]
    np.testing.assert_array_equal(arrays["y"], [1000.0, np.nan])


def test_quoted_cells_are_read(tmp_path):
    arrays = te.datasets.load_arrays(written(tmp_path / "a.csv", '"x","y"\r\n"1","2.5"\r\n'))
    assert (arrays["x"].tolist(), arrays["y"].tolist()) == ([1], [2.5])


def test_an_archive_and_an_object_hold_any_shape(tmp_path):
    expected = {"x": np.arange(6.0).reshape(2, 3), "n": 4, "is_on": True}
    np.savez(tmp_path / "a.npz", **expected)
    tree = {"x": expected["x"].tolist(), "n": 4, "is_on": True}
    written(tmp_path / "a.json", json.dumps(tree))
    for name in ("a.npz", "a.json"):
        arrays = te.datasets.load_arrays(tmp_path / name)
        np.testing.assert_array_equal(arrays["x"], expected["x"])
        assert (arrays["n"], arrays["is_on"]) == (4, True)
        assert isinstance(arrays["n"], int)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x\n1\n", r"a\.txt must end in \.npz, \.csv or \.json"),
        ("a.csv", "x,y\n1,2\n3\n", r"line 3 of .*a\.csv has 1 values; expected 2"),
        ("a.csv", "x,y\n1,two\n", r"line 2 of .*a\.csv: y must be a number, got 'two'"),
        ("a.csv", "# c\nx,y\n1,\n", r"line 3 of .*: y must be a number, got ''"),
        ("a.csv", "x,x\n1,2\n", "must name every column once"),
        ("a.csv", "x,\n1,2\n", "must name every column once"),
        ("a.csv", "x,y\n", "a row of names and rows of numbers"),
        ("a.csv", "", "a row of names and rows of numbers"),
        ("a.csv", b"x\n\xff\xfe\n", "is not UTF-8 text"),
        ("a.json", "{", r"a\.json is not JSON"),
        ("a.json", "[1, 2]", "must hold an object of arrays by name, got list"),
        ("a.json", '{"x": [[1, 2], [3]]}', r"x in .*a\.json is a list of rows of unequal length"),
        ("a.json", '{"x": "text"}', r"x in .*a\.json must hold numbers"),
        ("a.json", '{"x": null}', r"x in .*a\.json must hold numbers"),
        ("a.json", "{}", "holds no array"),
        ("a.npz", b"no archive", r"a\.npz cannot be read as an \.npz archive"),
    ],
)
def test_a_malformed_file_is_named_with_the_place(tmp_path, name, content, message):
    with pytest.raises(te.InputError, match=message):
        te.datasets.load_arrays(written(tmp_path / name, content))


def test_pickles_single_arrays_and_folders_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(te.InputError, match="pickled objects, which are never loaded"):
        te.datasets.load_arrays(tmp_path / "a.npz")
    with open(tmp_path / "b.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(te.InputError, match="is a single array"):
        te.datasets.load_arrays(tmp_path / "b.npz")
    (tmp_path / "c.csv").mkdir()
    with pytest.raises(te.InputError, match="is a directory"):
        te.datasets.load_arrays(tmp_path / "c.csv")
    with pytest.raises(te.InputError, match="does not exist"):
        te.datasets.load_arrays(tmp_path / "absent.csv")
