import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_evidence
from tests.evidence import checks_integrators as checks

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
PILOT = checks_evidence.power_ladder(6)


def quadrature_and_draws(K=4, n=60, chains=2):
    pilot = checks.noisy_pilot(gt.LINEAR_GAUSSIAN, 6, 0.0, seed=0)
    quadrature = checks.make_quadrature(*pilot, K)
    nodes = np.asarray(quadrature.temperatures)
    draws = checks_evidence.exact_draws(gt.LINEAR_GAUSSIAN, nodes, n * chains, seed=0)
    return quadrature, jnp.asarray(draws.reshape(K, n, chains), jnp.float32)


def test_smooth_functions_are_integrated_from_any_pilot():
    checks.quadrature_integrates_whatever_the_pilot()


def test_nodes_are_even_in_thermodynamic_length():
    checks.quadrature_follows_thermodynamic_length()


def test_a_constant_is_carried_through():
    checks.a_constant_is_carried_through()


@PATHS
def test_discretization_vanishes_with_a_few_nodes(path):
    """The trapezoid on as many temperatures errs by more than 0.01."""
    with jax.enable_x64(True):
        pilot = checks.noisy_pilot(path, 8, 0.1, seed=0)
        errors = [
            abs(checks.quadrature_value(path, checks.make_quadrature(*pilot, K)) - path.log_z(1.0))
            for K in (3, 5, 8, 12)
        ]
    assert errors[0] > 1e-9
    assert errors[1] < 1e-5
    assert errors[2] < 1e-9
    assert errors[3] < 1e-12


@pytest.mark.statistical
@PATHS
def test_exact_draws_give_the_known_evidence(path):
    checks.quadrature_ground_truth(path, 5)


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
    checks.calibration("gauss_legendre", kind)


def test_no_bracket_is_claimed():
    quadrature, draws = quadrature_and_draws()
    estimate = checks.apply_quadrature(quadrature, draws)
    assert estimate.lower_bound == -np.inf
    assert estimate.upper_bound == np.inf


@pytest.mark.parametrize("K", [2, 7])
def test_the_embedded_rule_leaves_out_the_middle_node(K):
    """Against weights of interpolation at the other nodes, by solving for their moments."""
    x, w = np.polynomial.legendre.leggauss(K)
    rest = np.delete(x, K // 2)
    moments = [(1 - (-1) ** (p + 1)) / (p + 1) for p in range(K - 1)]
    lower = np.linalg.solve(np.vander(rest, K - 1, increasing=True).T, moments)
    with jax.enable_x64(True):
        quadrature = checks.make_quadrature(PILOT, np.ones(6), K)
        values = np.random.default_rng(0).normal(size=(K, 1))
        estimate = checks.apply_quadrature(quadrature, values)
    # Even pilots leave t = lambda, where a constant is integrated by both.
    value = 0.5 * w @ values[:, 0]
    expected = value - 0.5 * lower @ np.delete(values[:, 0], K // 2)
    np.testing.assert_allclose(estimate.log_evidence, value, rtol=1e-9)
    np.testing.assert_allclose(estimate.discretization_error, expected, rtol=1e-7)


def test_it_bounds_the_discretization_from_afar():
    """On the exact integrand, four nodes: the indication exceeds the error, and is finite."""
    path = gt.LINEAR_GAUSSIAN
    with jax.enable_x64(True):
        quadrature = checks.make_quadrature(*checks.noisy_pilot(path, 8, 0.0, seed=0), 4)
        exact = np.array([[path.mean_loglikelihood(float(t))] for t in quadrature.temperatures])
        estimate = checks.apply_quadrature(quadrature, exact)
    error = abs(float(estimate.log_evidence) - path.log_z(1.0))
    assert error < abs(float(estimate.discretization_error)) < 1.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shapes_and_dtypes(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        quadrature, draws = quadrature_and_draws()
        flat, chains = (
            checks.apply_quadrature(quadrature, draws.astype(dtype).reshape(s))
            for s in ((4, 120), (4, 60, 2))
        )
    for estimate in (flat, chains):
        assert {leaf.dtype for leaf in jax.tree.leaves(estimate)} == {jnp.dtype(dtype)}
        assert [np.shape(leaf) for leaf in estimate] == [()] * 5 + [(4,)] * 2
    np.testing.assert_allclose(flat.log_evidence, chains.log_evidence, rtol=1e-5)


def test_single_precision_agrees_with_double():
    pilot = checks.noisy_pilot(gt.LINEAR_GAUSSIAN, 9, 0.2, seed=0)
    single = checks.make_quadrature(*(jnp.asarray(x, jnp.float32) for x in pilot), 10)
    with jax.enable_x64(True):
        double = checks.make_quadrature(*pilot, 10)
    assert single.temperatures.dtype == single.weights.dtype == jnp.float32
    for a, b in zip(single, double, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4)


def test_steep_and_vanishing_variances_give_increasing_nodes():
    for variances in (np.zeros(6), (1e-4 + PILOT) ** -2.0, np.array([0, 0, 1e6, 0, 0, 0.0])):
        nodes, weights = checks.make_quadrature(jnp.asarray(PILOT, jnp.float32), variances, 12)
        assert np.all(np.diff(nodes) > 0)
        assert 0 < nodes[0] < nodes[-1] < 1
        assert np.all(np.asarray(weights) > 0)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_jit_and_vmap_change_nothing():
    quadrature, draws = quadrature_and_draws()
    pilot = jnp.asarray(PILOT), jnp.asarray(1 / (0.1 + PILOT) ** 2)
    make = jax.jit(lambda t, v: te.schedules.gauss_legendre(t, v, 4))
    for a, b in zip(make(*pilot), te.schedules.gauss_legendre(*pilot, 4), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    both = jnp.stack([draws, draws - 1.0])
    mapped = jax.jit(jax.vmap(te.evidence.gauss_legendre, in_axes=(None, 0)))(quadrature, both)
    one = te.evidence.gauss_legendre(quadrature, both[1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-4), mapped, one
    )


# ------------------------------------------------------------------------- errors


def test_nodes_are_no_ladder():
    quadrature, draws = quadrature_and_draws()
    with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
        te.thermodynamic_integration(quadrature.temperatures, draws)


@pytest.mark.parametrize(
    ("nodes", "weights", "match"),
    [
        ([0.0, 0.5], [0.5, 0.5], r"temperatures must increase strictly inside \(0, 1\)"),
        ([0.5, 0.2], [0.5, 0.5], r"temperatures must increase strictly inside \(0, 1\)"),
        ([0.2, 0.5], [0.5, 0.7], "weights must be positive with sum 1"),
        ([0.2, 0.5], [1.5, -0.5], "weights must be positive with sum 1"),
        ([0.2, 0.5], [1.0], r"one shape \(K,\) with K >= 2"),
        ([0.5], [1.0], r"one shape \(K,\) with K >= 2"),
    ],
)
def test_what_is_no_quadrature_is_refused(nodes, weights, match):
    quadrature = te.schedules.Quadrature(jnp.array(nodes), jnp.array(weights))
    with pytest.raises(te.InputError, match=match):
        te.evidence.gauss_legendre(quadrature, jnp.zeros((2, 10)))


def test_bad_arguments_are_named():
    quadrature, draws = quadrature_and_draws()
    with pytest.raises(te.InputError, match=r"loglikelihoods must have shape .*K = 4"):
        te.evidence.gauss_legendre(quadrature, draws[:3])
    with pytest.raises(te.InputError, match="K must be an integer >= 2, got 1"):
        te.schedules.gauss_legendre(PILOT, np.ones(6), 1)
    with pytest.raises(te.InputError, match="loglikelihood_variances must have shape"):
        te.schedules.gauss_legendre(PILOT, np.ones(5), 4)
    with pytest.raises(te.InputError, match="temperatures must increase strictly"):
        te.schedules.gauss_legendre(PILOT[1:], np.ones(5), 4)
