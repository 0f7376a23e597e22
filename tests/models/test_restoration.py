import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.models import ChainSettings, DataEBM
from tests import ground_truths as gt

PRECISION = np.array([[1.0, 0.6], [0.6, 1.5]])


class Normal:
    """f(x) = -x' A x / 2: a normal whose coordinates are correlated."""

    @staticmethod
    def init(rng_key, x):
        return {"a": jnp.asarray(PRECISION, jnp.float32)}

    @staticmethod
    def apply(params, x):
        return -0.5 * jnp.einsum("ni,ij,nj->n", x, params["a"], x)


def normal_ebm():
    ebm = DataEBM(Normal, (2,), ChainSettings(60, 0.4, metropolis=True))
    return ebm, jax.jit(ebm.init)(jax.random.key(0))


@pytest.mark.statistical
def test_the_missing_part_has_its_conditional_law():
    """x_2 given x_1 = 2 is normal with mean -0.6 * 2 / 1.5 and variance 1 / 1.5."""
    ebm, params = normal_ebm()
    observed = jnp.full((4000, 2), 2.0)
    mask = jnp.array([True, False])
    filled = np.asarray(
        te.models.inpaint(ebm, gt.key(410), params, observed, mask, jnp.zeros((4000, 2)))
    )
    np.testing.assert_array_equal(filled[:, 0], 2.0)
    gt.assert_expectations(filled[:, 1:], -0.8, "mean")
    gt.assert_expectations((filled[:, 1:] + 0.8) ** 2, 1 / 1.5, "variance")


def test_observed_pixels_come_back_bit_for_bit_whatever_the_chain():
    rng = np.random.default_rng(0)
    ebm = DataEBM(
        te.networks.conv_network(width=2), (8, 8, 1), ChainSettings(5, 1.0, noise_scale=0.1)
    )
    params = jax.jit(ebm.init)(jax.random.key(0))
    x = jnp.asarray(rng.normal(size=(3, 8, 8, 1)), jnp.float32)
    mask = jnp.asarray(rng.uniform(size=(3, 8, 8, 1)) < 0.5)
    filled = te.models.inpaint(ebm, jax.random.key(1), params, x, mask, jnp.zeros_like(x))
    np.testing.assert_array_equal(np.asarray(filled)[mask], np.asarray(x)[mask])
    assert not np.any(np.asarray(filled)[~mask] == np.asarray(x)[~mask])
    other = jnp.where(mask, x, 7.0)
    again = te.models.inpaint(ebm, jax.random.key(1), params, other, mask, jnp.zeros_like(x))
    np.testing.assert_array_equal(filled, again)


@pytest.mark.statistical
def test_noise_is_taken_off_by_the_posterior():
    """For a normal prior and noise the posterior is normal: (A + I / s^2) m = y / s^2."""
    ebm, params = normal_ebm()
    noise, y = 0.8, np.array([1.5, -1.0])
    start = jnp.broadcast_to(jnp.asarray(y, jnp.float32), (4000, 2))
    clean = np.asarray(te.models.denoise(ebm, gt.key(411), params, start, noise))
    precision = PRECISION + np.eye(2) / noise**2
    mean = np.linalg.solve(precision, y / noise**2)
    gt.assert_expectations(clean, mean, "mean")
    gt.assert_expectations((clean - mean) ** 2, np.diag(np.linalg.inv(precision)), "variance")


MASK = jnp.array([True, False])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, p: te.models.inpaint(
                m, jax.random.key(0), p, jnp.ones((3, 4)), MASK, jnp.ones((3, 4))
            ),
            r"observed must have shape \(n, 2\), got \(3, 4\)",
        ),
        (
            lambda m, p: te.models.inpaint(
                m, jax.random.key(0), p, jnp.ones((3, 2)), MASK, jnp.ones((2, 2))
            ),
            r"initial must have shape \(3, 2\), got \(2, 2\)",
        ),
        (
            lambda m, p: te.models.inpaint(
                m, jax.random.key(0), p, jnp.ones((3, 2)), jnp.ones(2), jnp.ones((3, 2))
            ),
            "is_observed must be boolean",
        ),
        (
            lambda m, p: te.models.denoise(m, jax.random.key(0), p, jnp.ones((3, 2)), 0.0),
            "noise_scale must be positive",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(te.InputError, match=message):
        call(*normal_ebm())
