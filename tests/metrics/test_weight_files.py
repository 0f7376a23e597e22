import json
import struct

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics.weight_files import require_tensors


def write_safetensors(path, arrays, **changes):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        stop = len(data) + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), stop]}
        header[name] |= changes
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_safetensors_are_read(tmp_path):
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.float32([7])}
    write_safetensors(tmp_path / "w.safetensors", arrays)
    found = metrics.read_weights(tmp_path / "w.safetensors")
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], arrays["a"])


def test_damaged_safetensors_are_named(tmp_path):
    path, arrays = tmp_path / "w.safetensors", {"a": np.zeros(3, np.float32)}
    for changes in ({"shape": [4]}, {"dtype": "X"}, {"data_offsets": [0, 99]}):
        write_safetensors(path, arrays, **changes)
        with pytest.raises(te.InputError, match=r"w.safetensors cannot be read as safetensors"):
            metrics.read_weights(path)
    for content in (b"", b"\xff" * 20):
        path.write_bytes(content)
        with pytest.raises(te.InputError, match=r"w.safetensors cannot be read as safetensors"):
            metrics.read_weights(path)


def test_other_files_are_named(tmp_path):
    with pytest.raises(te.InputError, match=r"none.npz does not exist"):
        metrics.read_weights(tmp_path / "none.npz")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(te.InputError, match=r"must end in .pth, .pt, .npz or .* got '.h5'"):
        metrics.read_weights(tmp_path / "weights.h5")


def test_tensors_are_asked_for_by_name_shape_and_finiteness():
    shapes = {"a": (2,), "b": (3,)}
    good = {"a": np.zeros(2), "b": np.zeros(3, np.float16), "more": np.zeros(1)}
    assert set(require_tensors("f", good, shapes)) == {"a", "b"}
    with pytest.raises(te.InputError, match=r"f has no tensor b of shape \(3,\).* 1 are missing"):
        require_tensors("f", {"a": good["a"]}, shapes)
    with pytest.raises(te.InputError, match=r"b in f must have shape \(3,\), got \(4,\)"):
        require_tensors("f", good | {"b": np.zeros(4)}, shapes)
    with pytest.raises(te.InputError, match="a in f must be finite real numbers"):
        require_tensors("f", good | {"a": np.full(2, np.nan)}, shapes)
