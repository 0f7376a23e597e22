"""Two processes that divide a work, against one of them alone while the other waits."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import numpy as np

from benchmarks.scaling import child
from benchmarks.scaling.turns import Times, once, summary
from benchmarks.scaling.works import WORKS
from tempered_ebm.training.config import ParallelConfig
from tempered_ebm.training.devices import Devices, start

NAMES = ("mala", "training update")
NUM_PROCESSES = 2
_MODULE = "benchmarks.scaling.processes"


def _compare(name: str, devices: Devices, rounds: int) -> dict[str, Any]:
    """The work of process 0 alone and that of all, in turn."""
    work = WORKS[name]
    together = work.build(devices, work.size).run
    alone = work.build(Devices(), work.size).run if devices.is_main_process else None
    rows: list[tuple] = []
    for i in range(rounds + 1):
        devices.wait(f"{name} alone {i}")
        mine = once(alone) if alone else (np.nan, np.nan)
        devices.wait(f"{name} together {i}")
        rows.append((mine, once(together)))
    times = np.array(rows[1:])
    return (
        {"unit": work.unit, "size": work.size}
        | summary(Times(*times[:, 1].T), Times(*times[:, 0].T))
        | {"milliseconds_alone": 1e3 * float(np.median(times[:, 0, 0]))}
    )


def _child(coordinator: str, process_id: int, is_quick: bool) -> dict[str, Any]:
    config = ParallelConfig(
        coordinator=coordinator, num_processes=NUM_PROCESSES, process_id=process_id
    )
    devices = start(config)
    rows = {
        name: _compare(name, devices, 3 if is_quick else 11)
        for name in NAMES[: 1 if is_quick else None]
    }
    implementation = jax.config.jax_cpu_collectives_implementation
    devices.wait("end")
    devices.shutdown()
    return {"collectives": implementation, "works": rows}


def measure(quick: bool) -> dict[str, Any]:
    """Sampling and training by two processes of one thread each.

    Args:
        quick: sampling alone, few rounds.
    """
    address = child.free_address()
    flags, variables = child.SINGLE_THREADED, {"NPROC": "1"}
    processes = [
        child.start(_MODULE, address, i, int(quick), flags=flags, **variables)
        for i in range(NUM_PROCESSES)
    ]
    return {"flags": flags, **variables, **child.results(*processes)}


if __name__ == "__main__":
    print(json.dumps(_child(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")))
