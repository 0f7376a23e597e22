"""Compiled programs of the command line, kept on disk from one command to the next.

They lie in ``$XDG_CACHE_HOME/tempered_ebm/xla`` or ``~/.cache/tempered_ebm/xla``. The environment
variable ``TEMPERED_EBM_CACHE`` names another folder, or is ``off``. Where JAX has a cache of
its own already (``JAX_COMPILATION_CACHE_DIR``), that one stays.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax

VARIABLE = "TEMPERED_EBM_CACHE"
MAX_BYTES = 2**30
"""Size at which programs that were not used for longest are removed."""
_MIN_SECONDS = 0.1
_COMPLAINTS = "Error (reading|writing) persistent compilation cache entry"


def folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where programs are kept; None if they are not.

    Args:
        environment: variables of the process.

    Example:
        >>> from tempered_ebm import compilation_cache
        >>> str(compilation_cache.folder({"XDG_CACHE_HOME": "/caches"}))
        '/caches/tempered_ebm/xla'
        >>> compilation_cache.folder({"TEMPERED_EBM_CACHE": "off"})
    """
    chosen = environment.get(VARIABLE)
    if chosen:
        return None if chosen == "off" else Path(chosen).expanduser()
    caches = Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "tempered_ebm" / "xla" if caches.is_absolute() else None


def enable() -> Path | None:
    """Let JAX keep compiled programs in :func:`folder`, unless it has a cache already.

    Nothing is raised: a folder that cannot be made or written is done without.

    Returns:
        The folder, or None if nothing was changed.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return None
    try:
        path = folder()
        if path is None or not _is_ready(path):
            return None
    except (OSError, RuntimeError):
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)
    return path


def ignore_complaints() -> None:
    """Silence JAX about entries that cannot be read or written: it compiles instead."""
    warnings.filterwarnings("ignore", message=_COMPLAINTS, category=UserWarning)


def _is_ready(path: Path) -> bool:
    """Make the folder, try to write there, and remove what a killed process left unfinished.

    JAX bounds the size of a cache only where it can lock it.
    """
    try:
        import filelock
    except ModuleNotFoundError:
        return False
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass
    try:
        with filelock.FileLock(path / ".lockfile", timeout=0):
            for entry in path.glob("*-cache"):
                # JAX writes the time of the last use after the entry, and needs it.
                if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
                    entry.unlink()
    except filelock.Timeout:
        pass
    return True
