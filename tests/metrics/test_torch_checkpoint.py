"""The reader of checkpoints, on files written here: PyTorch is needed for none of them."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from types import ModuleType
from unittest import mock

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics

TORCH, UTILS = ModuleType("torch"), ModuleType("torch._utils")


def named(module, name):
    """A function that a pickle knows by this name alone."""
    function = type(name, (), {"__module__": module.__name__, "__qualname__": name})
    setattr(module, name, function)
    return function


STORAGES = {kind: named(TORCH, f"{kind}Storage") for kind in ("Float", "Long", "BFloat16")}
REBUILD = named(UTILS, "_rebuild_tensor_v2")


class Storage:
    def __init__(self, key, kind, array):
        self.key, self.kind, self.array = key, kind, array


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return REBUILD, self.arguments


class Pickler(pickle.Pickler):
    view: tuple = ()

    def persistent_id(self, value):
        if isinstance(value, Storage):
            kind, size = STORAGES[value.kind], value.array.size
            return ("storage", kind, value.key, "cpu", size, *self.view)
        return None


class LegacyPickler(Pickler):
    view = (None,)


def dumps(tree, pickler):
    file = io.BytesIO()
    with mock.patch.dict("sys.modules", {"torch": TORCH, "torch._utils": UTILS}):
        pickler(file, protocol=2).dump(tree)
    return file.getvalue()


def write_zip(path, tree, storages):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", dumps(tree, Pickler))
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())


def write_legacy(path, tree, storages):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [0x1950A86A20F9469CFC6C, 1001, system]
    content = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    content += dumps(tree, LegacyPickler)
    content += pickle.dumps([storage.key for storage in storages], protocol=2)
    for storage in storages:
        content += struct.pack("<q", storage.array.size) + storage.array.tobytes()
    path.write_bytes(content)


LAYOUTS = pytest.mark.parametrize("write", [write_zip, write_legacy])


@LAYOUTS
def test_tensors_of_every_make_are_read(tmp_path, write):
    numbers = Storage("0", "Float", np.arange(12, dtype="<f4"))
    count = Storage("1", "Long", np.array([7], "<i8"))
    half = Storage("2", "BFloat16", np.array([0x3FC0], "<u2"))
    tree = OrderedDict(
        whole=Tensor(numbers, 0, (3, 4), (4, 1)),
        transposed=Tensor(numbers, 0, (4, 3), (1, 4)),
        part=Tensor(numbers, 5, (2,), (3,)),
        empty=Tensor(numbers, 0, (0, 4), (4, 1)),
        count=Tensor(count, 0, (), ()),
        half=Tensor(half, 0, (1,), (1,)),
    )
    tree._metadata = OrderedDict(version=1)
    path = tmp_path / "weights.pth"
    write(path, tree, [numbers, count, half])
    found = metrics.read_torch_checkpoint(path)
    whole = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["transposed"], whole.T)
    np.testing.assert_array_equal(found["part"], [5, 8])
    assert found["empty"].shape == (0, 4)
    assert found["count"] == 7
    assert found["half"].astype(np.float32) == 1.5


class Malice:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@LAYOUTS
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.mkdir, "made", "mkdir"),
        (eval, "__import__('os').mkdir('made')", "eval"),
        (getattr, (1, "real"), "getattr"),
    ],
)
def test_other_names_are_refused_and_not_called(
    tmp_path, monkeypatch, write, function, argument, name
):
    monkeypatch.chdir(tmp_path)
    arguments = argument if isinstance(argument, tuple) else (argument,)
    write(tmp_path / "bad.pth", OrderedDict(weight=Malice(function, *arguments)), [])
    with pytest.raises(te.InputError, match=rf"bad.pth is refused: it asks for \w+\.{name},"):
        metrics.read_torch_checkpoint(tmp_path / "bad.pth")
    assert not (tmp_path / "made").exists()


def test_attributes_of_the_words_it_knows_cannot_be_set(tmp_path):
    """A BUILD instruction with a state for the function that rebuilds tensors."""
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01s\x86b."
    path = tmp_path / "bad.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    with pytest.raises(te.InputError, match=r"bad.pth cannot be read as a PyTorch checkpoint"):
        metrics.read_torch_checkpoint(path)


@LAYOUTS
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((4, 4), (4, 1), 0), ((3, 4), (4, 1), 1), ((3,), (6,), 0), ((10**9,), (0,), 0)],
)
def test_a_tensor_stays_within_its_storage(tmp_path, write, shape, strides, offset):
    numbers = Storage("0", "Float", np.arange(12, dtype="<f4"))
    path = tmp_path / "bad.pth"
    write(path, OrderedDict(x=Tensor(numbers, offset, shape, strides)), [numbers])
    with pytest.raises(te.InputError, match="reaches outside of its storage"):
        metrics.read_torch_checkpoint(path)


@LAYOUTS
def test_negative_numbers_and_other_trees_are_refused(tmp_path, write):
    numbers = Storage("0", "Float", np.arange(2, dtype="<f4"))
    path = tmp_path / "bad.pth"
    write(path, OrderedDict(x=Tensor(numbers, -1, (1,), (1,))), [numbers])
    with pytest.raises(te.InputError, match="are not natural numbers"):
        metrics.read_torch_checkpoint(path)
    write(path, OrderedDict(epoch=3), [])
    with pytest.raises(te.InputError, match="its entry 'epoch' is a int, not a tensor"):
        metrics.read_torch_checkpoint(path)
    write(path, [1, 2], [])
    with pytest.raises(te.InputError, match="it holds a list, not tensors by name"):
        metrics.read_torch_checkpoint(path)


@LAYOUTS
def test_a_file_cut_anywhere_is_an_error_that_names_it(tmp_path, write):
    numbers = Storage("0", "Float", np.arange(40, dtype="<f4"))
    path = tmp_path / "cut.pth"
    write(path, OrderedDict(x=Tensor(numbers, 0, (40,), (1,))), [numbers])
    whole = path.read_bytes()
    for stop in range(0, len(whole), 7):
        path.write_bytes(whole[:stop])
        with pytest.raises(te.InputError, match=r"weights file .*cut.pth cannot be read"):
            metrics.read_torch_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(te.InputError, match=r"weights file .*none.pth cannot be read"):
        metrics.read_torch_checkpoint(tmp_path / "none.pth")
