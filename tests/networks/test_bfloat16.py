"""Energies in bfloat16: the law that chains keep, and how far it is from that in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.networks import in_bfloat16
from tempered_ebm.networks.adapters import PureNetwork
from tests import ground_truths as gt

WEIGHTS = np.array([3.0077, -1.0038, 0.5])
"""The first two lie almost half way between neighbours in bfloat16."""
ROUNDED = np.array([3.0, -1.0, 0.5])
HALF_A_UNIT = 2.0**-8
"""Relative error of rounding to 8 significant bits, at most."""


def linear(weights):
    """log p(z) = f(z) - |z|²/2 with f(z) = w · z in bfloat16."""
    network = in_bfloat16(PureNetwork(lambda key, z: weights, lambda params, z: z @ params))
    params = jnp.asarray(weights, jnp.float32)
    return lambda z: network.apply(params, z) - 0.5 * jnp.sum(z**2, -1)


def run(kernel, start, num_steps, seed):
    program = jax.jit(lambda key, z: te.inference.short_run(key, kernel, z, num_steps).position)
    return np.asarray(program(gt.key(seed), jnp.asarray(start, jnp.float32)), np.float64)


@pytest.mark.slow
@pytest.mark.statistical
def test_ula_keeps_the_law_of_the_rounded_weights_and_not_of_the_weights():
    """ULA of N(w, I) keeps N(w, I / (1 - h/2))."""
    h, n = 0.2, 1_000_000
    variance = 1 / (1 - h / 2)
    start = ROUNDED + variance**0.5 * gt.rng(0).normal(size=(n, 3))
    z = run(te.ula(linear(WEIGHTS), step_size=h), start, 5, seed=1)
    rows = np.concatenate([z, (z - ROUNDED) ** 2], 1)
    gt.assert_expectations(rows, [*ROUNDED, *[variance] * 3], "bfloat16")
    with pytest.raises(AssertionError, match="1 of 3 means are wrong"):
        gt.assert_expectations(z, WEIGHTS)
    assert np.all(np.abs(ROUNDED - WEIGHTS) <= HALF_A_UNIT * np.abs(WEIGHTS))


def rounded_density(weight):
    """Grid, weights and distribution function of exp(f(z) - z²/2), f(z) = wz in bfloat16."""
    grid = np.linspace(-6, 12, 1_800_001)
    log_density = np.asarray(linear(np.array([weight]))(jnp.asarray(grid[:, None], jnp.float32)))
    probability = np.exp(log_density - log_density.max())
    probability /= probability.sum()
    return grid, probability, np.cumsum(probability)


@pytest.mark.slow
@pytest.mark.statistical
def test_mala_keeps_the_density_of_the_rounded_energy():
    """A step function of z, with moments and exact draws by quadrature.

    Its mean is 0.0075 from that in float32, which is what rounding does to the weight; what it
    does to positions and energies averages out (the variance changes by 3e-5).
    """
    grid, probability, cumulative = rounded_density(WEIGHTS[0])
    start = np.interp(gt.rng(2).uniform(size=400_000), cumulative, grid)
    z = run(te.mala(linear(WEIGHTS[:1]), step_size=0.5), start[:, None], 5, seed=3)
    mean = probability @ grid
    variance = probability @ (grid - mean) ** 2
    gt.assert_expectations(np.concatenate([z, (z - mean) ** 2], 1), [mean, variance], "bfloat16")
    assert 0 < abs(mean - WEIGHTS[0]) < HALF_A_UNIT * WEIGHTS[0]
    assert abs(variance - 1) < 1e-3
