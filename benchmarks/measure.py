"""Rows of one work: every competitor prepared, called in turn, and held against ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import ceilings
from benchmarks.memory import peak_bytes
from benchmarks.work import Prepared, Work

OURS = "tempered_ebm"
PRODUCTS = "its matrix products alone"
COPY = "copy of a large array"
MOST_SECONDS = 60.0
_FEWEST = 3


def _prepare(factory: Callable[[], Prepared]) -> Prepared | str:
    """A competitor, or in words why there is none."""
    try:
        prepared = factory()
        prepared.call()
        return prepared
    except ImportError as error:
        return f"not available: {error}"
    except Exception as error:
        # A peer that fails is reported, and the others are measured.
        return f"failed: {type(error).__name__}: {str(error).splitlines()[0]}"


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def quartiles(values: np.ndarray) -> list[float]:
    """First quartile, median, third quartile."""
    return [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each call, (rounds,), all of them once in every round.

    No more than ``repeats`` rounds; and after three none beyond ``MOST_SECONDS``.
    """
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    while len(rounds) < repeats:
        if len(rounds) >= _FEWEST and time.perf_counter() - start > MOST_SECONDS:
            break
        rounds.append({name: _seconds(call) for name, call in calls.items()})
    return {name: np.array([r[name] for r in rounds]) for name in calls}


def rows(work: Work, repeats: int) -> list[dict[str, Any]]:
    """Measure a work.

    Args:
        work: what to measure; the first competitor is ours, and so are all whose names begin
            as its name does.
        repeats: rounds.

    Returns:
        A dictionary for each competitor: ``seconds`` (quartiles), ``ratio`` to each of ours by
        name (quartiles, pair by pair: above 1 ours is faster), compile time, memory, shares of
        the ceilings and the goal; or ``skipped``, the reason.
    """
    ready: dict[str, Prepared] = {}
    skipped: dict[str, str] = {}
    for name, factory in work.competitors.items():
        prepared = _prepare(factory)
        if isinstance(prepared, str):
            skipped[name] = prepared
        else:
            ready[name] = prepared
    ours = [name for name in ready if name.startswith(OURS)]
    if not ours:
        first = next(iter(work.competitors))
        raise RuntimeError(f"{work.name}: {first} {skipped.get(first, 'is not ours')}")
    peaks = {name: peak_bytes(prepared.call) for name, prepared in ready.items()}
    limits = {}
    if work.gemms and work.flops:
        per_step = 2.0 * sum(m * k * n for m, k, n in work.gemms)
        limits[PRODUCTS] = ceilings.products(work.gemms, round(work.flops / per_step))()
    if work.bytes:
        limits[COPY] = ceilings.copy()()
    calls = {name: prepared.call for name, prepared in (ready | limits).items()}
    times = in_turn(calls, repeats)
    found = []
    for name, prepared in ready.items():
        row: dict[str, Any] = {
            "work": work.name,
            "competitor": name,
            "seconds": quartiles(times[name]),
            "ratio": {o: quartiles(times[name] / times[o]) for o in ours if o != name},
            "compile_seconds": prepared.compile_seconds,
            "planned_bytes": prepared.planned_bytes,
            "peak_bytes": peaks[name],
        }
        threads = getattr(prepared.call, "threads", None)
        if threads is not None:
            row["threads"] = threads
        if PRODUCTS in times:
            row["share_of_products"] = quartiles(times[PRODUCTS] / times[name])
            row["flops_per_second"] = work.flops / float(np.median(times[name]))
        if COPY in times and work.bytes:
            at_most = ceilings.COPY_BYTES / times[COPY]
            row["share_of_bandwidth"] = quartiles(work.bytes / times[name] / at_most)
        if name in work.goals:
            row["goal"] = work.goals[name]._asdict()
        found.append(row)
    missing = [{"work": work.name, "competitor": n, "skipped": why} for n, why in skipped.items()]
    return found + missing


def best_ratio(row: dict[str, Any]) -> tuple[str, Sequence[float]] | None:
    """The one of ours that beats this competitor by most, and by how much."""
    if not row.get("ratio"):
        return None
    return max(row["ratio"].items(), key=lambda item: item[1][1])
