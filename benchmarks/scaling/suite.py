"""All parts of the scaling suite, one after the other."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.scaling import devices, growth, pictures, pod, processes, report
from benchmarks.timing import environment

_ROOT = Path(__file__).resolve().parents[2]


def measure(quick: bool) -> dict[str, Any]:
    """Devices, processes, growth, and the pod by formula; the first two in other processes.

    Args:
        quick: fewer repeats and sizes.
    """
    start = time.perf_counter()
    results = {
        "environment": environment(),
        "devices": devices.measure(quick),
        "processes": processes.measure(quick),
        "growth": growth.measure(quick),
        "pod": pod.measure(),
    }
    return results | {"quick": quick, "seconds": round(time.perf_counter() - start)}


def write(results: dict[str, Any]) -> None:
    """Put a result into the page: its tables and pictures."""
    page = _ROOT / "docs" / "scaling.md"
    page.write_text(report.fill(page.read_text(), results))
    pictures.write(results, page.parent / "images")


def main() -> None:
    """Measure, print and write down; a full run also updates the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--quick", action="store_true", help="a minute; leaves the page alone")
    parser.add_argument("--output", type=Path, help="where the JSON goes; leaves the page alone")
    arguments = parser.parse_args()
    results = measure(arguments.quick)
    name = f"scaling{'-quick' if arguments.quick else ''}-{jax.default_backend()}.json"
    path = arguments.output or _ROOT / "benchmarks" / "results" / name
    path.write_text(json.dumps(results, indent=1).replace("NaN", "null") + "\n")
    print(report.tables(results))
    print(f"written to {path}")
    if not arguments.quick and arguments.output is None:
        write(results)
