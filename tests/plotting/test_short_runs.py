import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import diagnostics, plotting


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
