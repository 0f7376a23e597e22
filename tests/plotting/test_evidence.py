import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import plotting

LADDER = np.array([0.0, 0.1, 0.4, 1.0])


def estimate(*shape):
    draws = np.random.default_rng(0).normal(size=(*shape, 4, 50)) - 3.0
    with np.errstate(all="ignore"):
        mean, variance = draws.mean(-1), draws.var(-1)
    empty = np.zeros(shape)
    return te.EvidenceEstimate(empty, empty, empty, empty, empty, mean, variance)


@pytest.mark.parametrize(("shape", "num_lines"), [((), 1), ((3,), 3)])
def test_the_integrand_of_one_or_many(shape, num_lines):
    result = estimate(*shape)
    figure = plotting.integrand(LADDER, result)
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("temperature t", "rung k")
    curves = [line for line in left.lines if line.get_marker() == "o"]
    assert len(curves) == len(right.lines) == num_lines
    np.testing.assert_array_equal(curves[0].get_xdata(), LADDER)
    first = np.atleast_2d(result.mean_loglikelihood)[0]
    np.testing.assert_array_equal(curves[0].get_ydata(), first)
    assert "integrand" in figure.get_suptitle()


def test_the_integrand_takes_a_title():
    assert plotting.integrand(LADDER, estimate(), title="mine").get_suptitle() == "mine"


def test_swap_rates_and_the_barrier_they_leave():
    rates = np.array([0.9, 0.5, 0.7])
    figure = plotting.swap_rates(LADDER, rates)
    left, right = figure.axes
    assert [bar.get_height() for bar in left.patches] == rates.tolist()
    assert left.lines[0].get_ydata()[0] == pytest.approx(0.7)
    np.testing.assert_allclose(right.lines[0].get_ydata(), [0, 0.1, 0.6, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(right.lines[0].get_xdata(), LADDER)
    rounds = 2 + 2 * (0.1 / 0.9 + 1 + 0.3 / 0.7)
    assert f"one round trip in {rounds:.3g} rounds" in figure.get_suptitle()


def test_a_pair_that_never_swaps_stops_every_journey():
    assert "no round trip" in plotting.swap_rates(LADDER, np.array([0.9, 0, 0.9])).get_suptitle()


def test_rates_that_do_not_fit_the_ladder_are_named():
    with pytest.raises(te.InputError, match=r"swap_acceptance_rates must have shape \(3,\)"):
        plotting.swap_rates(LADDER, np.ones(4))
    with pytest.raises(te.InputError, match="temperatures must increase strictly"):
        plotting.swap_rates(jnp.array([0.0, 0.5, 0.9]), np.ones(2))
