"""Writers of the original formats, for tests of their readers; and where real samples lie."""

import gzip
import os
from pathlib import Path

import numpy as np

SHARED = Path(os.environ.get("TEMPERED_EBM_SHARED", Path(__file__).resolve().parents[3] / "shared"))
SAMPLES = SHARED / "data" / "samples"


def pixels(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def idx_bytes(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_idx(folder, images, labels, ending=""):
    """Four files; ``images`` and ``labels`` by part."""
    folder.mkdir(exist_ok=True)
    for prefix, part in (("train", 0), ("t10k", 1)):
        for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
            content = idx_bytes(array)
            path = folder / f"{prefix}-{kind}-ubyte{ending}"
            path.write_bytes(gzip.compress(content) if ending else content)
    return folder


def write_svhn(folder, part, images, labels):
    from scipy.io import savemat

    path = folder / f"{part}_32x32.mat"
    columns = {"X": np.moveaxis(images, 0, 3), "y": np.where(labels == 0, 10, labels)[:, None]}
    savemat(path, columns, do_compression=True)
    return path


def planes(images):
    """Records as CIFAR-10 has them: a red, a green and a blue plane."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_celeba(folder, n, partition=None):
    from PIL import Image

    images = folder / "img_align_celeba"
    images.mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, n + 1)]
    for i, name in enumerate(names):
        ramp = np.linspace(0, 12 * i, 178).astype(np.uint8)
        picture = np.broadcast_to(ramp[None, :, None], (218, 178, 3))
        Image.fromarray(np.ascontiguousarray(picture)).save(images / name, quality=95)
    if partition is not None:
        lines = "".join(f"{name} {part}\n" for name, part in zip(names, partition))
        (folder / "list_eval_partition.txt").write_text(lines)
    return folder
