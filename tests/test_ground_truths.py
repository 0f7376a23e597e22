"""The references themselves, against numbers computed elsewhere and against quadrature."""

import jax
import numpy as np
import pytest
from scipy import integrate, stats

from tests import ground_truths as gt
from tests.ground_truths import LINEAR_GAUSSIAN, SKEWED_GAMMA, gaussian_kl


@pytest.mark.statistical
def test_thresholds_are_normal_quantiles_and_students_for_few_rows():
    for m in (1, 10, 100):
        tail = gt.FALSE_ALARM / (2 * m)
        assert gt.z_threshold(m) == pytest.approx(stats.norm.isf(tail))
        assert gt.z_threshold(m, 8) == pytest.approx(stats.t(7).isf(tail))
    assert 6.2 < gt.z_threshold(1) < gt.z_threshold(100) < 7


@pytest.mark.statistical
def test_skewed_rows_get_a_wider_limit():
    """The same z-score of 7, of which the skewness of an exponential law explains a part."""
    for n, is_accepted in ((400, True), (400_000, False)):
        rows = stats.expon.ppf((np.arange(n) + 0.5) / n)
        shift = 7 * rows.std(ddof=1) / np.sqrt(n)
        normal = stats.norm.ppf((np.arange(n) + 0.5) / n)
        with pytest.raises(AssertionError, match="means are wrong"):
            gt.assert_expectations(normal, normal.mean() - 7 / np.sqrt(n))
        try:
            gt.assert_expectations(rows, rows.mean() - shift)
        except AssertionError:
            assert not is_accepted
        else:
            assert is_accepted


@pytest.mark.statistical
def test_decisions_are_counted():
    before = gt.decisions
    gt.assert_expectations(np.arange(9.0) - 4, 0.0)
    gt.assert_law(np.linspace(0, 1, 9), stats.uniform.cdf)
    assert gt.decisions == before + 2


def test_seeds_of_different_base_seeds_differ(monkeypatch):
    assert gt.seed(3) == 3 + 100_000 * gt.BASE_SEED
    draws = []
    for base in (0, 1, 2):
        monkeypatch.setattr(gt, "BASE_SEED", base)
        draws += [gt.rng(3).random(), float(jax.random.normal(gt.key(3)))]
    assert len(set(draws)) == 6


def test_linear_gaussian_evidence_and_integrand():
    path = LINEAR_GAUSSIAN
    assert path.log_z(1.0) == pytest.approx(-4.344498131565, abs=1e-11)
    means = [path.mean_loglikelihood(t) for t in (0, 0.1, 0.5, 1)]
    np.testing.assert_allclose(
        means, [-9.22579483, -6.74184743, -3.76908892, -2.89638161], rtol=2e-9
    )
    variances = [path.variance_loglikelihood(t) for t in (0, 0.5, 1)]
    np.testing.assert_allclose(variances, [35.689112, 3.10014388, 0.97056677], rtol=2e-8)


def test_linear_gaussian_moments_halfway():
    mean, covariance = LINEAR_GAUSSIAN.moments(0.5)
    np.testing.assert_allclose(mean, [1.04478644, -0.08914762], atol=5e-9)
    expected = [[0.38413618, 0.08151851], [0.08151851, 0.14735476]]
    np.testing.assert_allclose(covariance, expected, atol=5e-9)


@pytest.mark.parametrize("path", [LINEAR_GAUSSIAN, SKEWED_GAMMA], ids=["gaussian", "gamma"])
def test_the_thermodynamic_identity_holds(path):
    integral, _ = integrate.quad(path.mean_loglikelihood, 0, 1, epsabs=1e-11)
    assert integral == pytest.approx(path.log_z(1.0), abs=1e-9)
    for t in (0.2, 0.7):
        slope = (path.mean_loglikelihood(t + 1e-5) - path.mean_loglikelihood(t - 1e-5)) / 2e-5
        assert slope == pytest.approx(path.variance_loglikelihood(t), rel=1e-6)


def test_the_bracket_gap_is_a_sum_of_divergences():
    path = LINEAR_GAUSSIAN
    h, ends = 0.3, (path.moments(0.2), path.moments(0.5))
    gap = path.log_z(0.5) - path.log_z(0.2) - h * path.mean_loglikelihood(0.2)
    assert gap == pytest.approx(gaussian_kl(*ends), abs=1e-10)


@pytest.mark.statistical
@pytest.mark.parametrize("path", [LINEAR_GAUSSIAN, SKEWED_GAMMA], ids=["gaussian", "gamma"])
def test_exact_draws_have_the_stated_law(path):
    for t in (0.0, 0.3, 1.0):
        draws = path.sample(gt.rng(int(10 * t)), t, 100_000)
        gt.assert_expectations(path.statistics(draws), path.expected(t), f"t={t}")
        path.assert_law(draws, t)
