import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import tempered_ebm as te
from tests import ground_truths as gt
from tests.models import checks_models as checks


def test_gaussian_is_the_full_log_density():
    checks.gaussian_log_density()


def test_gaussian_broadcasts_over_leading_axes():
    rng = np.random.default_rng(0)
    x, output = rng.normal(size=(3, 2, 2)), rng.normal(size=(5, 3, 2, 2))
    got = te.likelihoods.gaussian(0.7).log_prob(jnp.asarray(x), jnp.asarray(output), event_ndim=2)
    expected = stats.norm(output, 0.7).logpdf(x).sum((-1, -2))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_gaussian_of_scalar_events():
    x = jnp.array([0.0, 1.0])
    got = te.likelihoods.gaussian(2.0).log_prob(x, jnp.zeros(2), event_ndim=0)
    np.testing.assert_allclose(got, stats.norm(0, 2).logpdf([0, 1]), rtol=1e-6)


def test_gaussian_integrates_to_one():
    grid = jnp.linspace(-8, 8, 4001)
    density = jnp.exp(te.likelihoods.gaussian(0.8).log_prob(grid, jnp.zeros(4001), event_ndim=0))
    assert float(jnp.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.statistical
def test_gaussian_samples_follow_their_density():
    likelihood = te.likelihoods.gaussian(0.5)
    output = jnp.full(100_000, 1.5)
    draws = likelihood.sample(gt.key(0), output)
    gt.assert_law(draws, stats.norm(1.5, 0.5).cdf)
    np.testing.assert_array_equal(likelihood.mean(output), output)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_sigma_is_named(sigma):
    with pytest.raises(te.InputError, match=r"sigma must be positive and finite, got"):
        te.likelihoods.gaussian(sigma)


def test_mismatching_events_are_named():
    with pytest.raises(te.InputError, match=r"shape \(2, 3\); expected \(3, 2\)"):
        te.likelihoods.gaussian(1.0).log_prob(
            jnp.ones((4, 2, 3)), jnp.ones((4, 3, 2)), event_ndim=2
        )


def test_bernoulli_is_the_log_probability_of_coins():
    rng = np.random.default_rng(0)
    x, output = rng.integers(0, 2, (4, 3, 2)), rng.normal(size=(4, 3, 2)) * 3
    got = te.likelihoods.bernoulli().log_prob(
        jnp.asarray(x, jnp.float32), jnp.asarray(output), event_ndim=2
    )
    expected = stats.bernoulli(1 / (1 + np.exp(-output))).logpmf(x).sum((1, 2))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_bernoulli_stays_finite_at_large_odds():
    values = te.likelihoods.bernoulli().log_prob(
        jnp.array([1.0, 0.0]), jnp.array([500.0, -500.0]), event_ndim=0
    )
    np.testing.assert_array_equal(values, 0.0)


@pytest.mark.statistical
def test_bernoulli_samples_follow_their_odds():
    likelihood = te.likelihoods.bernoulli()
    output = jnp.full(100_000, 0.8)
    draws = np.asarray(likelihood.sample(gt.key(1), output))
    assert set(np.unique(draws)) == {0.0, 1.0}
    gt.assert_expectations(draws[:, None], float(likelihood.mean(output[:1])[0]), "mean")
