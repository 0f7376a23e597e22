import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.target import temper, tempered_logdensity
from tests import ground_truths as gt

TEMPERATURES = (0.0, 0.3, 1.0)


@pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
def test_value_and_gradient_are_those_of_the_tempered_density(path):
    with jax.enable_x64(True):
        for t in TEMPERATURES:
            z = path.sample(np.random.default_rng(0), t, 20)
            value, grad = tempered_logdensity(path.target.evaluate(jnp.asarray(z)), t)
            np.testing.assert_allclose(grad, path.grad(z, t), rtol=1e-10, atol=1e-10)
            difference = np.asarray(value) - path.logdensity(z, t)
            np.testing.assert_allclose(difference, difference[0], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(path.target.logdensity(z, t), value, rtol=1e-12)


def test_one_temperature_per_chain():
    target = gt.LINEAR_GAUSSIAN.target
    z = jax.random.normal(jax.random.key(0), (3, 4, 2))
    ladder = jnp.array(TEMPERATURES)

    @jax.jit
    def evaluate(z, t):
        return target.logdensity(z, t), *tempered_logdensity(target.evaluate(z), t)

    together, value, grad = evaluate(z, ladder)
    for k, t in enumerate(TEMPERATURES):
        one, one_value, one_grad = evaluate(z[k], t)
        np.testing.assert_allclose(together[k], one, rtol=1e-5)
        np.testing.assert_allclose(value[k], one_value, rtol=1e-5)
        np.testing.assert_allclose(grad[k], one_grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [-np.inf, np.inf, np.nan])
def test_the_product_with_temperature_zero_is_zero(bad):
    prior, likelihood = jnp.array([1.0, 2.0]), jnp.array([bad, bad])
    np.testing.assert_array_equal(temper(0.0, prior, likelihood), prior)
    mixed = temper(jnp.array([0.0, 0.5]), prior, likelihood)
    assert mixed[0] == 1.0
    assert not np.isfinite(mixed[1])


def test_the_halves_are_kept_apart():
    path, z = gt.LINEAR_GAUSSIAN, jnp.array([[0.3, -0.7]])
    evaluation = path.target.evaluate(z)
    np.testing.assert_allclose(
        evaluation.loglikelihood, path.loglikelihood(np.asarray(z)), rtol=1e-5
    )
    np.testing.assert_allclose(evaluation.logprior_grad, path.grad(np.asarray(z), 0.0), rtol=1e-5)
    both = evaluation.logprior_grad + evaluation.loglikelihood_grad
    np.testing.assert_allclose(both, path.grad(np.asarray(z), 1.0), rtol=1e-5)


def test_position_may_be_a_pytree():
    target = te.TemperedTarget(lambda p: -jnp.sum(p["a"] ** 2), lambda p: jnp.sum(p["b"]))
    position = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
    value, grad = tempered_logdensity(target.evaluate(position), 0.25)
    assert float(value) == pytest.approx(-4.0)
    np.testing.assert_allclose(grad["a"], [0.0, -2.0, -4.0])
    np.testing.assert_allclose(grad["b"], np.full((2, 2), 0.25))


def test_disagreeing_shapes_are_named():
    target = te.TemperedTarget(lambda z: jnp.sum(z, -1), lambda z: jnp.sum(z))
    with pytest.raises(te.InputError, match=r"logprior_fn returned shape \(3,\) and loglikelihood"):
        target.evaluate(jnp.ones((3, 2)))


def test_a_temperature_that_fits_no_chain_axis_is_named():
    with pytest.raises(te.InputError, match=r"per-chain value has shape \(3,\)"):
        gt.LINEAR_GAUSSIAN.target.logdensity(jnp.ones((4, 2)), jnp.ones(3))


def test_derivatives_in_forward_mode_are_those_of_the_function():
    data = jnp.array([0.5, 2.0])

    def closed(z):
        return jnp.sum(jnp.sin(z["a"]) * data) * z["b"] ** 2

    def looped(z):
        """The same value, through a loop of a length that nobody knows before."""
        return jax.lax.while_loop(lambda x: x[1] < 1, lambda x: (closed(z), x[1] + 1), (0.0, 0))[0]

    z = {"a": jnp.array([0.3, -1.0]), "b": jnp.array(1.5)}
    forward = te.forward_mode(looped)
    assert forward(z) == closed(z)
    for derivative in (jax.grad, jax.hessian):
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5),
            jax.jit(derivative(forward))(z),
            derivative(closed)(z),
        )
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), z)
    value, grad = te.TemperedTarget(jax.vmap(forward), jax.vmap(forward)).evaluate(batch)[1:3]
    np.testing.assert_allclose(value, jax.vmap(closed)(batch), rtol=1e-6)
    np.testing.assert_allclose(grad["b"], jax.vmap(jax.grad(closed))(batch)["b"], rtol=1e-5)
