"""What it takes to start: imports and commands in fresh processes, each beside ``import jax``.

Works are taken in turn on one core, and ratios are formed within a turn, so that other work on the
machine meets both sides. Run with ``python -m benchmarks.startup``; prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = "import jax"
IMPORTS = ("jax", "tempered_ebm", "blackjax", "numpyro")
TRAINING = (
    "train --latent-dim 8 --energy-widths 32 --generator-width 32 --batch-size 50 --num-steps 20 "
    "--no-evaluate"
)


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Context in which this process, and those that it starts, stay on one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _seconds(*arguments: str, cache: str = "off") -> float:
    environment = {**os.environ, "TEMPERED_EBM_CACHE": cache}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def _one_turn() -> dict[str, float]:
    command = ("-m", "tempered_ebm")
    seconds = {
        f"import {name}": _seconds("-c", f"import {name}")
        for name in IMPORTS
        if importlib.util.find_spec(name) is not None
    }
    for words in ("--help", "train --help"):
        seconds[f"tempered-ebm {words}"] = _seconds(*command, *words.split())
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            output = ("--output-dir", str(Path(folder) / state))
            seconds[f"tempered-ebm train, {state} cache"] = _seconds(
                *command, *TRAINING.split(), *output, cache=str(Path(folder) / "cache")
            )
    return seconds


def measure(repeats: int = 9) -> list[dict[str, Any]]:
    """Time every work ``repeats`` times, in turn.

    Args:
        repeats: turns, after one that warms the caches of the file system.

    Returns:
        A row for each work: its ``name``, and quartiles of its ``seconds`` and of their
        ``ratio`` to those of ``import jax`` in the same turn. NumPyro is left out if it is not
        installed.
    """
    with _on_one_core():
        _one_turn()
        turns = [_one_turn() for _ in range(repeats)]

    def quartiles(values: list[float]) -> list[float]:
        return np.quantile(values, (0.25, 0.5, 0.75)).tolist()

    return [
        {
            "name": name,
            "seconds": quartiles([turn[name] for turn in turns]),
            "ratio": quartiles([turn[name] / turn[REFERENCE] for turn in turns]),
        }
        for name in turns[0]
    ]


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="fresh processes of each work")
    rows = measure(parser.parse_args().repeats)
    print(f"| work | seconds | ratio to {REFERENCE} (quartiles) |\n|---|---|---|")
    for row in rows:
        low, middle, high = row["ratio"]
        print(f"| {row['name']} | {row['seconds'][1]:.2f} | {middle:.2f} [{low:.2f}, {high:.2f}] |")


if __name__ == "__main__":
    main()
