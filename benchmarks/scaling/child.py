"""Parts of the suite that need a process, or several, with settings of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
SINGLE_THREADED = "--xla_disable_hlo_passes=cpu-parallel-task-assigner"
"""XLA otherwise divides a loop over elements among all threads of the pool of one device."""


def start(module: str, *arguments: object, flags: str = "", **variables: str) -> subprocess.Popen:
    """Start ``python -m module`` on the CPU with flags of XLA; its output is one line of JSON."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **variables}
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def results(*processes: subprocess.Popen) -> Any:
    """Wait for all, and read what the first of them wrote last.

    Raises:
        RuntimeError: if one failed; what it complained of is on the standard error already.
    """
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"failed: {[process.args for process in processes]}")
    return json.loads(outputs[0].strip().splitlines()[-1])


def free_address() -> str:
    """An address of this host where nobody listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"
