"""The harness of the benchmarks: rows, skipped peers, goals, tables; no time is asserted."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.work import Goal, Prepared, Work, jax_program

from benchmarks import ceilings, measure, memory, tables


def sleeper(seconds):
    """A competitor that takes the time that it says, on a clock that only it moves."""
    return lambda: Prepared(lambda: CLOCK.append(seconds))


CLOCK: list[float] = []


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    CLOCK.clear()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: sum(CLOCK))
    monkeypatch.setattr(measure, "peak_bytes", lambda call: call())


def missing():
    raise ImportError("no module named peer")


def broken():
    raise ValueError("cannot\nrun")


def work(**more):
    return Work(
        "a work",
        {
            "tempered_ebm": sleeper(1.0),
            "tempered_ebm, other noise": sleeper(0.5),
            "slow": sleeper(3.0),
            "absent": missing,
            "broken": broken,
        },
        goals={"slow": Goal(4.0, 7.0)},
        **more,
    )


@pytest.fixture(scope="module")
def measured():
    """Rows of ``work`` after three rounds, on the clock that sleepers move."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure.time, "perf_counter", lambda: sum(CLOCK))
        patch.setattr(measure, "peak_bytes", lambda call: call())
        return measure.rows(work(), 3)


def test_ratios_are_formed_pair_by_pair_against_each_of_ours(measured):
    rows = {row["competitor"]: row for row in measured}
    assert rows["slow"]["ratio"] == {
        "tempered_ebm": [3.0, 3.0, 3.0],
        "tempered_ebm, other noise": [6.0, 6.0, 6.0],
    }
    assert rows["tempered_ebm"]["seconds"] == [1.0, 1.0, 1.0]
    assert rows["absent"]["skipped"] == "not available: no module named peer"
    assert rows["broken"]["skipped"] == "failed: ValueError: cannot"


def test_competitors_take_turns():
    measure.rows(work(), 2)
    ready = [1.0, 0.5, 3.0]
    assert [*ready, *ready, *(2 * ready)] == CLOCK


def test_a_failure_of_ours_is_an_error():
    with pytest.raises(RuntimeError, match="a work: tempered_ebm failed: ValueError: cannot"):
        measure.rows(Work("a work", {"tempered_ebm": broken, "slow": sleeper(1.0)}), 1)


def test_the_table_says_what_was_met_and_what_was_skipped(measured):
    rows = measured
    text = tables.markdown(rows)
    assert "3.00 [3.00, 3.00]; 6.00 [6.00, 6.00] | ≥ 4: met" in text
    assert "skipped: not available: no module named peer" in text
    assert text.count("a work") == 1
    figure = tables.picture(rows)
    assert any("slow: 6.00" in t.get_text() for t in figure.axes[0].texts)
    json.dumps(rows)


@pytest.mark.parametrize(("at_least", "verdict"), [(8.0, "below"), (5.0, "met"), (2.0, "stretch")])
def test_the_verdict_follows_the_goal(at_least, verdict):
    row = {
        "work": "w", "competitor": "peer", "seconds": [1, 1, 1], "ratio": {"ours": [5, 6, 7]},
        "compile_seconds": None, "planned_bytes": 10, "peak_bytes": None,
        "goal": {"at_least": at_least, "stretch": at_least + 2},
    }  # fmt: skip
    assert verdict in tables.markdown([row])


def test_a_program_is_compiled_ahead_and_waited_for():
    prepared = jax_program(lambda x: jnp.sin(x) @ x, jnp.ones((64, 64)))()
    np.testing.assert_allclose(prepared.call(), np.sin(1.0) * 64 * np.ones((64, 64)), rtol=1e-5)
    assert prepared.planned_bytes >= 2 * 64 * 64 * 4


def test_a_donated_state_goes_on():
    prepared = jax_program(lambda x: x + 1, jnp.zeros(3), donate=0)()
    first = np.array(prepared.call())
    np.testing.assert_array_equal(prepared.call(), first + 1)


def test_the_ceiling_makes_the_products_that_it_says():
    gemms = ((8, 4, 6), (8, 6, 1), (8, 1, 4))
    program = ceilings.products(gemms, 3)().call
    assert program().shape == (8, 4)
    one = ceilings.products(gemms, 1)().call()
    assert np.all(np.isfinite(one))
    assert not np.allclose(one, program())


def test_peak_memory_sees_a_large_array():
    size = 64 * 2**20
    peak = memory.peak_bytes(lambda: np.ones(size, np.uint8).sum())
    assert peak is None or peak > size / 2 or jax.default_backend() != "cpu"


def test_the_page_gets_its_tables(measured):
    from benchmarks import results_page

    rows = [{"suite": "kernels", **row} for row in measured]
    started = [{"name": "import jax", "seconds": [1, 2, 3], "ratio": [1, 1, 1]}]
    results = {
        "rows": rows, "environment": {"jax": "0.0"}, "repeats": 3, "seconds": 1, "startup": started,
    }  # fmt: skip
    names = ("environment", "goals", "kernels", "startup", "training")
    page = "\n".join(f"<!-- {name} -->\nnone yet\n<!-- end -->" for name in names)
    filled = results_page.fill(page, results)
    assert filled.count("none yet") == 1
    assert "| a work | slow | 4 | 7 | 3.00 [3.00, 3.00] | 6.00 [6.00, 6.00] | met |" in filled
    assert results_page.fill(filled, results) == filled
