"""Decisive checks of the sources of noise."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from tempered_ebm.kernels import _noise as noise
from tests import ground_truths as gt


def box_muller_is_normal_and_uncorrelated() -> None:
    """Moments; products at lags over coordinates, places and keys; the law; the tails."""
    n, dim = 50_000, 6
    draw = jax.jit(lambda key: noise.box_muller_noise.normal(key, (n, dim), jnp.float32))
    xi, other = (np.asarray(draw(gt.key(k)), np.float64) for k in (0, 1))
    powers = np.column_stack([xi, xi**2, xi**3, xi**4])
    gt.assert_expectations(powers, np.repeat([0.0, 1.0, 0.0, 3.0], dim), "moments")
    squares, other_squares = xi**2 - 1, other**2 - 1
    pairs = [(i, j) for i in range(dim) for j in range(i)]
    products = {
        "coordinates": np.stack([xi[:, i] * xi[:, j] for i, j in pairs], 1),
        "squares of coordinates": np.stack([squares[:, i] * squares[:, j] for i, j in pairs], 1),
        "places": xi[::2] * xi[1::2],
        "squares of places": squares[::2] * squares[1::2],
        "keys": xi * other,
        "squares of keys": squares * other_squares,
    }
    for label, values in products.items():
        gt.assert_expectations(values, 0.0, label)
    gt.assert_law(xi.ravel(), stats.norm.cdf, "law")
    angle = np.arctan2(xi[:, 3], xi[:, 0])
    gt.assert_law(angle, stats.uniform(-np.pi, 2 * np.pi).cdf, "angle of a pair")
    for far in (3.0, 4.0):
        gt.assert_expectations((np.abs(xi) > far).mean(1), 2 * stats.norm.sf(far), "tails")


def successive_keys_are_independent() -> None:
    """As a kernel uses it: two numbers a step, 200,000 steps, lags 1, 2 and 3."""
    keys = jax.random.split(gt.key(9), 200_000)
    xi = np.asarray(
        jax.jit(jax.vmap(lambda k: noise.box_muller_noise.normal(k, (2,), jnp.float32)))(keys),
        np.float64,
    )
    for lag in (1, 2, 3):
        # Disjoint pairs, so that the rows are independent.
        pairs = xi[: len(xi) // (2 * lag) * 2 * lag].reshape(-1, 2, lag, 2)
        products = (pairs[:, 0] * pairs[:, 1]).reshape(-1, 2)
        gt.assert_expectations(products, 0.0, f"lag {lag}")
        squares = ((pairs[:, 0] ** 2 - 1) * (pairs[:, 1] ** 2 - 1)).reshape(-1, 2)
        gt.assert_expectations(squares, 0.0, f"squares at lag {lag}")


def default_is_jax_random(shape: tuple[int, ...]) -> None:
    """Bit for bit, normals and uniforms."""
    key = jax.random.key(7)
    got = noise.jax_random_noise.normal(key, shape, jnp.float32)
    np.testing.assert_array_equal(got, jax.random.normal(key, shape))
    got = noise.jax_random_noise.uniform(key, shape, jnp.float32)
    np.testing.assert_array_equal(got, jax.random.uniform(key, shape))
