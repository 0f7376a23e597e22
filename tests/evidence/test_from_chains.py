"""Kernel, ladder and estimator together, on models whose evidence is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt


def estimate_from_chains(target, position, temperatures, step_size, rng_key):
    """Tempered MALA, the ladder folded into the chain axes, started from the prior side."""
    kernel = te.tempered_mala(target, temperatures, step_size)
    warm_key, run_key = jax.random.split(rng_key)
    state = te.inference.advance(warm_key, kernel, kernel.init(position), 200)
    _, loglikelihoods = te.inference.trace(
        run_key, kernel, state, 400, statistic_fn=lambda state, info: state.loglikelihood
    )
    return te.thermodynamic_integration(temperatures, loglikelihoods.swapaxes(0, 1))


@pytest.mark.statistical
@pytest.mark.parametrize("num", [10, pytest.param(30, marks=pytest.mark.slow)])
def test_chains_on_the_linear_gaussian_model_find_its_evidence_within_their_error_bars(num):
    path, temperatures = gt.LINEAR_GAUSSIAN, te.schedules.power(num, 3.0)
    step_size = 0.5 / jnp.linalg.eigvalsh(
        jnp.stack([path.precision(t) for t in np.asarray(temperatures, float)])
    ).max(-1)
    position = jax.random.normal(gt.key(1), (num, 64, 2))
    estimate = jax.jit(
        lambda key, z: estimate_from_chains(path.target, z, temperatures, step_size, key)
    )(gt.key(0), position)
    assert 0 < estimate.standard_error < 0.03
    z = (estimate.log_evidence - path.log_z(1.0)) / estimate.standard_error
    limit = gt.z_threshold(3)
    assert abs(z) < limit
    slack = limit * estimate.standard_error
    assert estimate.lower_bound - slack < path.log_z(1.0) < estimate.upper_bound + slack


@pytest.mark.statistical
def test_the_partition_function_of_an_ebm_is_an_evidence():
    """With N(0, I) as prior and f as log-likelihood, log Z is thermodynamic integration."""
    toy = te.densities
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2, -1), toy.egg_crate_negative_energy)
    temperatures = te.schedules.uniform(12)
    position = jax.random.normal(gt.key(1), (12, 256, 2))
    estimate = jax.jit(lambda key, z: estimate_from_chains(target, z, temperatures, 0.15, key))(
        gt.key(0), position
    )
    assert 0 < estimate.standard_error < 0.02
    z = (estimate.log_evidence - toy.egg_crate().log_normalizer) / estimate.standard_error
    assert abs(z) < gt.z_threshold(3)
