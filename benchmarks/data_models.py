"""Models of data over seeds: points of the plane, classifiers that are densities, autoencoders.

Every run is the command line in a process of its own, with its default or named settings, and is
judged on held-out data by its own evaluation. The seed is that of the parameters, chains and order
of the data, and for points also that of their draws. A run that is finished is not repeated, so
that the same command goes on where it was stopped.

Run with ``python -m benchmarks.data_models``; prints a table and writes JSON. Works on MNIST and
Fashion-MNIST need ``--data`` and are skipped without it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import environment


class Work(NamedTuple):
    """One model with its settings.

    ``images`` is the archive that it is trained on, and ``others`` those that its evaluation is
    to tell from it, in the folder of ``--data``.
    """

    command: str
    images: str | None = None
    others: tuple[str, ...] = ()


def _points(name: str, options: str = "") -> Work:
    return Work(f"data --dataset {name} {options}")


_OTHERS = ("mnist", "fashion_mnist", "notmnist_10k")

WORKS = {
    "eight Gaussians": _points("eight_gaussians"),
    "eight Gaussians, one temperature": _points("eight_gaussians", "--num-temperatures 1"),
    "checkerboard": _points("checkerboard"),
    "rings": _points("rings", "--step-size 0.03"),
    "eight Gaussians, rate 1e-3": _points("eight_gaussians", "--learning-rate 1e-3"),
    "checkerboard, rate 1e-3": _points("checkerboard", "--learning-rate 1e-3"),
    "rings, rate 1e-3": _points("rings", "--step-size 0.03 --learning-rate 1e-3"),
    "JEM, digits": Work("jem"),
    "autoencoder, digits": Work("autoencoder"),
    "JEM, MNIST": Work("jem --preset mnist-small", "mnist", _OTHERS[1:]),
    "JEM, Fashion-MNIST": Work("jem --preset fashion-small", "fashion_mnist", _OTHERS[::2]),
    "autoencoder, MNIST": Work("autoencoder --num-steps 8000", "mnist"),
    "data, MNIST": Work("data --preset mnist-small", "mnist"),
}


def _finished(folder: Path, command: list[str], others: list[Path]) -> float:
    """Train and evaluate unless that is done; CPU seconds, of a stopped run those since then."""
    measured = folder / "cpu_seconds.json"
    if measured.exists():
        return float(json.loads(measured.read_text()))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = [sys.executable, "-m", "tempered_ebm"]
    if (folder / "config.json").exists():
        command = [*program, "train", "--resume", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if others:
        subprocess.run(
            [*program, "evaluate", str(folder), "--others", *map(str, others)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    measured.write_text(json.dumps(seconds))
    return seconds


def run(name: str, seed: int, runs: Path, data: Path | None) -> dict[str, float] | None:
    """Numbers of one run, by their place in its evaluation; None without its data."""
    work = WORKS[name]
    if work.images is not None and data is None:
        return None
    arguments = work.command.split()
    label = "".join(c if c.isalnum() else "-" for c in name.lower()) + f"-{seed}"
    command = [sys.executable, "-m", "tempered_ebm", "train", *arguments]
    command += ["--seed", str(seed), "--output-dir", str(runs), "--name", label]
    if work.images is not None and data is not None:
        command += ["--dataset", "npz", "--data-file", str(data / f"{work.images}.npz")]
    elif arguments[0] == "data":
        command += ["--data-seed", str(seed)]
    others = [data / f"{other}.npz" for other in work.others] if data is not None else []
    folder = runs / label
    seconds = _finished(folder, command, others)
    numbers = flat(json.loads((folder / "evaluation.json").read_text()))
    events = folder / "events.csv"
    rollbacks = max(0, len(events.read_text().splitlines()) - 1) if events.exists() else 0
    return {**numbers, "rollbacks": rollbacks, "CPU seconds": seconds}


def flat(tree: Any, where: str = "") -> dict[str, float]:
    """Numbers of nested dictionaries and lists by their path; rows go by their name."""
    if isinstance(tree, bool) or not isinstance(tree, dict | list | int | float):
        return {}
    if isinstance(tree, int | float):
        return {where: float(tree)}
    items = (
        tree.items() if isinstance(tree, dict) else ((_name(i, v), v) for i, v in enumerate(tree))
    )
    prefix = f"{where} / " if where else ""
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}{key}").items()}


def _name(index: int, value: Any) -> str:
    return str(value["images"]) if isinstance(value, dict) and "images" in value else str(index)


def main() -> None:
    """Run, print and write down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_models")
    parser.add_argument("--works", nargs="*", choices=WORKS, default=list(WORKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--data", type=Path, help="folder with mnist.npz, fashion_mnist.npz, ...")
    parser.add_argument("--runs", type=Path, default=Path("runs/data_models"))
    default = Path(__file__).parent / "results" / "data_models-cpu.json"
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows = []
    print("| work | number | mean | standard deviation | seeds |\n|---|---|---|---|---|")
    for name in arguments.works:
        found = [run(name, seed, arguments.runs, arguments.data) for seed in arguments.seeds]
        results = [result for result in found if result is not None]
        if not results:
            print(f"| {name} | skipped: needs --data | | | |", flush=True)
            continue
        for key in results[0]:
            values = [result[key] for result in results]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
            rows.append({"work": name, "number": key, "values": values})
            print(
                f"| {name} | {key} | {np.mean(values):.4f} | {spread:.4f} | {len(values)} |",
                flush=True,
            )
    settings = {
        "seeds": arguments.seeds,
        "commands": {k: WORKS[k].command for k in arguments.works},
    }
    where = environment() | {"cpus": len(os.sched_getaffinity(0))}
    text = json.dumps({"environment": where, "settings": settings, "rows": rows}, indent=1)
    arguments.output.write_text(text + "\n")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
