import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_evidence as checks

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
CALIBRATIONS = [
    "independent",
    "across rungs",
    pytest.param("across draws", marks=pytest.mark.slow),
    pytest.param("chains", marks=pytest.mark.slow),
]
BOTH_RULES = pytest.mark.parametrize("rule", checks.RULES)


def test_each_rule_is_its_closed_form_sum():
    checks.rules_are_exact_sums()


@pytest.mark.statistical
@PATHS
@pytest.mark.parametrize(
    ("num", "rule", "discretization"),
    [
        (10, "corrected_trapezoid", 0.08),
        (30, "trapezoid", 0.03),
        (30, "corrected_trapezoid", 0.002),
    ],
)
def test_exact_draws_give_the_known_evidence(path, num, rule, discretization):
    checks.ground_truth(path, num, rule, discretization)


def test_the_trapezoid_error_is_half_the_difference_of_divergences():
    path, ladder = gt.LINEAR_GAUSSIAN, checks.power_ladder(10)
    with jax.enable_x64(True):
        draws = checks.draws_with_exact_moments(path, ladder)
        estimate = checks.thermodynamic_integration(ladder, draws, rule="trapezoid")
    moments = [path.moments(t) for t in ladder]
    forward = [gt.gaussian_kl(q, r) for q, r in itertools.pairwise(moments)]
    reverse = [gt.gaussian_kl(r, q) for q, r in itertools.pairwise(moments)]
    truth = path.log_z(1.0)
    expected = 0.5 * (sum(reverse) - sum(forward))
    assert float(estimate.log_evidence) - truth == pytest.approx(expected, abs=1e-10)
    assert truth - float(estimate.lower_bound) == pytest.approx(sum(forward), abs=1e-10)
    assert float(estimate.upper_bound) - truth == pytest.approx(sum(reverse), abs=1e-10)


def test_the_correction_removes_the_leading_error():
    path = gt.LINEAR_GAUSSIAN
    truth = path.log_z(1.0)
    errors = {
        rule: [abs(checks.rule_value(path, checks.power_ladder(n), rule) - truth) for n in (20, 39)]
        for rule in checks.RULES
    }
    assert errors["trapezoid"][0] / errors["trapezoid"][1] == pytest.approx(4, rel=0.1)
    ratio = errors["corrected_trapezoid"][0] / errors["corrected_trapezoid"][1]
    assert ratio == pytest.approx(16, rel=0.3)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_the_standard_error_is_calibrated(kind):
    checks.calibration(kind)


@pytest.mark.statistical
@pytest.mark.parametrize("num_draws", [64, 63])
def test_the_squared_standard_error_is_unbiased_for_independent_draws(num_draws):
    """E[se^2] = 1/n for n independent values of variance 1, also where n is uneven."""
    series = gt.rng(0).standard_normal((5_000, num_draws, 1))
    error = jax.jit(jax.vmap(te.evidence.batch_means_standard_error))(series)
    gt.assert_expectations(num_draws * np.asarray(error, np.float64) ** 2, 1.0)


def test_the_integrand_is_reported():
    path, ladder = gt.LINEAR_GAUSSIAN, checks.power_ladder(6)
    draws = checks.exact_draws(path, ladder, 500, seed=0)
    with jax.enable_x64(True):
        estimate = checks.thermodynamic_integration(ladder, draws)
    np.testing.assert_allclose(estimate.mean_loglikelihood, draws.mean(1), rtol=1e-12)
    np.testing.assert_allclose(estimate.variance_loglikelihood, draws.var(1, ddof=1), rtol=1e-12)
    assert float(estimate.lower_bound) < float(estimate.upper_bound)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shapes_and_dtypes(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        ladder = te.schedules.power(5, 3.0)
        draws = checks.exact_draws(gt.LINEAR_GAUSSIAN, np.asarray(ladder), 240, seed=1)
        draws = jnp.asarray(draws, dtype)
        flat = checks.thermodynamic_integration(ladder, draws)
        chains = checks.thermodynamic_integration(ladder, draws.reshape(5, 60, 4))
    for estimate in (flat, chains):
        assert {leaf.dtype for leaf in jax.tree.leaves(estimate)} == {jnp.dtype(dtype)}
        shapes = [np.shape(leaf) for leaf in estimate]
        assert shapes == [()] * 5 + [(5,)] * 2
    np.testing.assert_allclose(flat.log_evidence, chains.log_evidence, rtol=1e-5)


def test_jit_and_vmap_change_nothing():
    ladder = te.schedules.power(5, 3.0)
    draws = [checks.exact_draws(gt.LINEAR_GAUSSIAN, np.asarray(ladder), 64, s) for s in (1, 2)]
    draws = jnp.asarray(np.stack(draws), jnp.float32)
    plain = [te.thermodynamic_integration(ladder, d) for d in draws]
    mapped = jax.jit(jax.vmap(te.thermodynamic_integration, in_axes=(None, 0)))(ladder, draws)
    for i, one in enumerate(plain):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5), mapped, one
        )


def test_one_draw_has_no_error_bar():
    ladder = te.schedules.uniform(3)
    estimate = te.thermodynamic_integration(ladder, jnp.array([[-3.0], [-2.0], [-1.5]]))
    assert float(estimate.log_evidence) == pytest.approx(-2.125)
    assert np.isnan(estimate.standard_error)
    np.testing.assert_array_equal(estimate.variance_loglikelihood, np.zeros(3))


# ----------------------------------------------------------------------- warnings


@BOTH_RULES
def test_a_coarse_ladder_is_warned_about(rule):
    """V_0 = 35.7 against V_1 = 1: a single step corrects by 2.9 nats in a bracket of 6.3."""
    path, ladder = gt.LINEAR_GAUSSIAN, np.array([0.0, 0.5, 1.0])
    wide = gt.LinearGaussian(path.W, path.b, 0.01, path.m0, path.S0, path.x)
    draws = checks.exact_draws(wide, ladder, 2_000, seed=0)
    with pytest.warns(UserWarning, match="the ladder is too coarse") as caught:
        te.thermodynamic_integration(ladder, draws, rule=rule)
    assert len(caught) == 1
    assert ("rule='trapezoid'" in str(caught[0].message)) == (rule == "corrected_trapezoid")


@BOTH_RULES
def test_a_fine_ladder_is_not_warned_about(rule):
    ladder = checks.power_ladder(20)
    draws = checks.exact_draws(gt.LINEAR_GAUSSIAN, ladder, 500, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        te.thermodynamic_integration(ladder, draws, rule=rule)


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_a_mean_that_is_not_finite_is_warned_about(bad):
    draws = np.full((3, 4), -1.0)
    draws[0, 2] = bad
    with pytest.warns(UserWarning, match=r"not finite at temperature index \[0\]"):
        estimate = te.thermodynamic_integration(te.schedules.uniform(3), draws)
    assert not np.isfinite(estimate.log_evidence)


def test_a_batch_of_estimates_is_warned_about_once():
    wide = gt.LinearGaussian(
        *[getattr(gt.LINEAR_GAUSSIAN, f) for f in ("W", "b")],
        0.01,
        *[getattr(gt.LINEAR_GAUSSIAN, f) for f in ("m0", "S0", "x")],
    )
    ladder = jnp.array([0.0, 0.5, 1.0])
    draws = jnp.asarray([checks.exact_draws(wide, np.asarray(ladder), 500, s) for s in (0, 1)])
    batch = jax.vmap(lambda d: te.thermodynamic_integration(ladder, d))(draws)
    with pytest.warns(UserWarning, match="for 2 of 2 estimates") as caught:
        te.evidence.warn_of_a_bad_ladder(batch, "corrected_trapezoid")
    assert len(caught) == 1


# ------------------------------------------------------------------------- errors


@pytest.mark.parametrize("shape", [(3,), (4, 10), (3, 0), (3, 2, 2, 2), ()])
def test_draws_of_the_wrong_shape_are_named(shape):
    with pytest.raises(te.InputError, match=r"loglikelihoods must have shape .*K = 3"):
        te.thermodynamic_integration(te.schedules.uniform(3), jnp.zeros(shape))


def test_integer_draws_are_named():
    with pytest.raises(te.InputError, match="loglikelihoods must have a floating dtype, got int32"):
        te.thermodynamic_integration(te.schedules.uniform(3), jnp.zeros((3, 4), int))


def test_an_unknown_rule_is_named():
    with pytest.raises(te.InputError, match=r"rule must be .*got 'midpoint'"):
        te.thermodynamic_integration(te.schedules.uniform(3), jnp.zeros((3, 4)), rule="midpoint")


@pytest.mark.parametrize("bad", [[0.0, 0.6, 0.5, 1.0], [0.1, 0.5, 0.6, 1.0], [0.0, 0.5, 0.6, 0.9]])
def test_what_is_no_ladder_is_refused(bad):
    with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
        te.thermodynamic_integration(jnp.array(bad), jnp.zeros((4, 10)))
