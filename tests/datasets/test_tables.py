import json

import numpy as np
import pytest

import tempered_ebm as te


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
