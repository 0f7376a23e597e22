import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import tempered_ebm as te
from tempered_ebm import schedules
from tests import checks_ladders as checks
from tests import ground_truths as gt

SIZES = st.sampled_from((3, 4, 33))
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def assert_ladder(ladder, expected):
    ladder = np.asarray(ladder)
    assert ladder.ndim == 1
    assert np.issubdtype(ladder.dtype, np.floating)
    assert ladder[0] == 0.0
    assert ladder[-1] == 1.0
    assert np.all(np.diff(ladder) > 0)
    np.testing.assert_allclose(ladder, expected, rtol=2e-5, atol=2e-6)


def u(K):
    return np.arange(K) / (K - 1)


@FEW
@given(SIZES)
def test_uniform(K):
    assert_ladder(schedules.uniform(K), u(K))


@FEW
@given(SIZES)
def test_cosine(K):
    assert_ladder(schedules.cosine(K), np.sin(np.pi * u(K) / 2) ** 2)


@FEW
@given(SIZES, st.floats(0.2, 6.0))
def test_power(K, p):
    assert_ladder(schedules.power(K, p), u(K) ** p)


@FEW
@given(SIZES, st.floats(0.2, 3.0))
def test_beta_holds_quantiles_of_the_beta_distribution(K, alpha):
    assert_ladder(schedules.beta(K, alpha), stats.beta(alpha, 1).ppf(u(K)))


@FEW
@given(SIZES, st.floats(0.05, 10.0))
def test_sigmoid(K, a):
    low, high = special.expit([-a, a])
    assert_ladder(schedules.sigmoid(K, a), (special.expit(a * (2 * u(K) - 1)) - low) / (high - low))


@FEW
@given(SIZES, st.floats(1e-6, 0.9))
def test_geometric(K, t_min):
    expected = np.concatenate([[0.0], np.geomspace(t_min, 1.0, K - 1)])
    assert_ladder(schedules.geometric(K, t_min), expected)


def test_special_cases_agree():
    np.testing.assert_allclose(schedules.power(9, 1.0), schedules.uniform(9), rtol=1e-6)
    np.testing.assert_allclose(schedules.beta(9, 0.25), schedules.power(9, 4.0), rtol=1e-5)


def test_the_smallest_ladders():
    for make in (schedules.uniform, schedules.cosine, lambda K: schedules.power(K, 5.0)):
        np.testing.assert_array_equal(make(2), [0.0, 1.0])
    np.testing.assert_allclose(schedules.geometric(3, 0.2), [0.0, 0.2, 1.0])


def test_ladders_are_float64_in_float64():
    with jax.enable_x64(True):
        ladder = schedules.power(12, 5.0)
        assert ladder.dtype == jnp.float64
        np.testing.assert_allclose(ladder, u(12) ** 5, rtol=1e-14)


MAKERS = {
    "uniform": schedules.uniform,
    "cosine": schedules.cosine,
    "power": lambda K: schedules.power(K, 3.0),
    "sigmoid": lambda K: schedules.sigmoid(K, 3.0),
    "beta": lambda K: schedules.beta(K, 0.3),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("K", [1, 0, -3, 2.5, True, "4"])
def test_a_bad_number_of_temperatures_is_named(name, K):
    with pytest.raises(te.InputError, match=r"K must be an integer >= 2, got") as caught:
        MAKERS[name](K)
    assert repr(K) in str(caught.value)


@pytest.mark.parametrize("K", [1, 2])
def test_a_geometric_ladder_needs_three(K):
    with pytest.raises(te.InputError, match=rf"K must be an integer >= 3, got {K}"):
        schedules.geometric(K, 0.1)


@pytest.mark.parametrize("value", [0.0, -2.0, math.nan, math.inf])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (schedules.power, "p"),
        (schedules.sigmoid, "a"),
        (schedules.beta, "alpha"),
        (schedules.geometric, "t_min"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value(make, name, value):
    with pytest.raises(te.InputError, match=rf"^{name} must be .*got {value}"):
        make(5, value)


@pytest.mark.parametrize("t_min", [1.0, 1.5])
def test_t_min_stays_below_one(t_min):
    with pytest.raises(te.InputError, match=rf"t_min must be between 0 and 1.*got {t_min}"):
        schedules.geometric(5, t_min)


def test_temperatures_that_coincide_are_refused():
    for make in (lambda: schedules.power(50, 80.0), lambda: schedules.sigmoid(50, 400.0)):
        with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
            make()


@pytest.mark.parametrize(
    "bad",
    [
        [0.0, 0.5, 0.5, 1.0],
        [0.1, 1.0],
        [0.0, 0.9],
        [1.0, 0.0],
        [0.0, math.nan, 1.0],
        [0.0, 2.0, 1.0],
    ],
)
def test_what_is_no_ladder_is_shown(bad):
    with pytest.raises(te.InputError, match=r"increase strictly from 0 to 1, got \["):
        schedules.validate(jnp.array(bad))


@pytest.mark.parametrize("bad", [jnp.zeros(()), jnp.zeros(1), jnp.zeros((2, 2))])
def test_what_is_no_vector_is_named(bad):
    with pytest.raises(te.InputError, match=r"1-D array of at least two values, got shape"):
        schedules.validate(bad)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (schedules.power, 3.0),
        (schedules.sigmoid, 4.0),
        (schedules.beta, 0.3),
        (schedules.geometric, 0.01),
    ],
)
def test_the_parameter_may_be_traced(make, value):
    traces = []

    @jax.jit
    def ladder(value):
        traces.append(1)
        return make(7, value)

    np.testing.assert_allclose(ladder(value), make(7, value), rtol=1e-5, atol=1e-7)
    assert not np.allclose(ladder(0.9 * value), ladder(value))
    assert len(traces) == 1
    slope = jax.grad(lambda v: make(7, v)[2])(value)
    assert np.isfinite(slope)
    assert slope != 0


@pytest.mark.parametrize("a", [1e-8, 1e-3])
def test_a_barely_bent_sigmoid_is_the_uniform_ladder(a):
    np.testing.assert_allclose(te.schedules.sigmoid(5, a), te.schedules.uniform(5), atol=2e-7)


# -------------------------------------------------------------- ladders from a pilot run

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())


def test_equal_length_is_the_ladder_of_the_ground_truth():
    checks.equal_length_is_the_known_ladder()


@FEW
@given(SIZES, st.sampled_from((1.0, 10.0, 1e2, 1e3, 1e4)))
def test_equal_length_on_an_isotropic_gaussian_is_its_closed_form(K, a):
    checks.equal_length_is_the_closed_form(K, a)


@PATHS
@pytest.mark.parametrize("K", [2, 12])
def test_equal_length_reaches_a_fixed_point_and_stays(path, K):
    checks.equal_length_reaches_a_fixed_point_and_stays(path, K)


@FEW
@given(SIZES, st.integers(0, 2**31))
def test_equal_rejection_makes_rates_equal_where_they_add_up(K, seed):
    checks.equal_rejection_shares_the_barrier(K, seed)


@FEW
@given(
    SIZES,
    st.lists(st.sampled_from((0.0, 1e-30, 1e-3, 1.0, 1e3, 1e12)), min_size=6, max_size=6),
)
def test_ladders_from_a_pilot_never_collapse(K, values):
    """Whatever a noisy pilot measured, also nothing at all, rungs stay apart."""
    old = schedules.power(6, 3.0)
    ladder = checks.equal_length(old, np.array(values), K)
    assert_ladder(ladder, ladder)
    rates = np.clip(np.array(values[:5]), 0, 1)
    ladder = checks.equal_rejection(old, rates, K)
    assert_ladder(ladder, ladder)


def test_without_any_information_the_ladder_is_uniform():
    old = schedules.power(6, 3.0)
    assert_ladder(schedules.equal_length(old, np.zeros(6), 5), u(5))
    assert_ladder(schedules.equal_rejection(old, np.ones(5), 5), u(5))


def test_ladders_from_a_pilot_run_inside_jit():
    old = schedules.power(6, 3.0)
    values = np.linspace(5.0, 1.0, 6)
    np.testing.assert_allclose(
        jax.jit(lambda v: schedules.equal_length(old, v, 4))(values),
        schedules.equal_length(old, values, 4),
        rtol=1e-6,
    )


def test_a_cyclic_power_goes_there_and_back():
    power = schedules.cyclic_power(40, 1.0, 7.0)
    steps = np.arange(81)
    values = np.array([float(power(s)) for s in steps])
    np.testing.assert_allclose(values, 1 + 3 * (1 - np.cos(2 * np.pi * steps / 40)), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: schedules.equal_length(t, np.ones(3), 5), r"loglikelihood_variances must have"),
        (lambda t: schedules.equal_length(t, -np.ones(4), 5), r"variances must be finite and not"),
        (lambda t: schedules.equal_length(t, np.full(4, np.nan), 5), r"variances must be finite"),
        (lambda t: schedules.equal_length(t, np.ones(4), 1), r"K must be an integer >= 2"),
        (lambda t: schedules.equal_length(t[1:], np.ones(3), 5), r"temperatures must increase"),
        (lambda t: schedules.equal_rejection(t, np.ones(4), 5), r"rates must have shape \(3,\)"),
        (lambda t: schedules.equal_rejection(t, np.full(3, 1.5), 5), r"must be between 0 and 1"),
        (lambda t: schedules.cyclic_power(0, 1.0, 2.0), r"period must be an integer >= 1"),
        (lambda t: schedules.cyclic_power(5, 0.0, 2.0), r"p_min must be positive"),
    ],
)
def test_a_bad_pilot_is_named(make, message):
    with pytest.raises(te.InputError, match=message):
        make(schedules.uniform(4))
