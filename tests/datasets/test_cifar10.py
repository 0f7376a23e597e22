import codecs
import contextlib
import io
import os
import pickle
import subprocess

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.datasets import cifar10
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


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Name:
    """Pickles as a function or class by its name."""

    def __init__(self, function):
        self.function = function


def dumps(tree, protocol):
    """Pickle with names that the pickler itself would not write."""
    file = io.BytesIO()
    pickler = pickle._Pickler(file, protocol)
    pickler.dispatch = pickler.dispatch | {
        Name: lambda self, named: self.save_global(named.function)
    }
    pickler.dump(tree)
    return file.getvalue()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open({!r}, 'w')",), "eval"),
        (subprocess.run, (["touch", "{}"],), "run"),
        (np.load, ("{}",), "load"),
        (getattr, ("{}", "upper"), "getattr"),
    ],
)
def test_a_pickle_that_calls_is_refused_by_name_and_nothing_runs(
    tmp_path, function, arguments, name, protocol
):
    trace = tmp_path / "trace"
    arguments = [a.format(trace) if isinstance(a, str) else a for a in arguments]
    content = pickle.dumps({"labels": [1], "data": Call(function, *arguments)}, protocol)
    message = rf"data_batch_1 cannot be read as a pickle: it names \S+\.{name}; expected arrays"
    with pytest.raises(te.InputError, match=message):
        loaded_with(tmp_path, "data_batch_1", lambda path: path.write_bytes(content))
    assert not trace.exists()


RECONSTRUCT = np.zeros(1).__reduce__()[0]
NDARRAY = Name(np.ndarray)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([{}, 1], dtype=object), "it has an array of dtype 'O8'; expected numbers"),
        (np.array([(1, 2.0)], dtype="i4,f8"), "it has an array of dtype 'V12'"),
        (np.array(["a"]), "it has an array of dtype 'U1'"),
        (np.float64(1.0), r"it names numpy\.\S*multiarray\.scalar"),
        ({1, 2}, "it names __builtin__.set"),
        (Call(np.dtype, {"names": ["a"], "formats": ["u1"], "offsets": [2**40]}), "of dtype {"),
        (Call(np.dtype, "u1", False, True, {"metadata": 1}), "data in .* shape"),
        (Call(np.ndarray, (2**50,)), "'str' object is not callable"),
        (Call(RECONSTRUCT, NDARRAY, (2**50,), b"b"), "it makes an array in an unusual way"),
        (Call(RECONSTRUCT, NDARRAY, (0,), "O"), "it makes an array in an unusual way"),
        (Call(RECONSTRUCT, Name(np.dtype), (0,), b"b"), "it makes an array in an unusual way"),
        (Call(codecs.encode, "a", "hex"), "it encodes text in an unusual way"),
        (Call(codecs.encode, 5), "missing 1 required positional argument"),
    ],
)
def test_admitted_names_do_nothing_but_what_arrays_of_numbers_need(tmp_path, value, message):
    def write(path):
        path.write_bytes(dumps({"labels": [0], "data": value}, 2))

    with pytest.raises(te.InputError, match=message) as error:
        loaded_with(tmp_path, "data_batch_1", write)
    assert "data_batch_1" in str(error.value)


# Instructions that no pickler writes: a state for a class or function, new objects, memo
# entries far away, more bytes than there are.
PROGRAMS = {
    "state of a class": b"\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.",
    "state of a function": b"\x80\x02cnumpy\ndtype\nN}U\x08__name__U\x01xs\x86b.",
    "new object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "instance": b"(inumpy\ndtype\n.",
    "persistent id": b"\x80\x02U\x01xQ.",
    "memo entry": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "long bytes": b"\x80\x04\x8e" + (2**45).to_bytes(8, "little") + b"abc.",
    "extension": b"\x80\x02\x82\x01.",
    "no container": b"K\x01.",
    "list": b"].",
    "no stack": b"a.",
    "no memo": b"h\x05.",
    "text": b"hello",
    "empty": b"",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_strange_and_damaged_pickles_are_named(tmp_path, name):
    with pytest.raises(te.InputError, match="data_batch_1 cannot be read as a pickle"):
        loaded_with(tmp_path, "data_batch_1", lambda path: path.write_bytes(PROGRAMS[name]))
    assert np.dtype("u1").fields is None


def test_a_shape_that_its_bytes_do_not_fill_is_named(tmp_path):
    whole = dumps({"labels": [0], "data": np.zeros((1, 3072), np.uint8)}, 2)
    larger = whole.replace(b"K\x01M\x00\x0c\x86", b"K\x7fM\x00\x0c\x86")
    assert larger != whole
    with pytest.raises(te.InputError, match="data_batch_1 cannot be read as a pickle: buffer size"):
        loaded_with(tmp_path, "data_batch_1", lambda path: path.write_bytes(larger))


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_every_protocol_and_memory_order_are_read(tmp_path, protocol):
    images = np.asfortranarray(formats.planes(IMAGES))
    content = pickle.dumps({"labels": LABELS.tolist(), "data": images}, protocol)
    data = loaded_with(tmp_path, "data_batch_1", lambda path: path.write_bytes(content))
    np.testing.assert_array_equal(data.x_train, te.datasets.from_bytes(IMAGES))
    np.testing.assert_array_equal(data.y_train, LABELS)


def test_randomly_damaged_pickles_load_or_are_named(tmp_path):
    content = pickle.dumps(
        {b"labels": list(range(20)), b"data": np.zeros((3, 4), np.uint8), b"name": b"a"}, 2
    )
    whole = np.frombuffer(content, np.uint8)
    rng = np.random.default_rng(0)
    path = tmp_path / "bad"
    for _ in range(1_000):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(te.InputError):
            cifar10._read_pickle(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((9, 3071), np.uint8)}, r"data in .* shape \(9, 3071\); expected \(n, 3"),
        ({"data": np.zeros((9, 3072))}, "data in .* dtype float64; expected uint8"),
        ({"data": [1]}, r"data in .* shape \(1,\)"),
        ({"labels": [0] * 8}, "labels in .* has 8 labels; expected 9"),
        ({"labels": [0] * 8 + [10]}, "labels in .* from 0 to 10; expected 0-9"),
        ({"labels": [0] * 8 + [-1]}, "labels in .* from -1 to 0; expected 0-9"),
        ({"labels": [0] * 8 + ["cat"]}, "labels in .* no list of integers"),
    ],
)
def test_a_bad_batch_is_named(tmp_path, changes, message):
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
