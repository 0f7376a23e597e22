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
