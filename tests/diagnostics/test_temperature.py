import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import diagnostics
from tests import ground_truths as gt
from tests.diagnostics import checks_diagnostics as checks


def estimates(position, grad):
    """One estimate, and its error, for each leading index."""
    return jax.vmap(diagnostics.virial_temperature)(position, grad)


@pytest.mark.statistical
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("num_chains", [2, 7])
def test_it_is_unbiased_for_few_chains_of_a_skewed_law(temperature, num_chains):
    checks.temperature_is_unbiased(temperature, num_chains)


@pytest.mark.statistical
def test_pytrees_and_two_chain_axes():
    rng = gt.rng(1)
    scale = np.array([0.5, 3.0, 1.0])
    position = {
        "a": 10 + np.sqrt(2) * scale * rng.standard_normal((20_000, 2, 3, 3)),
        "b": np.sqrt(2) * rng.standard_normal((20_000, 2, 3)),
    }
    grad = {"a": -(position["a"] - 10) / scale**2, "b": -position["b"]}
    estimate = jax.vmap(lambda z, g: diagnostics.virial_temperature(z, g, chain_ndim=2))
    values = estimate(jax.tree.map(jnp.float32, position), jax.tree.map(jnp.float32, grad))
    gt.assert_expectations(values.temperature, 2.0)


@pytest.mark.statistical
def test_the_standard_error_is_calibrated():
    z = jnp.asarray(gt.rng(2).standard_normal((4000, 400, 2)), jnp.float32)
    result = estimates(z + 5, -z)
    temperature, error = (np.asarray(v, np.float64) for v in result)
    # Over 400 chains the squared error is unbiased up to a relative 1/400.
    gt.assert_expectations((temperature - 1) ** 2 / error.mean() ** 2, 1.0, slack=0.01)


def test_a_shift_of_the_origin_changes_nothing():
    z = jnp.asarray(gt.rng(3).standard_normal((50, 2)), jnp.float32)
    slide = -z + 7.0
    here = diagnostics.virial_temperature(z, slide).temperature
    there = diagnostics.virial_temperature(z + 100, slide).temperature
    np.testing.assert_allclose(here, there, rtol=1e-4)


@pytest.mark.statistical
@pytest.mark.parametrize("h", [0.05, 0.5, 1.5])
def test_ula_is_hot_by_its_discretisation(h):
    """Each direction of precision λ is at 1 / (1 - hλ/2), the mean over directions at theirs."""
    precision = np.array([1.0, 0.25])
    temperatures = 1 / (1 - h * precision / 2)
    noise = gt.rng(4).standard_normal((4000, 25, 2))
    start = jnp.asarray(noise * np.sqrt(temperatures / precision), jnp.float32)
    kernel = te.ula(lambda z: -0.5 * jnp.sum(precision * z**2, -1), h)
    state = te.inference.short_run(gt.key(0), kernel, start, 3)
    both = estimates(state.position, state.logdensity_grad)
    gt.assert_expectations(both.temperature, temperatures.mean())
    for i in range(2):
        one = estimates(state.position[..., i : i + 1], state.logdensity_grad[..., i : i + 1])
        gt.assert_expectations(one.temperature, temperatures[i], f"direction {i}")


@pytest.mark.statistical
def test_noise_decoupled_from_the_step_shows_its_temperature():
    """Step 1 and noise 0.01 on a quadratic: T is 5e-5 and h ||grad||^2 / (2d) more."""
    h, noise_scale, precision = 1.0, 0.01, np.array([0.2, 1.2])
    nominal = diagnostics.effective_temperature(h, noise_scale)
    np.testing.assert_allclose(nominal, 5e-5)
    rng = gt.rng(5)
    variance = nominal / precision / (1 - h * precision / 2)
    z = rng.standard_normal((4000, 25, 2)) * np.sqrt(variance)
    for _ in range(5):
        z = z - h * precision * z + noise_scale * rng.standard_normal(z.shape)
    grad = -precision * z
    values = np.asarray(estimates(jnp.float32(z), jnp.float32(grad)).temperature, np.float64)
    gt.assert_expectations(values, (nominal / (1 - h * precision / 2)).mean())
    gt.assert_expectations(values - h * (grad**2).sum(-1).mean(-1) / 4, nominal)


def test_langevin_noise_is_at_temperature_one():
    noise_scale = 0.37
    step_size = te.step_size_from_noise_scale(noise_scale)
    np.testing.assert_allclose(diagnostics.effective_temperature(step_size, noise_scale), 1.0)
    np.testing.assert_allclose(
        diagnostics.effective_temperature(np.array([1.0, 2.0]), 2.0), [2.0, 1.0]
    )


Z = jnp.ones((3, 2))


@pytest.mark.parametrize(
    ("position", "grad", "options", "message"),
    [
        (Z, Z[:2], {}, r"logdensity_grad must be shaped like position, \(3, 2\), got \(2, 2\)"),
        (Z[:1], Z[:1], {}, r"at least two chains, got chain shape \(1,\)"),
        (Z, Z, {"chain_ndim": 3}, "position must lead with 3 chain axes"),
        (Z, Z, {"chain_ndim": 0}, "chain_ndim must be an integer >= 1, got 0"),
        ({"a": Z, "b": Z[:2]}, {"a": Z, "b": Z[:2]}, {}, "the same on every leaf"),
        (jnp.ones((3, 2), int), Z, {}, "position must have a floating dtype"),
    ],
)
def test_bad_input_is_named(position, grad, options, message):
    with pytest.raises(te.InputError, match=message):
        diagnostics.virial_temperature(position, grad, **options)


def test_a_scale_that_is_not_positive_is_named():
    with pytest.raises(te.InputError, match="noise_scale must be positive and finite, got 0"):
        diagnostics.effective_temperature(0.1, 0)
    with pytest.raises(te.InputError, match="step_size must be positive and finite, got -1"):
        diagnostics.effective_temperature(-1, 0.1)
