"""What a compiled program sends between devices, read from its HLO."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")

_BYTES = {"pred": 1, "c64": 8, "c128": 16}
_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"(pred|bf16|[a-z]+\d+(?:e\d\w+)?)\[([\d,]*)\]")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CALLED = re.compile(r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
_WHILE = re.compile(r" while\(.*body=%?([\w.\-]+)")


class Collective(NamedTuple):
    """One instruction that communicates.

    Attributes:
        kind: one of ``KINDS``.
        num_bytes: size of what every device has afterwards.
        times: how often a run of the program executes it; within a loop of unknown length,
            once for each run of the loop.
        in_loop: whether it stands in the body of a loop.
    """

    kind: str
    num_bytes: int
    times: int
    in_loop: bool


def num_bytes(shape: str) -> int:
    """Bytes of an HLO shape, of all arrays of a tuple.

    Example:
        >>> num_bytes("(f32[3,4]{1,0}, bf16[])")
        50
    """
    return sum(_array_bytes(*array) for array in _ARRAY.findall(shape))


def _array_bytes(dtype: str, sizes: str) -> int:
    bits = re.search(r"\d+", dtype)
    size = _BYTES.get(dtype) or max(int(bits[0]) if bits else 8, 8) // 8
    for n in filter(None, sizes.split(",")):
        size *= int(n)
    return size


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Lines of every computation, and the name of the first to run."""
    bodies: dict[str, list[str]] = {}
    entry, current = "", None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = bodies.setdefault(header[1], [])
            entry = header[1] if line.startswith("ENTRY") else entry
        elif current is not None:
            current.append(line)
    return bodies, entry


def _result_bytes(kind: str, shape: str, is_start: bool) -> int:
    """An asynchronous start returns operands and results, but for all-reduce."""
    arrays = _ARRAY.findall(shape)
    if is_start and kind != "all-reduce":
        arrays = [array for array in arrays if array != ("u32", "")]
        arrays = arrays[len(arrays) // 2 :]
    return sum(_array_bytes(*array) for array in arrays)


def collectives(text: str) -> list[Collective]:
    """Every collective of a program that runs, with how often it does.

    Args:
        text: ``compiled.as_text()``.
    """
    bodies, entry = _computations(text)
    found: list[Collective] = []

    def visit(name: str, times: int, in_loop: bool) -> None:
        for line in bodies.get(name, ()):
            match = _COLLECTIVE.search(line)
            if match:
                kind, size = match[2], _result_bytes(match[2], match[1], bool(match[3]))
                found.append(Collective(kind, size, times, in_loop))
                continue
            loop = _WHILE.search(line)
            if loop:
                trips = _TRIPS.search(line)
                visit(loop[1], times * (int(trips[1]) if trips else 1), True)
                continue
            branches = [n.strip(" %") for b in _BRANCHES.findall(line) for n in b.split(",")]
            for called in (*_CALLED.findall(line), *branches):
                visit(called, times, in_loop)

    visit(entry, 1, False)
    return found


def totals(found: Iterable[Collective]) -> dict[str, dict[str, int]]:
    """Executions and bytes of each kind, and how many of the executions are in loops."""
    result: dict[str, dict[str, int]] = {}
    for item in found:
        row = result.setdefault(item.kind, {"count": 0, "bytes": 0, "in_loop": 0})
        row["count"] += item.times
        row["bytes"] += item.times * item.num_bytes
        row["in_loop"] += item.times * item.in_loop
    return result
