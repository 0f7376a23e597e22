"""The analysis of variance of gradients, on a random-effects model whose parts are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import learning
from tests import ground_truths as gt
from tests.models import checks_models as checks

# One compilation each, in the place of one for every operation.
gradient_statistics = jax.jit(learning.gradient_statistics)
legacy_gradient_variance = jax.jit(learning.legacy_gradient_variance)


@pytest.mark.statistical
@pytest.mark.parametrize("with_noisy_reference", [False, True])
def test_every_part_is_unbiased(with_noisy_reference):
    checks.gradient_statistics_are_unbiased(with_noisy_reference)


def test_an_exact_gradient_has_no_variance_and_cosine_one():
    g = jnp.broadcast_to(jnp.arange(1.0, 5.0), (3, 2, 4))
    statistics = gradient_statistics({"w": g}, {"w": g[:, 0]})["w"]
    for value in (statistics.variance, statistics.squared_bias, statistics.minibatch_variance):
        assert float(value) == 0.0
    assert float(statistics.cosine) == pytest.approx(1.0, abs=1e-6)
    assert float(statistics.squared_norm) == pytest.approx(30.0)


def test_groups_are_the_parts_of_the_parameters_and_add_up():
    rng = np.random.default_rng(0)
    params = te.models.LatentEBMParams(
        {"w": rng.normal(size=(5, 3, 2, 2))},
        {"v": rng.normal(size=(5, 3, 4)), "u": np.ones((5, 3))},
    )
    parts = gradient_statistics(params)
    assert set(parts) == {"prior", "generator", "all"}
    for field in ("variance", "mcmc_variance", "minibatch_variance", "squared_norm"):
        total = getattr(parts["prior"], field) + getattr(parts["generator"], field)
        np.testing.assert_allclose(getattr(parts["all"], field), total, rtol=1e-4, atol=1e-6)
    assert np.isnan(parts["all"].squared_bias)


def test_one_minibatch_has_no_minibatch_variance():
    rng = np.random.default_rng(0)
    g = rng.normal(size=(1, 6, 3)).astype(np.float32)
    statistics = gradient_statistics([g])["all"]
    assert np.isnan(statistics.minibatch_variance)
    np.testing.assert_allclose(statistics.variance, g[0].var(0, ddof=1).sum(), rtol=1e-5)


def test_the_legacy_variance_is_over_coordinates():
    gradient = {"a": jnp.array([[1.0, 2.0]]), "b": jnp.array([6.0])}
    expected = np.var([1, 2, 6])
    assert float(legacy_gradient_variance(gradient)) == pytest.approx(expected, rel=1e-6)


def test_the_legacy_variance_of_an_exact_gradient_is_not_zero_and_scales_with_it():
    gradient = {"a": jnp.array([1.0, 2.0, 6.0])}
    tenfold = jax.tree.map(lambda g: 10 * g, gradient)
    once, hundred = (float(legacy_gradient_variance(g)) for g in (gradient, tenfold))
    assert once > 1
    assert hundred == pytest.approx(100 * once, rel=1e-5)


@pytest.mark.parametrize("shape", [(4,), (4, 1, 3)])
def test_too_few_repeats_are_named(shape):
    with pytest.raises(te.InputError, match=r"lead with \(minibatches, repeats >= 2\), got"):
        gradient_statistics({"w": jnp.ones(shape)})


def test_a_reference_of_other_minibatches_is_named():
    with pytest.raises(te.InputError, match=r"reference must lead with \(4,\), got \[\(3,\)\]"):
        gradient_statistics({"w": jnp.ones((4, 2, 3))}, {"w": jnp.ones((3, 3))})


@pytest.mark.statistical
def test_posterior_and_pooled_split_as_they_should_on_the_linear_model():
    """Chains alone make the variance of repeats; images alone that between minibatches."""
    ebm, num = checks.linear_ebm(), 24
    rng = gt.rng(5)
    x = jnp.asarray(rng.normal(size=(num, 8, 3)) * 1.5, jnp.float32)

    @jax.jit
    def estimates(keys):
        one = jax.grad(lambda p, x, key: -ebm.loss(key, p, x))
        over_repeats = jax.vmap(one, in_axes=(None, None, 0))
        return jax.vmap(over_repeats, in_axes=(None, 0, 0))(checks.LINEAR_PARAMS, x, keys)

    exact = jax.jit(
        jax.vmap(
            jax.grad(lambda p, x: jnp.mean(checks.linear_log_evidence(p, x))), in_axes=(None, 0)
        )
    )(checks.LINEAR_PARAMS, x)
    keys = jax.random.split(gt.key(6), (num, 16))
    got = gradient_statistics(estimates(keys), exact)["all"]
    between = sum(np.var(np.asarray(g), axis=0, ddof=1).sum() for g in jax.tree.leaves(exact))
    assert float(got.minibatch_variance) == pytest.approx(float(between), rel=0.2)
    limit = gt.z_threshold(1, num) * float(got.squared_bias_error)
    assert abs(float(got.squared_bias)) < limit
    assert limit < 0.2 * float(got.mcmc_variance)
