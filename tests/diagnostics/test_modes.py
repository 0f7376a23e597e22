import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import densities as toy
from tempered_ebm import diagnostics
from tests import ground_truths as gt
from tests.diagnostics import checks_diagnostics as checks

MODES = jnp.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 5.0]])


def test_draws_go_to_the_nearest_mode_and_strays_to_none():
    positions = jnp.array([[-2.0, 0.5], [-9.0, 0.0], [1.0, 0.0], [0.1, 0.0], [jnp.nan, 0.0]])
    everywhere = diagnostics.mode_occupancy(positions, MODES)
    np.testing.assert_allclose(everywhere.fraction, [0.4, 0.4, 0.0], rtol=1e-6)
    np.testing.assert_allclose(everywhere.outside, 0.2, rtol=1e-6)
    nearby = diagnostics.mode_occupancy(positions, MODES, radius=1.0)
    np.testing.assert_allclose(nearby.fraction, [0.2, 0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(nearby.outside, 0.6, rtol=1e-6)


@pytest.mark.statistical
def test_exact_draws_divide_evenly_and_the_errors_are_calibrated():
    density = toy.eight_gaussians()
    angles = 2 * np.pi * np.arange(8) / 8
    modes = jnp.asarray(2 * np.stack([np.cos(angles), np.sin(angles)], -1))
    draws = density.sample(gt.key(0), 3 * 50 * 4000).reshape(4000, 3, 50, 2)
    occupancy = jax.vmap(lambda z: diagnostics.mode_occupancy(z, modes))(draws)
    gt.assert_expectations(occupancy.fraction, 1 / 8)
    deviations = np.asarray(occupancy.fraction, np.float64) - 1 / 8
    # The squared error is unbiased: draws of a chain are averaged, chains are independent.
    squared_error = np.asarray(occupancy.standard_error, np.float64) ** 2
    gt.assert_expectations(deviations**2 - squared_error, 0.0)


def test_chains_that_never_move_gain_no_precision_from_length():
    checks.stuck_chains_gain_no_precision_from_length()


@pytest.mark.parametrize(
    ("positions", "modes", "radius", "message"),
    [
        (jnp.ones((4, 2)), jnp.ones(2), None, r"modes must have shape \(M, d\).* got \(2,\)"),
        (jnp.ones((4, 2)), jnp.ones((0, 2)), None, r"M at least 1, got \(0, 2\)"),
        (jnp.ones((4, 3)), MODES, None, r"positions must have shape .* got \(4, 3\)"),
        (jnp.ones((1, 2)), MODES, None, r"at least two chains, got \(1, 2\)"),
        (jnp.ones((4, 2)), MODES, 0.0, "radius must be positive and finite, got 0.0"),
    ],
)
def test_bad_input_is_named(positions, modes, radius, message):
    with pytest.raises(te.InputError, match=message):
        diagnostics.mode_occupancy(positions, modes, radius=radius)
