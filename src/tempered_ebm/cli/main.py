"""The command line ``tempered-ebm``: errors, warnings and exit status, and the compilation cache.

Commands are train, sample, inpaint, denoise, evaluate, evidence, study and report.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax

from tempered_ebm.cli.commands import INTERRUPTED, parse, print_error
from tempered_ebm.errors import DivergedError, InputError

CACHE_VARIABLE = "TEMPERED_EBM_CACHE"
_CACHE_BYTES = 2**30
_CACHED_FROM_SECONDS = 0.1
_CACHE_WARNING = "Error (reading|writing) persistent compilation cache entry"


def enable_compilation_cache() -> Path | None:
    """Let JAX keep compiled programs on disk from one command to the next.

    They lie in ``$XDG_CACHE_HOME/tempered_ebm/xla`` or ``~/.cache/tempered_ebm/xla``, or where
    ``TEMPERED_EBM_CACHE`` says. There is no cache if that is ``off``, or if the folder cannot be
    made; one that JAX has already (``JAX_COMPILATION_CACHE_DIR``) stays.

    Returns:
        The folder, or None if nothing was changed.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    chosen = os.environ.get(CACHE_VARIABLE) or f"{caches}/tempered_ebm/xla"
    if chosen == "off" or jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return None
    try:
        folder = Path(chosen).expanduser()
        # Whoever can write here can have code run.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in folder.glob("*-cache"):
            # A killed process may leave an entry without the time of its last use, after which
            # JAX writes no other: it cannot tell which entry to remove for it.
            if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
                entry.unlink()
    except (OSError, RuntimeError):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _CACHED_FROM_SECONDS)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input and disk errors end in one line and a non-zero status.

    Args:
        arguments: words of the line; those of the process by default.

    Raises:
        SystemExit: always, with the status.
    """
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        enable_compilation_cache()
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            # An entry that cannot be read or written is done without.
            warnings.filterwarnings("ignore", message=_CACHE_WARNING, category=UserWarning)
            warnings.showwarning = lambda message, *_: print_error(f"warning: {message}")
            status = command.execute()
    except KeyboardInterrupt:
        print_error("interrupted")
        status = INTERRUPTED
    except InputError as error:
        print_error(str(error))
        status = 2
    except (OSError, DivergedError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            message = f"{error.filename}: {error.strerror}"
        print_error(message)
        status = 1
    raise SystemExit(status)
