"""The tables of a result in Markdown, as docs/scaling.md shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.pages import put


def _table(header: tuple[str, ...], rows: Iterable[tuple]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _spread(values: list[float]) -> str:
    low, middle, high = values
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def devices(setting: dict[str, Any], kind: str) -> str:
    """Work per second against one device, medians with quartiles.

    Args:
        setting: one of the results of :func:`benchmarks.scaling.devices.measure`.
        kind: ``strong`` or ``weak``.
    """
    works = setting["works"]
    counts = [n for n in next(iter(works.values()))[kind] if n != "1"]

    def line(name: str, row: dict) -> tuple:
        first = f"{row[kind]['1']['milliseconds']:.0f}"
        size = row["size"] if kind == "strong" else row["share"]
        return (
            f"{name}, {size} {row['unit']}",
            first,
            *(_spread(row[kind][n]["speedup"]) for n in counts),
        )

    header = ("work", "one device, ms", *(f"{n} devices" for n in counts))
    return _table(header, (line(*item) for item in works.items()))


def processor_time(setting: dict[str, Any]) -> str:
    """Cores that one device keeps busy, and processor seconds of the same work on more."""
    works = setting["works"]
    counts = [n for n in next(iter(works.values()))["strong"] if n != "1"]
    rows = (
        (
            name,
            f"{row['strong']['1']['cores']:.2f}",
            *(_spread(row["strong"][n]["cpu"]) for n in counts),
        )
        for name, row in works.items()
    )
    return _table(("work", "cores, 1 device", *(f"{n} devices" for n in counts)), rows)


def communication(setting: dict[str, Any]) -> str:
    """Collectives of one run on all devices."""
    rows = []
    for name, row in setting["works"].items():
        if not row["communication"]:
            rows.append((name, "none", 0, 0, 0))
        for kind, total in row["communication"].items():
            rows.append((name, kind, total["count"], total["in_loop"], f"{total['bytes']:,}"))
    return _table(("work", "collective", "executions", "of them in loops", "bytes"), rows)


def processes(result: dict[str, Any]) -> str:
    """Two processes against one."""
    rows = (
        (
            f"{name}, {row['size']} {row['unit']}",
            f"{row['milliseconds_alone']:.0f}",
            f"{row['milliseconds']:.0f}",
            _spread(row["speedup"]),
            _spread(row["cpu"]),
        )
        for name, row in result["works"].items()
    )
    header = ("work", "one process, ms", "two, ms", "speed-up", "processor seconds of one of two")
    return _table(header, rows)


def growth(result: dict[str, Any]) -> str:
    """Fitted exponents along each axis."""
    rows = (
        (
            name,
            f"{row['sizes'][0]} to {row['sizes'][-1]}",
            _spread(row["time_slope"]),
            f"{row['memory_slope']:.2f}",
        )
        for name, row in result["axes"].items()
    )
    return _table(("axis", "sizes", "exponent of time", "of memory"), rows)


def pod(result: dict[str, Any]) -> str:
    """Efficiency against the number of chips, by formula."""
    rows = (
        (
            name,
            line["chips"],
            f"{line['megabytes_sent']:.1f}",
            f"{line['milliseconds']:.2f}",
            f"{100 * line['weak']:.1f} %",
            f"{100 * line['strong']:.1f} %",
        )
        for name, row in result["sizes"].items()
        for line in row["table"]
    )
    header = (
        "images", "chips", "MB sent by each", "update of 100 images a chip, ms",
        "efficiency, 100 a chip", "efficiency, 4,096 in all",
    )  # fmt: skip
    return _table(header, rows)


def environment(results: dict[str, Any]) -> str:
    """Where and when, in one line."""
    where = results["environment"]
    return (
        f"{where['date']}, {where['cpu_count']} cores ({where['machine']}), JAX {where['jax']}, "
        f"Python {where['python']}; {results['seconds']} seconds in all."
    )


def parts(results: dict[str, Any]) -> dict[str, str]:
    """All tables of a result, by name."""
    named = {"environment": environment(results)}
    for setting, name in zip(results["devices"].values(), ("", "-default")):
        named[f"strong{name}"] = devices(setting, "strong")
        named[f"processor{name}"] = processor_time(setting)
    first = next(iter(results["devices"].values()))
    return named | {
        "weak": devices(first, "weak"),
        "communication": communication(first),
        "processes": processes(results["processes"]),
        "growth": growth(results["growth"]),
        "pod": pod(results["pod"]),
    }


def tables(results: dict[str, Any]) -> str:
    """All tables of a result, to be printed."""
    return "\n\n".join(f"{name}\n\n{table}" for name, table in parts(results).items())


def fill(page: str, results: dict[str, Any]) -> str:
    """A page with its tables replaced."""
    return put(page, parts(results))
