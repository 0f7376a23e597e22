"""Checks of the fused short run, called by its tests and by the mutants."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import tempered_ebm as te
from tempered_ebm.kernels import fused_langevin
from tests import ground_truths as gt

NUM_CHAINS = 65_536
ONE_BLOCK = {"activation": jax.nn.gelu, "block": NUM_CHAINS, "interpret": True}
MEAN = np.array([0.7, -0.5, 1.2])


def random_layers(dims, seed: int = 0, scale: float = 1.0):
    rng = np.random.default_rng(seed)
    return [
        (
            jnp.asarray(scale * rng.normal(size=(m, n)) / math.sqrt(m), jnp.float32),
            jnp.asarray(rng.normal(size=n), jnp.float32),
        )
        for m, n in itertools.pairwise(dims)
    ]


def moments(z) -> np.ndarray:
    z = np.asarray(z, np.float64)
    upper = np.triu_indices(z.shape[1])
    return np.column_stack([z, np.einsum("ni,nj->nij", z, z)[:, *upper]])


def assert_same_means(left: np.ndarray, right: np.ndarray, label: str) -> None:
    """Two sets of independent rows have the same means."""
    variance = left.var(0, ddof=1) / len(left) + right.var(0, ddof=1) / len(right)
    z = (left.mean(0) - right.mean(0)) / np.sqrt(variance)
    limit = gt.z_threshold(z.size, min(len(left), len(right)))
    assert np.all(np.abs(z) < limit), f"{label}: z = {np.abs(z).max():.1f} beyond {limit:.1f}"


def stationarity(layers, mean: np.ndarray, h: float = 0.5, num_steps: int = 5) -> None:
    """Of a linear f the run leaves N(mean, I / (1 - h/2)) where it is."""
    variance = 1 / (1 - h / 2)
    start = gt.rng(0).normal(mean, math.sqrt(variance), (NUM_CHAINS, len(mean)))
    run = fused_langevin.fused_short_run(
        gt.key(0), layers, jnp.asarray(start, jnp.float32), h, num_steps, **ONE_BLOCK
    )
    d = np.asarray(run.position, np.float64) - mean
    expected = np.concatenate(
        [np.zeros(len(mean)), variance * np.eye(len(mean))[np.triu_indices(len(mean))]]
    )
    gt.assert_expectations(moments(d), expected, "fused run")
    for i in range(len(mean)):
        gt.assert_law(d[:, i], stats.norm(0, math.sqrt(variance)).cdf, f"coordinate {i}")


def stationarity_of_a_linear_energy() -> None:
    stationarity([(jnp.asarray(MEAN[:, None], jnp.float32), jnp.ones(1))], MEAN)


def stationarity_of_no_energy() -> None:
    stationarity(random_layers((3, 20, 1), scale=0.0), np.zeros(3))


def law_is_that_of_ula() -> None:
    """On an MLP the run and :func:`tempered_ebm.ula` end in the same law."""
    layers, h, num_steps = random_layers((3, 12, 9, 1), seed=1), 0.15, 8
    (w1, b1), (w2, b2), (w3, _) = layers

    def logdensity(z):
        hidden = jax.nn.gelu(jax.nn.gelu(z @ w1 + b1) @ w2 + b2)
        return (hidden @ w3)[:, 0] - 0.5 * jnp.sum(z**2, -1)

    kernel = te.ula(logdensity, h)
    start = jax.random.normal(gt.key(0), (2, NUM_CHAINS, 3))
    state, norms = jax.jit(
        lambda key, z: te.inference.run_with_moments(
            key, kernel, kernel.init(z), num_steps, statistic_fn=lambda _, info: info.drift_norm
        )
    )(gt.key(1), start[0])
    run = fused_langevin.fused_short_run(gt.key(2), layers, start[1], h, num_steps, **ONE_BLOCK)
    assert_same_means(
        np.column_stack([moments(state.position), np.asarray(norms.mean, np.float64)]),
        np.column_stack([moments(run.position), np.asarray(run.drift_norm, np.float64)]),
        "ula and the fused run",
    )


def steps_are_independent() -> None:
    """From one start, two steps on N(0, I) have the variance of an autoregression."""
    h = 0.5
    run = fused_langevin.fused_short_run(
        gt.key(0),
        random_layers((2, 4, 1), scale=0.0),
        jnp.zeros((NUM_CHAINS, 2)),
        h,
        2,
        **ONE_BLOCK,
    )
    variance = 2 * h * (1 + (1 - h) ** 2)
    gt.assert_expectations(moments(run.position), [0, 0, variance, 0, variance], "two steps")


def agreement(dims, activation, num_chains: int = 37, block: int = 16) -> None:
    """The kernel and plain JAX with autodiff, from the same noise."""
    layers = random_layers(dims, seed=2)
    start = jax.random.normal(jax.random.key(3), (num_chains, dims[0]))
    arguments = (jax.random.key(1), layers, start, 0.1, 12)
    run = fused_langevin.fused_short_run(
        *arguments, activation=activation, block=block, interpret=True
    )
    reference = fused_langevin.reference_short_run(*arguments, activation=activation)
    for got, wanted in zip(run, reference):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
