"""Estimators against autodiff of closed-form objectives on z ~ N(a, 1), x|z ~ N(b z, s2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import learning
from tests.models import checks_models as checks

EXACT = np.array([1.4724, 2.7316])


def quadratic(t):
    return 3 * t**2


def test_covariance_reaches_the_exact_gradient_as_the_ladder_fills_up():
    checks.covariance_gradient_is_that_of_the_integral()


def test_pooled_is_exact_on_a_coarse_ladder():
    checks.pooled_gradient_is_exact_on_a_coarse_ladder()


def test_pooled_on_one_rung_is_posterior():
    rng = np.random.default_rng(0)
    ell, f = rng.normal(size=(2, 1, 3, 4)).astype(np.float32)
    got, expected = (
        jax.jit(estimator.objective)(jnp.ones(1), ell, f, f[0, 0])
        for estimator in (learning.pooled(), learning.posterior())
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_weights_are_frozen_and_each_observation_has_its_own():
    rng = np.random.default_rng(1)
    ladder = te.schedules.power(4, 2.0)
    ell = jnp.asarray(rng.normal(size=(4, 3, 5)) * 3, jnp.float32)

    @jax.jit
    def weigh(ell):
        return (
            learning.posterior_weights(ladder, ell),
            learning.posterior_weights(ladder, ell[:, :, 2:3]),
            jax.grad(lambda e: learning.posterior_weights(ladder, e)[-1].sum())(ell),
        )

    weights, alone, gradient = map(np.asarray, weigh(ell))
    np.testing.assert_allclose(weights.sum((0, 1)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(weights[:, :, 2:3], alone, rtol=1e-4)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("make", [learning.covariance, learning.pooled])
def test_equal_loglikelihoods_and_one_chain_too_many(make):
    """Constant l: every draw weighs the same and nothing correlates."""
    ell, f = jnp.full((3, 2, 4), -2.0), jnp.arange(24.0).reshape(3, 2, 4)
    value = jax.jit(make().objective)(te.schedules.uniform(3), ell, f, jnp.zeros(2))
    expected = -2.0 + (f.mean() if make is learning.pooled else 0.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_covariance_of_one_chain_is_refused():
    ell = jnp.ones((3, 1, 4))
    with pytest.raises(te.InputError, match="at least 2 chains, got 1"):
        learning.covariance().objective(te.schedules.uniform(3), ell, ell, ell[0, 0])


WEIGHTS = {
    "uniform": ("uniform", lambda t: 1.0),
    "inverse": ("inverse", lambda t: 1 / t),
    "quadratic": (quadratic, quadratic),
}


def test_posterior_is_the_exact_gradient():
    checks.posterior_gradient_is_exact()


@pytest.mark.parametrize("name", WEIGHTS)
def test_path_reaches_the_gradient_of_its_own_objective(name):
    """Trapezoid: the distance falls with K, at least as fast as 1/K."""
    weight, density = WEIGHTS[name]
    limit = checks.path_objective_gradient(density)
    coarse, fine = (
        np.abs(checks.estimate_gradient(learning.path(weight), num) - limit) for num in (200, 2_000)
    )
    assert np.all(fine < 2e-2)
    assert np.all(fine < coarse / 5)
    assert np.all(np.abs(limit - EXACT) > 0.05)


def test_the_frozen_ti_limit():
    limit = checks.path_objective_gradient(lambda t: 1 / t)
    assert limit[1] == pytest.approx(3.6130, abs=1e-4)
    gradient = checks.estimate_gradient(learning.path("frozen_ti"), 2_000)
    assert gradient[1] == pytest.approx(3.6130, abs=1e-3)
    assert gradient[0] == 0.0


def test_frozen_ti_equals_inverse_for_the_generator():
    frozen, inverse = (
        checks.estimate_gradient(learning.path(w), 20) for w in ("frozen_ti", "inverse")
    )
    assert frozen[1] == pytest.approx(inverse[1], rel=1e-12)
    assert inverse[0] > 0


def test_at_a_finite_ladder_path_is_the_trapezoidal_sum():
    ladder = (np.arange(7) / 6) ** 2
    gradient = checks.estimate_gradient(learning.path("uniform"), ladder=ladder)
    values = np.stack(
        [t * checks.mean_gradients(t) / np.array([max(t, 1e-300), 1]) for t in ladder]
    )
    np.testing.assert_allclose(gradient, np.trapezoid(values, ladder, axis=0), rtol=1e-10)


@pytest.mark.parametrize("name", ["uniform", "inverse"])
def test_path_objectives_are_below_the_evidence(name):
    _, density = WEIGHTS[name]
    share = 0.5 if name == "uniform" else 1.0
    with jax.enable_x64(True):
        objective = jax.jit(checks.path_objective(density))(checks.PARAMS)
        assert objective < share * checks.log_z(1.0, checks.PARAMS)


def test_the_closed_form_is_that_of_the_documented_numbers():
    with jax.enable_x64(True):
        assert float(checks.log_z(1.0, checks.PARAMS)) == pytest.approx(-1.9297, abs=1e-4)
        gradient = jax.jit(jax.grad(lambda p: checks.log_z(1.0, p)))(checks.PARAMS)
    np.testing.assert_allclose(gradient, EXACT, atol=1e-4)


def test_the_objective_averages_over_the_batch_and_the_prior_draws():
    rng = np.random.default_rng(0)
    ell, f, f_prior = rng.normal(size=(2, 3, 2, 4)).astype(np.float32), None, rng.normal(size=5)
    ell, f = ell
    got = jax.jit(learning.posterior().objective)(jnp.array([0.0, 0.5, 1.0]), ell, f, f_prior)
    expected = np.mean(ell[-1]) + np.mean(f[-1]) - np.mean(f_prior)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_names_and_needs():
    assert learning.posterior().name == "posterior"
    assert not learning.posterior().uses_ladder
    assert learning.path("inverse").name == "path:inverse"
    assert learning.path(quadratic).name == "path:quadratic"
    assert learning.path().uses_ladder


@pytest.mark.parametrize("bad", ["linear", None, 3.0])
def test_a_bad_weight_is_named(bad):
    with pytest.raises(te.InputError, match=r"weight must be a function of t or one of .*got"):
        learning.path(bad)
    with pytest.raises(te.InputError, match=r"weight must be a function of t or one of .*got"):
        learning.path_coefficients(te.schedules.uniform(3), bad)


def test_path_traces_once_for_all_ladders():
    traces = []

    @jax.jit
    def objective(ladder, ell):
        traces.append(1)
        return learning.path("inverse").objective(ladder, ell, ell, ell[0, 0])

    ell = jnp.ones((5, 3, 2))
    values = [objective(te.schedules.power(5, p), ell) for p in (1.0, 2.0)]
    assert len(traces) == 1
    assert np.all(np.isfinite(values))
