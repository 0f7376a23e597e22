import contextlib
import os
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempered_ebm as te
from tempered_ebm.datasets import load_inert_pickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def written(path, content):
    path.write_bytes(content)
    return path


@given(st.dictionaries(st.text() | st.binary() | st.integers(), PLAIN), st.integers(2, 4))
def test_plain_containers_come_back(tmp_path_factory, tree, protocol):
    path = written(tmp_path_factory.mktemp("p") / "a", pickle.dumps(tree, protocol))
    assert load_inert_pickle(path) == tree


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numbers_come_back(tmp_path, protocol, dtype, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4).astype(dtype), order=order)
    path = written(tmp_path / "a", pickle.dumps({"a": array, "again": array}, protocol))
    tree = load_inert_pickle(path)
    for key in tree:
        np.testing.assert_array_equal(tree[key], array)
        assert tree[key].dtype == array.dtype
        assert tree[key].flags.writeable


def test_strings_of_python_2_are_bytes(tmp_path):
    content = b"\x80\x02}(U\x06labels](K\x01K\x02eU\x04name" + b"T\x02\x00\x00\x00\xff\xfeu."
    assert load_inert_pickle(written(tmp_path / "a", content)) == {
        b"labels": [1, 2],
        b"name": b"\xff\xfe",
    }


class Calls:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open({!r}, 'w')",), "eval"),
        (subprocess.run, (["touch", "{}"],), "run"),
        (np.load, ("{}",), "load"),
    ],
)
def test_a_pickle_that_calls_is_refused_by_name_and_nothing_runs(
    tmp_path, function, arguments, name, protocol
):
    trace = tmp_path / "trace"
    arguments = [a.format(trace) if isinstance(a, str) else a for a in arguments]
    content = pickle.dumps({"labels": [1], "data": Calls(function, *arguments)}, protocol)
    with pytest.raises(te.InputError, match=rf"bad is refused: it asks for \S+{name}; expected"):
        load_inert_pickle(written(tmp_path / "bad", content))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([{}, 1], dtype=object), "arrays of dtype 'O8'"),
        (np.array([(1, 2.0)], dtype="i4,f8"), "arrays of dtype 'V12'"),
        (np.array(["a"]), "arrays of dtype 'U1'"),
        (np.float64(1.0), r"numpy\.\S*multiarray\.scalar"),
        ({1, 2}, "__builtin__.set"),
        (Calls(np.dtype, "u1", False, True, {"metadata": 1}), None),
        (Calls(np.ndarray, (2,)), "a call of ndarray with other arguments"),
    ],
)
def test_whatever_is_not_plain_is_refused(tmp_path, value, message):
    path = written(tmp_path / "bad", pickle.dumps({"a": value}, 2))
    if message is None:
        assert type(load_inert_pickle(path)["a"]).__name__ == "_DType"
        return
    with pytest.raises(te.InputError, match=f"bad is refused: it asks for {message}"):
        load_inert_pickle(path)


def test_states_and_instructions_of_objects_are_refused(tmp_path):
    array = pickle.dumps({"a": np.zeros(3, np.uint8)}, 2)
    larger = array.replace(b"K\x03\x85", b"K\x7f\x85")
    assert larger != array
    with pytest.raises(te.InputError, match=r"damaged pickle: an array of shape \(127,\)"):
        load_inert_pickle(written(tmp_path / "bad", larger))
    for content, what in (
        (b"\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.", "a state that"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
        (b"(inumpy\ndtype\n.", "the instruction INST"),
        (b"\x80\x02U\x01xQ.", "the instruction BINPERSID"),
    ):
        with pytest.raises(te.InputError, match=f"refused: it asks for {what}"):
            load_inert_pickle(written(tmp_path / "bad", content))


def test_damaged_files_are_named(tmp_path):
    whole = pickle.dumps({"labels": list(range(100)), "data": np.zeros(30, np.uint8)}, 2)
    path = tmp_path / "bad"
    for content in (b"", b"hello", whole[:40], b"K\x01.", b"].", b"a.", b"h\x05."):
        with pytest.raises(te.InputError, match=r"bad (is a damaged pickle|holds one)"):
            load_inert_pickle(written(path, content))
    with pytest.raises(te.InputError, match="does not exist"):
        load_inert_pickle(tmp_path / "absent")


def test_randomly_damaged_files_load_or_are_named(tmp_path):
    whole = np.frombuffer(
        pickle.dumps({b"labels": list(range(20)), b"data": np.zeros((3, 4), np.uint8)}, 2), np.uint8
    )
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        content = whole.copy()
        content[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
        with contextlib.suppress(te.InputError):
            load_inert_pickle(written(tmp_path / "bad", content.tobytes()))
