"""The laws of the kernels: what they leave invariant, how they propose and how they decide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import tempered_ebm as te
from tests import ground_truths as gt
from tests.kernels import checks_kernels as checks

ADJUSTED = pytest.mark.parametrize("name", ["mala", "tempered_mala"])
UNADJUSTED = pytest.mark.parametrize("name", ["ula", "tempered_ula"])


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "path"),
    [
        pytest.param("mala", gt.LINEAR_GAUSSIAN, marks=pytest.mark.slow),
        ("mala", gt.SKEWED_GAMMA),
        ("tempered_mala", gt.LINEAR_GAUSSIAN),
        ("tempered_mala", gt.SKEWED_GAMMA),
    ],
)
def test_adjusted_kernels_leave_the_target_invariant(name, path):
    checks.invariance(name, path)


@pytest.mark.statistical
@UNADJUSTED
def test_ula_has_the_covariance_formula_after_a_few_steps(name):
    checks.ula_covariance(name)


@pytest.mark.statistical
@UNADJUSTED
def test_ula_leaves_its_own_biased_law_invariant(name):
    checks.ula_stationarity(name)


@pytest.mark.statistical
@UNADJUSTED
def test_ula_proposes_drift_plus_independent_normal_noise(name):
    checks.ula_proposal(name)


@pytest.mark.statistical
@ADJUSTED
def test_mala_accepts_as_often_as_a_reference_from_the_proposal_densities(name):
    checks.mala_acceptance(name)


@ADJUSTED
def test_mala_reports_the_closed_form_ratio_on_a_gaussian(name):
    checks.mala_log_ratio(name)


def test_the_log_ratio_is_antisymmetric():
    checks.log_ratio_antisymmetry()


@pytest.mark.statistical
def test_the_metropolis_ratio_has_mean_one():
    checks.mean_ratio()


@pytest.mark.statistical
@ADJUSTED
def test_decisions_are_random_given_the_proposal(name):
    checks.decisions_do_not_reuse_the_noise(name)


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["ula", "mala", "tempered_ula", "tempered_mala"])
def test_chains_of_one_batch_are_independent(name):
    checks.chains_are_independent(name)


@pytest.mark.parametrize("name", ["ula", "mala", "tempered_ula", "tempered_mala"])
def test_caches_are_those_of_the_position(name):
    checks.caches(name)


@pytest.mark.parametrize("name", ["tempered_ula", "tempered_mala"])
def test_the_prior_rung_does_not_see_the_likelihood(name):
    checks.prior_temperature_ignores_the_likelihood(name)


@pytest.mark.statistical
def test_scalar_chains_behind_vmap_leave_the_skewed_target_invariant():
    path, t, n = gt.SKEWED_GAMMA, 0.3, 50_000
    start = jnp.asarray(checks.exact_draws(path, t, seed=4, n=n), jnp.float32)
    run = checks.compile_run("tempered_mala", path, 5)
    batched = jax.vmap(run, in_axes=(0, 0, None, None))
    state, _ = batched(jax.random.split(gt.key(3), n), start, t, path.step_size)
    assert state.position.shape == (n,)
    gt.assert_expectations(path.statistics(np.asarray(state.position)), path.expected(t))
    path.assert_law(state.position, t)


@pytest.mark.statistical
def test_ula_on_a_standard_normal_has_variance_one_over_one_minus_half_h():
    h, n = 0.5, 100_000
    kernel = te.ula(lambda z: -0.5 * z**2, h)
    start = jnp.sqrt(1 / (1 - h / 2)) * jax.random.normal(gt.key(0), (n,))
    end = jax.jit(lambda z: te.inference.short_run(gt.key(1), kernel, z, 5).position)(start)
    gt.assert_expectations(np.asarray(end) ** 2, 1 / (1 - h / 2))


@pytest.mark.statistical
def test_mala_accepts_574_per_mille_at_the_optimal_scaling():
    """At h = 1.65^2 d^(-1/3) / 2 the acceptance rate tends to 0.574 with d.

    On N(0, I) the log ratio -(h/4)(|z'|^2 - |z|^2) is a sum of d independent terms of known
    mean and variance. For a normal sum the rate is closed; its skewness, of order d^(-1/2)
    times h^(1/2), leaves less than .005 at d = 100.
    """
    d, n = 100, 20_000
    h = 1.65**2 * d ** (-1 / 3) / 2
    kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), h)
    start = jax.random.normal(gt.key(0), (n, d))
    _, info = jax.jit(lambda k, z: kernel.step(k, kernel.init(z)))(gt.key(1), start)
    rate = np.asarray(info.acceptance_rate, np.float64)
    mean = -(h**3) * d / 4
    square_terms = 2 * (h**2 - 2 * h) ** 2 + 8 * h * (1 - h) ** 2 + 8 * h**2
    sd = np.sqrt(square_terms * d) * h / 4
    normal = stats.norm.cdf(mean / sd) + np.exp(mean + sd**2 / 2) * stats.norm.cdf(-sd - mean / sd)
    assert abs(normal - 0.574) < 0.01
    gt.assert_expectations(rate, normal, "acceptance", slack=0.005)
