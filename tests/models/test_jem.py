import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests.models import checks_jem as checks


@pytest.mark.statistical
def test_marginal_chains_keep_the_mixture():
    checks.marginal_chains_keep_the_mixture()


@pytest.mark.statistical
def test_conditional_chains_keep_their_class():
    checks.conditional_chains_keep_their_class()


def test_densities_and_probabilities_are_those_of_the_mixture():
    checks.densities_and_probabilities_are_those_of_the_mixture()


@pytest.mark.statistical
def test_the_joint_loss_is_the_likelihood_of_examples_and_labels():
    checks.the_joint_loss_is_the_likelihood_of_examples_and_labels()


def test_one_step_raises_data_above_negatives():
    checks.one_step_raises_data_above_negatives()


def test_the_score_norm_is_that_of_the_gradient():
    jem, params = checks.normal_jem(), {"shift": jnp.zeros(3)}
    x = jnp.array([[0.5, -1.0], [2.0, 2.0]])
    weights = np.asarray(jax.jit(jem.class_probabilities)(params, x))
    expected = np.einsum("nc,ncd->nd", weights, checks.MEANS - np.asarray(x)[:, None])
    np.testing.assert_allclose(
        jax.jit(jem.score_norm)(params, x), np.linalg.norm(expected, axis=1), rtol=1e-4
    )


def test_the_parts_of_the_loss_add_up():
    jem, params = checks.normal_jem(), {"shift": jnp.array([0.1, 0.0, -0.2])}
    x, label = checks.mixture_draws(jax.random.key(0), 20)
    z, _ = checks.mixture_draws(jax.random.key(1), 30)

    @jax.jit
    def evaluate(x, z):
        return (
            jem.loss(params, x, label, z, classify=2.0, density=0.5, energy_penalty=0.1),
            jem.loss(params, x, label),
            jem.negative_energy(params, x),
            jem.negative_energy(params, z),
            jem.class_probabilities(params, x),
        )

    found, alone, f, g, probabilities = jax.tree.map(np.asarray, evaluate(x, z))
    cross = -np.log(probabilities[np.arange(20), label]).mean()
    expected = 2 * cross + 0.5 * (g.mean() - f.mean()) + 0.1 * ((f**2).mean() + (g**2).mean())
    np.testing.assert_allclose(found.total, expected, rtol=1e-4)
    np.testing.assert_allclose(found.cross_entropy, cross, rtol=1e-4)
    np.testing.assert_allclose((found.data_energy, found.sample_energy), (-f.mean(), -g.mean()),
                               rtol=1e-4)  # fmt: skip
    np.testing.assert_allclose(alone.total, cross, rtol=1e-4)


def test_the_classifier_and_the_density_may_see_different_examples():
    jem, params = checks.normal_jem(), {"shift": jnp.zeros(3)}
    x, label = checks.mixture_draws(jax.random.key(0), 20)
    z, _ = checks.mixture_draws(jax.random.key(1), 20)
    found, alone, f = jax.jit(
        lambda x, z: (
            jem.loss(params, x, label, z, data=x + 1.0),
            jem.loss(params, x, label),
            jem.negative_energy(params, x + 1.0),
        )
    )(x, z)
    np.testing.assert_allclose(found.cross_entropy, alone.cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(found.data_energy, -f.mean(), rtol=1e-5)


def test_no_gradient_passes_through_negatives():
    jem, params = checks.normal_jem(), {"shift": jnp.zeros(3)}
    x, label = checks.mixture_draws(jax.random.key(0), 5)
    grad, chained = jax.jit(
        lambda z, p: (
            jax.grad(lambda z: jem.loss(params, x, label, z).total)(z),
            jax.grad(lambda p: jem.run_chains(jax.random.key(1), p, x, label).position.sum())(p),
        )
    )(x + 0.1, params)
    assert not grad.any()
    assert not chained["shift"].any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: te.models.JEM(checks.NormalClasses, (2,), 1), "num_classes must be an integer"),
        (
            lambda: te.models.JEM(checks.NormalClasses, (2,), 4).init(jax.random.key(0)),
            r"classifier returned shape \(2, 3\) .* expected \(2, 4\), one logit per class",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(te.InputError, match=message):
        build()
