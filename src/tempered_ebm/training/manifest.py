"""The manifest of a checkpoint: what it holds, so that damage is noticed before it is used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tempered_ebm import _files


class Manifest(NamedTuple):
    """What is known of a checkpoint.

    Attributes:
        rollbacks: how often the run had been rolled back when it was written.
        metrics: newest metrics at the time, by name.
        files: SHA-256 of every file, by its path in the checkpoint.
    """

    rollbacks: int
    metrics: dict[str, float]
    files: dict[str, str]


def manifest_path(folder: Path, step: int) -> Path:
    """Where the manifest of a checkpoint lies, beside it."""
    return folder / f"{step}.manifest.json"


def _file_hashes(folder: Path, *, sync: bool = False) -> dict[str, str]:
    """SHA-256 of every file in a folder; with ``sync`` each is on disk when this returns."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
                if sync:
                    os.fsync(file.fileno())
    return hashes


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def write(folder: Path, step: int, rollbacks: int, metrics: Mapping[str, float]) -> None:
    """Read a finished checkpoint back and write its manifest: from here on it counts.

    Raises:
        OSError: if it cannot be written.
    """
    checkpoint = folder / str(step)
    files = _file_hashes(checkpoint, sync=True)
    for inner in (checkpoint, *(path for path in checkpoint.rglob("*") if path.is_dir())):
        sync_folder(inner)
    tree = {"rollbacks": rollbacks, "metrics": dict(metrics), "files": files}
    _files.write_json(manifest_path(folder, step), {**tree, "checksum": _checksum(tree)})
    sync_folder(folder)


def read(folder: Path, step: int) -> Manifest | None:
    """Manifest of a checkpoint, or None if it is damaged."""
    try:
        tree = json.loads(manifest_path(folder, step).read_bytes())
        checksum = tree.pop("checksum")
        return Manifest(**tree) if checksum == _checksum(tree) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def damage(folder: Path, step: int) -> str | None:
    """What is wrong with a checkpoint, in words, or None if every byte is as written."""
    manifest = read(folder, step)
    if manifest is None:
        return "its manifest is damaged"
    found = _file_hashes(folder / str(step))
    for name, digest in manifest.files.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != digest:
            return f"{name} is not as it was written"
    extra = sorted(set(found) - set(manifest.files))
    return f"{extra[0]} does not belong to it" if extra else None
