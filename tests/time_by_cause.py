"""Where the time of a run of tests goes: ``python -m pytest -p tests.time_by_cause -n 2``.

Adds two tables to the summary: seconds of compilation, tracing and lowering as JAX reports them, of
child processes, and of all else; and the files that take most. Seconds are those of the wall clock
of each worker, so measure on a quiet machine; those of child processes are CPU seconds.
"""

from __future__ import annotations

import resource
import time
from collections import Counter

import pytest

CAUSES = {
    "/jax/core/compile/backend_compile_duration": "compilation by XLA",
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
}
CHILDREN, REST, START = "child processes", "Python and arithmetic", "start and collection"
MOST_FILES = 15


class OwnTimes:
    """Adds up durations that are reported at their end, without counting nested ones twice."""

    def __init__(self) -> None:
        self.seconds: Counter = Counter()
        self.programs = 0
        self._inside: list[tuple[float, float]] = []

    def __call__(self, event: str, duration: float, **_) -> None:
        if event not in CAUSES:
            return
        start = time.perf_counter() - duration
        nested = 0.0
        while self._inside and self._inside[-1][0] >= start:
            nested += self._inside.pop()[1]
        self._inside.append((start, duration))
        self.seconds[CAUSES[event]] += max(duration - nested, 0.0)
        self.programs += CAUSES[event].startswith("compilation")

    def take(self) -> tuple[dict[str, float], int]:
        """Return what has been added since the last call."""
        taken = dict(self.seconds), self.programs
        self.seconds.clear()
        self._inside.clear()
        self.programs = 0
        return taken


own_times = OwnTimes()
by_file: dict[str, Counter] = {}
starts: list[float] = []


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pytest_collection_finish(session):
    """Listen from now on, and keep the CPU seconds of the start of this process."""
    import jax

    jax.monitoring.register_event_duration_secs_listener(own_times)
    session.config.start_seconds = time.process_time()


def pytest_sessionfinish(session):
    seconds = getattr(session.config, "start_seconds", 0.0)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["start_seconds"] = seconds
    elif session.testscollected:
        starts.append(seconds)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    starts.append(getattr(node, "workeroutput", {}).get("start_seconds", 0.0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    item.cause_start = time.perf_counter(), _children()
    own_times.take()
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item):
    result = yield
    begin, children = item.cause_start
    seconds, programs = own_times.take()
    seconds[CHILDREN] = _children() - children
    seconds[REST] = max(time.perf_counter() - begin - sum(seconds.values()), 0.0)
    item.user_properties.append(("time_by_cause", (seconds, programs)))
    return result


def pytest_runtest_logreport(report):
    found = dict(report.user_properties).get("time_by_cause")
    if report.when == "teardown" and found:
        counter = by_file.setdefault(report.nodeid.partition("::")[0], Counter())
        counter.update(found[0])
        counter["programs"] += found[1]


def pytest_terminal_summary(terminalreporter):
    total = sum(by_file.values(), Counter())
    programs = total.pop("programs", 0)
    total[START] = sum(starts)
    write = terminalreporter.write_line
    write(f"\n| cause ({programs:,} programs compiled) | seconds | share |\n|---|---|---|")
    for cause, seconds in total.most_common():
        write(f"| {cause} | {seconds:.0f} | {seconds / total.total():.0%} |")
    write(f"| all | {total.total():.0f} | |\n\n| file | seconds | programs |\n|---|---|---|")
    sums = {name: seconds.total() - seconds["programs"] for name, seconds in by_file.items()}
    for name in sorted(sums, key=sums.get, reverse=True)[:MOST_FILES]:
        write(f"| {name} | {sums[name]:.1f} | {by_file[name]['programs']} |")
