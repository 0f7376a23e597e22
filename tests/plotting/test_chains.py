import matplotlib.colors
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import diagnostics, plotting
from tempered_ebm.plotting.figures import GREY, INK, SECOND
from tests.diagnostics import index_process

CLIMB = np.argsort(
    [[0, 1, 2, 3, 3, 2, 1, 0], [1, 0, 0, 0, 0, 0, 0, 1], [2, 2, 1, 1, 1, 1, 2, 2],
     [3, 3, 3, 2, 2, 3, 3, 3]], axis=0).T  # fmt: skip


def journey(axis):
    (lines,) = axis.collections
    rungs = [segment[0, 1] for segment in lines.get_segments()] + [lines.get_segments()[-1][1, 1]]
    colors = [matplotlib.colors.to_hex(color) for color in lines.get_colors()]
    return rungs, colors


def test_a_restart_is_a_red_climb_that_turns_blue():
    figure = plotting.replica_flow(CLIMB, num_lines=4)
    by_title = {axis.get_title(loc="left"): axis for axis in figure.axes}
    (flow,) = [axis for axis in figure.axes if axis.lines]
    rungs, colors = journey(by_title["replica 0"])
    assert rungs == [0, 1, 2, 3, 3, 2, 1, 0]
    assert colors == [SECOND] * 3 + [INK] * 4
    assert journey(by_title["replica 2"])[1] == [GREY] * 7
    assert flow.get_xlabel() == "rung k"
    assert "1 restarts and 1 round trips in 7 steps" in figure.get_suptitle()


def test_the_flow_fraction_pools_ladders():
    states = index_process.simulate(np.random.default_rng(0), [0.2, 0.5, 0.3], 300, 5)
    axes = plotting.replica_flow(states).axes
    (flow,) = [axis for axis in axes if axis.lines]
    assert len(axes) == 4
    together = next(line for line in flow.lines if line.get_marker() == "o").get_ydata()
    counts = diagnostics.replica_flow(states)
    prior, posterior = counts.from_prior.sum(1), counts.from_posterior.sum(1)
    np.testing.assert_allclose(together, prior / (prior + posterior), rtol=1e-6)
    assert len(flow.lines) == 5 + 2
    assert flow.get_ylim()[1] > 1


def test_thousands_of_steps_and_more_lines_than_replicas():
    states = index_process.simulate(np.random.default_rng(0), [0.2], 3000, 1)
    figure = plotting.replica_flow(states, num_lines=9)
    assert len(figure.axes) == 3
    assert len(plotting.to_png(figure, dpi=60)) > 1000


def test_a_trace_that_holds_no_permutations_is_named():
    with pytest.raises(te.InputError, match=r"replicas must be a permutation of 0 ... 1"):
        plotting.replica_flow(np.array([[0, 0], [0, 1]]))
    with pytest.raises(te.InputError, match="num_lines must be an integer >= 1, got 0"):
        plotting.replica_flow(CLIMB, num_lines=0)


def test_means_and_bands_along_the_run():
    energy = np.random.default_rng(0).normal(size=(30, 12)) - np.arange(30)[:, None]
    figure = plotting.short_run(diagnostics.EnergyTrace(energy, 2 * np.abs(energy)))
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("energy", "gradient norm")
    assert left.get_xlabel() == "step"
    np.testing.assert_allclose(left.lines[0].get_ydata(), energy.mean(1))
    np.testing.assert_array_equal(left.lines[0].get_xdata(), np.arange(1, 31))
    top = left.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx((energy.mean(1) + energy.std(1, ddof=1)).max())
    assert "12 chains" in figure.get_suptitle()
    assert "(z = -" in figure.get_suptitle()


def test_a_ladder_of_runs_is_named():
    rungs = np.ones((30, 4, 12))
    with pytest.raises(te.InputError, match=r"\(num_steps, num_chains\), got \(30, 4, 12\)"):
        plotting.short_run(diagnostics.EnergyTrace(rungs, rungs))
    short = np.ones((3, 12))
    with pytest.raises(te.InputError, match="at least 4 steps"):
        plotting.short_run(diagnostics.EnergyTrace(short, short))
