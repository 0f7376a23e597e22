import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests.evidence import checks_annealed as checks

estimate = checks.annealed_estimate


def test_every_field_is_its_formula():
    checks.estimate_is_its_formula()


def test_tails_are_seen():
    checks.tails_are_seen()


@pytest.mark.statistical
def test_standard_errors_are_honest():
    checks.calibration_of_the_formula()


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_single_precision_loses_nothing_to_large_weights(direction):
    """Weights of 1e4 nats, whose exponentials single precision cannot hold."""
    spread = np.random.default_rng(0).normal(size=500)
    for shift in (-1e4, 1e4):
        weights = (spread + shift).astype(np.float32)
        single = estimate(weights, direction=direction)
        assert {leaf.dtype for leaf in single} == {jnp.dtype("float32")}
        with jax.enable_x64(True):
            double = estimate(weights.astype(np.float64), direction=direction)
            assert {leaf.dtype for leaf in double} == {jnp.dtype("float64")}
        for one, two in zip(single, double, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4)


def test_weights_of_zero_count_as_such():
    half = jnp.array([0.0, -jnp.inf] * 100)
    got = estimate(half)
    np.testing.assert_allclose(got.log_evidence, np.log(0.5), rtol=1e-6)
    np.testing.assert_allclose(got.effective_sample_size, 100, rtol=1e-6)
    np.testing.assert_allclose(got.standard_error, np.sqrt(1 / 199), rtol=1e-5)
    assert got.one_chain_bound == -np.inf


@pytest.mark.parametrize("num", [1, 60])
def test_no_weight_at_all_is_an_evidence_of_zero_without_an_error(num):
    got = estimate(jnp.full(num, -jnp.inf))
    assert got.log_evidence == -np.inf
    assert np.isnan(got.standard_error)
    assert got.effective_sample_size == 0
    assert got.pareto_k == np.inf
    assert estimate(jnp.full(num, -jnp.inf), direction="reverse").log_evidence == np.inf


def test_equal_weights_are_exact():
    got = estimate(jnp.full(64, -3.0), direction="reverse")
    assert (got.log_evidence, got.standard_error, got.one_chain_bound) == (3.0, 0.0, 3.0)
    assert (got.effective_sample_size, got.pareto_k) == (64.0, 0.0)


def test_it_maps_and_compiles():
    groups = jax.random.normal(jax.random.key(0), (3, 50))
    together = jax.jit(jax.vmap(estimate))(groups)
    alone = estimate(groups[1])
    for one, two in zip(together, alone, strict=True):
        np.testing.assert_allclose(one[1], two, rtol=1e-4)


@pytest.mark.parametrize(
    ("log_weights", "message"),
    [
        (jnp.zeros((2, 3)), r"shape \(N,\) with at least one chain, got \(2, 3\)"),
        (jnp.zeros(0), r"at least one chain, got \(0,\)"),
        (jnp.zeros(3, int), "log_weights must have a floating dtype, got int32"),
        (jnp.array([0.0, jnp.nan]), "log_weights must be finite or -inf, got nan of chain 1"),
        (jnp.array([jnp.inf, 0.0]), "log_weights must be finite or -inf, got inf of chain 0"),
    ],
)
def test_bad_weights_are_named(log_weights, message):
    with pytest.raises(te.InputError, match=message):
        te.evidence.annealed_estimate(log_weights)


def test_an_unknown_direction_is_named():
    with pytest.raises(te.InputError, match="direction must be 'forward' or 'reverse', got 'up'"):
        te.evidence.annealed_estimate(jnp.zeros(3), direction="up")
