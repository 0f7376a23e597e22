"""Settings of the whole suite, and its budget of false alarms."""

import gc
import os
import signal
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

# Compilation, not arithmetic, takes the time of these tests. Read when JAX starts.
FLAGS = ["--xla_backend_optimization_level=0"]
if version("jaxlib").startswith("0.10."):
    # Half the time of a compilation. Later releases end the process at a flag that is gone.
    FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
os.environ["TEMPERED_EBM_CACHE"] = "off"

# Here, before the imports. A full collection takes seconds, and is left to `memory_is_given_back`.
gc.set_threshold(100_000, 20, 10_000)

TESTS = Path(__file__).parent

MOST_MEMORY = 4 * 2**30
"""Bytes of a process after which compiled programs are forgotten, between two files of tests."""

pytest.register_assert_rewrite(
    "tests.ground_truths",
    *(
        ".".join(("tests", *path.relative_to(TESTS).with_suffix("").parts))
        for path in TESTS.rglob("checks_*.py")
    ),
)

decisions_by_test: Counter = Counter()


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back():
    """Compiled programs stay for the life of a process: forget them once they fill gigabytes."""
    yield
    import jax

    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc").exists() else 0
    if pages * os.sysconf("SC_PAGE_SIZE") > MOST_MEMORY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def default_interrupt():
    """A process started in the background inherits an interrupt that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_finish():
    """Spare the garbage collector what lives as long as the process, modules and tests above all.

    Tracing allocates so much that it would otherwise walk through them again and again, in 8 % of
    the time of the suite.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Mark the examples of docstrings like those of the pages: they run apart from the tests."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("docs")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Count the statistical decisions of a test, which must be marked as statistical."""
    from tests import ground_truths as gt

    before = gt.decisions
    result = yield
    made = gt.decisions - before
    if made and "mutants" not in item.path.parts:
        item.user_properties.append(("decisions", made))
        if item.get_closest_marker("statistical") is None:
            pytest.fail("a test that decides on random draws must be marked as statistical")
    return result


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        decisions_by_test[report.nodeid] = dict(report.user_properties).get("decisions", 0)


def pytest_sessionfinish(session):
    from tests import ground_truths as gt

    if decisions_by_test.total() * gt.FALSE_ALARM > gt.BUDGET:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    from tests import ground_truths as gt

    total = decisions_by_test.total()
    if total:
        terminalreporter.write_line(
            f"{total} statistical decisions (of at most {gt.MAX_DECISIONS}) under base seed "
            f"{gt.BASE_SEED}: false alarms below {total * gt.FALSE_ALARM:.1e} a run"
        )
