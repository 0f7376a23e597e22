import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.evidence import _reference_fit as fitting
from tests.evidence import checks_reference as checks


@pytest.mark.parametrize("dimension", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_gaussian_posterior_is_fitted(dimension):
    checks.a_gaussian_posterior_is_fitted(dimension)


@pytest.mark.slow
def test_four_modes_are_found_with_their_masses():
    """From prior draws and posterior draws of only the largest mode."""
    problem = pytest.importorskip("benchmarks.evidence.gaussian").mixture(2)
    rng = np.random.default_rng(0)
    centres = 3.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    particles = centres[0] + 0.3 * rng.standard_normal((256, 2))
    history = problem.sample_prior(jax.random.key(0), 256)[None]
    fit = checks.fitted(problem.target, particles, history)
    # Evidence of each mode: w N(c; 0, S² + s²), nearly in proportion to w.
    scales = np.array([0.3, 0.4, 0.5, 0.3])
    spread = 9 + scales**2
    expected = np.array([0.4, 0.3, 0.2, 0.1]) * np.exp(-9 / spread) / spread
    np.testing.assert_allclose(
        checks.masses(fit.reference, centres), expected / expected.sum(), atol=0.05
    )
    assert checks.effective_share(fit, problem.target) > 0.7


def two_modes(share):
    """Modes at -4 and 4 of widths .2 and .5, the first of ``share`` of the mass."""

    def loglikelihood(z):
        first = jax.scipy.stats.norm.logpdf(z, -4.0, 0.2).sum(-1) + jnp.log(share)
        second = jax.scipy.stats.norm.logpdf(z, 4.0, 0.5).sum(-1) + jnp.log1p(-share)
        flat = 0.5 * jnp.sum((z / 3) ** 2, -1)
        return jnp.logaddexp(first, second) + flat

    return te.TemperedTarget(lambda z: -0.5 * jnp.sum((z / 3) ** 2, -1), loglikelihood)


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [1, 3])
def test_a_mode_that_the_particles_have_forgotten_is_in_their_history(dimension):
    target, rng = two_modes(0.4), np.random.default_rng(1)
    particles = 4 + 0.5 * rng.standard_normal((256, dimension))
    both = np.where(rng.random((256, 1)) < 0.5, -4.0, 4.0)
    history = np.stack([both + rng.standard_normal((256, dimension)), particles])
    fit = checks.fitted(target, particles, history)
    centres = np.array([[-4.0], [4.0]]) * np.ones(dimension)
    np.testing.assert_allclose(checks.masses(fit.reference, centres), [0.4, 0.6], atol=0.05)
    assert checks.effective_share(fit, target) > 0.7


@pytest.mark.slow
def test_a_bent_ridge():
    problem = pytest.importorskip("benchmarks.evidence.curved").banana()
    # Exact draws of the posterior by resampling a million of the prior.
    z = problem.sample_prior(jax.random.key(0), 1_000_000)
    weights = jax.nn.softmax(problem.target.loglikelihood_fn(z))
    particles = z[jax.random.choice(jax.random.key(1), len(z), (256,), p=weights)]
    fit = checks.fitted(problem.target, particles)
    assert checks.effective_share(fit, problem.target) > 0.5


def test_climbs_end_at_the_mode_of_a_skewed_density():
    """``e^z ~ Gamma(a, 1)`` has its mode in z at ``log a``, with precision ``a``."""
    a = jnp.array([0.5, 3.0, 40.0])
    target = te.TemperedTarget(lambda z: jnp.sum(a * z, -1), lambda z: -jnp.sum(jnp.exp(z), -1))
    starts = jnp.array([[0.0, 0.0, 0.0], [-2.0, 2.0, 4.0], [1.0, -1.0, 3.0]])
    climb = fitting._maximise(checks.operand(target), starts, jnp.array([1.4, 0.6, 0.16]))
    np.testing.assert_allclose(climb.mode, np.log(a) * np.ones((3, 1)), atol=0.03)
    expected = np.diag(a) * np.ones((3, 1, 1))
    np.testing.assert_allclose(climb.precision, expected, rtol=0.1, atol=0.02)


@pytest.mark.slow
def test_the_mixture_of_a_target_without_a_mode_is_that_of_the_particles():
    """A likelihood that is flat, and a prior that is -inf beyond a box: no curvature at all."""
    target = te.TemperedTarget(
        lambda z: jnp.where(jnp.all(jnp.abs(z) < 1, -1), 0.0, -jnp.inf) - 2 * jnp.log(2.0),
        lambda z: jnp.zeros(z.shape[:-1]),
    )
    particles = np.random.default_rng(0).uniform(-1, 1, (256, 2))
    fit = checks.fitted(target, particles)
    assert checks.effective_share(fit, target) > 0.4
