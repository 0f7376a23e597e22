import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_evidence
from tests.evidence import checks_integrators as checks

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())


def test_it_is_the_rule_of_scipy():
    checks.simpson_is_that_of_scipy()


@pytest.mark.parametrize("K", [3, 4, 5, 8])
def test_parabolas_are_integrated_exactly(K):
    ladder = checks_evidence.power_ladder(K, 1.4)
    with jax.enable_x64(True):
        weights = np.asarray(te.evidence.simpson_weights(jnp.asarray(ladder)))
    np.testing.assert_allclose([weights @ ladder**p for p in range(3)], [1, 1 / 2, 1 / 3])


@pytest.mark.statistical
@PATHS
@pytest.mark.parametrize(("num", "discretization"), [(10, 0.02), (31, 1e-4)])
def test_exact_draws_give_the_known_evidence(path, num, discretization):
    checks.simpson_ground_truth(path, num, discretization)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "kind",
    [
        "across draws",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("independent", "across rungs", "chains")
        ),
    ],
)
def test_the_standard_error_is_calibrated(kind):
    checks.calibration("simpson", kind)


@pytest.mark.parametrize("K", [2, 5])
def test_shapes_dtypes_and_vmap(K):
    ladder = te.schedules.uniform(K)
    draws = jnp.asarray(np.random.default_rng(0).normal(size=(3, K, 40, 2)), jnp.float32)
    one = te.thermodynamic_integration(ladder, draws[1], rule="simpson")
    assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {jnp.dtype("float32")}
    mapped = jax.jit(jax.vmap(lambda d: te.thermodynamic_integration(ladder, d, rule="simpson")))(
        draws
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-5), mapped, one
    )


def test_single_precision_agrees_with_double():
    ladder = checks_evidence.power_ladder(12, 2.0)
    draws = checks_evidence.exact_draws(gt.LINEAR_GAUSSIAN, ladder, 500, seed=0)
    single = checks_evidence.thermodynamic_integration(
        jnp.asarray(ladder, jnp.float32), jnp.asarray(draws, jnp.float32), rule="simpson"
    )
    with jax.enable_x64(True):
        double = checks_evidence.thermodynamic_integration(ladder, draws, rule="simpson")
    np.testing.assert_allclose(single.log_evidence, double.log_evidence, rtol=1e-5)
    np.testing.assert_allclose(single.standard_error, double.standard_error, rtol=1e-3)


def test_a_value_outside_the_bracket_is_warned_about():
    """Gaps of 0.1 and 0.9: the weight of the prior is -1.2, and E_0 is far below."""
    ladder = np.array([0.0, 0.1, 1.0])
    draws = checks_evidence.exact_draws(gt.LINEAR_GAUSSIAN, ladder, 40_000, seed=0)
    with pytest.warns(UserWarning, match="difference of Simpson's rule to the trapezoid") as caught:
        estimate = te.thermodynamic_integration(ladder, draws, rule="simpson")
    assert "use rule='trapezoid'" in str(caught[0].message)
    assert estimate.log_evidence > estimate.upper_bound


def test_a_fine_ladder_is_not_warned_about():
    ladder = checks_evidence.power_ladder(20, 2.0)
    draws = checks_evidence.exact_draws(gt.LINEAR_GAUSSIAN, ladder, 500, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        te.thermodynamic_integration(ladder, draws, rule="simpson")
