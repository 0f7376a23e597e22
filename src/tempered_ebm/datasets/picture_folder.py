"""Any folder of pictures, with a subfolder for each class if there are classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tempered_ebm.datasets import parts
from tempered_ebm.datasets.images import ImageDataset, split
from tempered_ebm.datasets.pictures import ENDINGS, Treatment, read_pictures
from tempered_ebm.datasets.preprocess import ResizeMethod
from tempered_ebm.errors import InputError

CACHE = ".tempered_ebm_cache"


def load_folder(
    data_dir: Path | str,
    image_size: int | None = None,
    *,
    grayscale: bool = False,
    method: ResizeMethod = "bilinear",
    cache_dir: Path | str | None = None,
) -> ImageDataset:
    """Load the PNG and JPEG files of a folder.

    Pictures lie in the folder itself, or in a subfolder for each class: then labels number the
    subfolders in alphabetical order. If there are folders ``train`` and ``test``, each is laid
    out like that and they are the two parts; else a fixed fifth is held out. Folders and files
    whose names begin with a dot are passed over, and so are files with other endings.

    Args:
        data_dir: the folder.
        image_size: height and width in pixels that the centre square of every picture is brought
            to. Without it all pictures must have one size, and keep it.
        grayscale: whether to make one channel of the colours.
        method: how to resize, as for :func:`resize`; results are rounded to bytes.
        cache_dir: where decoded pictures are kept; ``.tempered_ebm_cache`` in the folder by
            default. A file there is named by a checksum of names, sizes and times of the pictures
            and of the settings.

    Returns:
        Images in the order of their paths, (n, height, width, 3 or 1).

    Raises:
        InputError: if there are fewer than 2 pictures in a part, pictures lie both in the folder
            and in subfolders, a picture is damaged, or sizes differ. The message names the file.

    Example:
        >>> import pathlib, tempfile, numpy as np, tempered_ebm as te
        >>> from PIL import Image
        >>> path = pathlib.Path(tempfile.mkdtemp())
        >>> for i in range(10):
        ...     Image.fromarray(np.full((6, 8), 20 * i, np.uint8)).save(path / f"{i}.png")
        >>> te.datasets.load_folder(path, image_size=4).x_train.shape
        (8, 4, 4, 3)
    """
    root = parts.folder(data_dir)
    treatment = Treatment(image_size, grayscale, method)
    treatment.validate()
    cache = root / CACHE if cache_dir is None else Path(cache_dir)
    if not ((root / "train").is_dir() and (root / "test").is_dir()):
        files, labels = _listed(root, None)
        whole = parts.Part(read_pictures(files, root, treatment, cache), labels)
        train, test = (_rows(whole, index) for index in split(len(files)))
        return parts.assemble(root.absolute().name, train, test)
    classes = _classes(root / "train")
    listed = [_listed(root / name, classes) for name in ("train", "test")]
    train, test = (parts.Part(read_pictures(f, root, treatment, cache), y) for f, y in listed)
    dataset = parts.assemble(root.absolute().name, train, test)
    if dataset.x_test.shape[1:] != dataset.image_shape:
        raise InputError(
            f"{listed[1][0][0]} has shape {dataset.x_test.shape[1:]}; expected "
            f"{dataset.image_shape}, as in {root / 'train'}, or an image_size"
        )
    is_labelled = dataset.y_train is not None and dataset.y_test is not None
    return dataset if is_labelled else dataclasses.replace(dataset, y_train=None, y_test=None)


def _rows(part: parts.Part, index: np.ndarray) -> parts.Part:
    labels = None if part.labels is None else part.labels[index]
    return parts.Part(part.pixels[index], labels)


def _classes(path: Path) -> list[str]:
    return sorted(d.name for d in path.iterdir() if d.is_dir() and not d.name.startswith("."))


def _pictures(path: Path) -> list[Path]:
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    )


def _listed(path: Path, classes: Sequence[str] | None) -> tuple[list[Path], np.ndarray | None]:
    """Pictures and labels; labels number ``classes``, or the subfolders if those are None."""
    loose, names = _pictures(path), _classes(path)
    by_class = {name: _pictures(path / name) for name in names}
    inner = [file for files in by_class.values() for file in files]
    if loose and inner:
        raise InputError(
            f"data_dir {path} has pictures both in it ({loose[0].name}) and in subfolders "
            f"({inner[0].relative_to(path)}); expected one or the other"
        )
    if len(files := loose or inner) < 2:
        raise InputError(
            f"data_dir {path} has {len(files)} pictures; expected at least 2 PNG or JPEG files"
        )
    if not inner:
        return files, None
    numbered = [name for name in names if by_class[name]] if classes is None else list(classes)
    unknown = [name for name in names if by_class[name] and name not in numbered]
    if unknown:
        raise InputError(
            f"data_dir {path} has a subfolder {unknown[0]}; expected classes of the training "
            f"part, {', '.join(numbered) or 'which has none'}"
        )
    labels = [numbered.index(name) for name in names for _ in by_class[name]]
    return files, np.array(labels, np.int32)
