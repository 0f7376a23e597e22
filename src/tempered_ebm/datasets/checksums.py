"""Checksums: of what was loaded, and of the files that the authors of data sets published."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tempered_ebm.datasets import parts
from tempered_ebm.datasets.images import ImageDataset
from tempered_ebm.datasets.toy import PointDataset
from tempered_ebm.errors import InputError

_IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _table(names: tuple[str, ...], digests: str) -> Mapping[str, str]:
    return MappingProxyType(dict(zip(names, digests.split())))


PUBLISHED_MD5: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "mnist": _table(
            _IDX,
            "f68b3c2dcbeaaa9fbdd348bbdeb94873 d53e105ee54ea40749a09fcbcd1e9432 "
            "9fb629c4189551a2d022fa330f9573f3 ec29112dd5afa0611ce80d1b7f02629c",
        ),
        "fashion_mnist": _table(
            _IDX,
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe "
            "bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310",
        ),
        "kmnist": _table(
            _IDX,
            "bdb82020997e1d708af4cf47b453dcf7 e144d726b3acfaa3e44228e80efcd344 "
            "5c965bf0a639b31b8f53240b1b52f4d7 7320c461ea6c1c855c0b718fb2a4b134",
        ),
        "svhn": _table(
            ("train_32x32.mat", "test_32x32.mat"),
            "e26dedcc434d2e4c54c9b2d4a06d8373 eb5a983be6a315427106f1b164d9cef3",
        ),
        "cifar10": _table(
            (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
            "c99cafc152244af753f735de768cd75f d4bba439e000b95fd0a9bffe97cbabec "
            "54ebc095f3ab1f0389bbae665268c751 634d18415352ddfa80567beed471001a "
            "482c414d41f54cd18b22e5b47cb7c3cb 40351d587109b95175f43aff81a1287e",
        ),
    }
)
"""MD5 of the files as published, by data set and file name (CIFAR-10: the Python version)."""


def checksum(dataset: ImageDataset | PointDataset) -> int:
    """CRC-32 of the training data, in order: what a run folder knows its data by.

    Args:
        dataset: images (n, height, width, channels) or points (n, 2), float32.

    Returns:
        An integer in [0, 2**32).

    Example:
        >>> import tempered_ebm as te
        >>> digits = te.datasets.load_digits()
        >>> te.datasets.checksum(digits) == te.datasets.checksum(te.datasets.load_digits())
        True
    """
    return zlib.crc32(np.ascontiguousarray(dataset.x_train).data)


def verify_published(name: str, data_dir: Path | str) -> None:
    """Require that a folder has the files of a data set exactly as its authors published them.

    MD5 tells accidents, such as a broken download or a subset under the same names; it does not
    withstand an attacker.

    Args:
        name: a key of ``PUBLISHED_MD5``.
        data_dir: folder with the files.

    Raises:
        InputError: if no checksums are known for ``name``, or a file is missing or differs. The
            message names the file and both checksums.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.verify_published("digits", ".")
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: name must be one of cifar10, fashion_mnist, kmnist, mnist,
        svhn, got 'digits'
    """
    if name not in PUBLISHED_MD5:
        raise InputError(f"name must be one of {', '.join(sorted(PUBLISHED_MD5))}, got {name!r}")
    root = parts.folder(data_dir)
    for file, expected in PUBLISHED_MD5[name].items():
        if not (root / file).is_file():
            raise InputError(f"data_dir {root} has no file {file}")
        with open(root / file, "rb") as content:
            found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
        if found.hexdigest() != expected:
            raise InputError(
                f"{root / file} has MD5 {found.hexdigest()}; expected {expected}, as published"
            )
