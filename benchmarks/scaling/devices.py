"""Strong and weak scaling over host devices, all of them in one process."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax

from benchmarks.scaling import child, communication
from benchmarks.scaling.turns import in_turn, summary
from benchmarks.scaling.works import WORKS, Program, Work
from tempered_ebm import sharding
from tempered_ebm.training.devices import Devices

COUNTS = (1, 2, 4, 8)
SECOND = ("mala", "training update")
QUICK = ("mala",)
_WEAK_SHARE = 4
_FORCED = f"--xla_force_host_platform_device_count={COUNTS[-1]}"
SETTINGS = {
    "one thread for loops": f"{_FORCED} {child.SINGLE_THREADED}",
    "XLA's default": _FORCED,
}


def _on(count: int) -> Devices:
    return Devices(sharding.data_mesh(jax.devices()[:count]))


def _scaling(work: Work, counts: tuple[int, ...], rounds: int) -> tuple[dict[str, Any], Program]:
    """Both kinds of scaling, and the program of all devices."""
    share = work.size // _WEAK_SHARE
    sizes = {
        "strong": {n: work.size for n in counts},
        "weak": {n: n * share for n in counts},
    }
    pairs = dict.fromkeys((n, size[n]) for size in sizes.values() for n in counts)
    programs = {pair: work.build(_on(pair[0]), pair[1]) for pair in pairs}
    times = in_turn({pair: program.run for pair, program in programs.items()}, rounds)
    rows = {
        kind: {
            str(n): summary(times[n, size[n]], times[1, size[1]], size[n] / size[1]) for n in counts
        }
        for kind, size in sizes.items()
    }
    last = programs[counts[-1], work.size]
    return {"unit": work.unit, "size": work.size, "share": share, **rows}, last


def _child(setting: str, is_quick: bool) -> dict[str, Any]:
    is_full = setting == next(iter(SETTINGS)) and not is_quick
    rows = {}
    for name in QUICK if is_quick else WORKS if is_full else SECOND:
        counts = COUNTS if is_full else COUNTS[:2]
        rows[name], program = _scaling(WORKS[name], counts, 3 if is_quick else 7)
        found = communication.collectives(program.text)
        rows[name]["communication"] = communication.totals(found)
        jax.clear_caches()
    return {"flags": SETTINGS[setting], "works": rows}


def measure(quick: bool) -> dict[str, Any]:
    """Every work on 1, 2, 4 and 8 devices, and two on 1 and 2 where XLA may use all threads.

    Args:
        quick: one work on 1 and 2 devices, few rounds.
    """
    settings = list(SETTINGS)[: 1 if quick else None]
    return {
        setting: child.results(child.start(__name__, setting, int(quick), flags=SETTINGS[setting]))
        for setting in settings
    }


if __name__ == "__main__":
    print(json.dumps(_child(sys.argv[1], sys.argv[2] == "1")))
