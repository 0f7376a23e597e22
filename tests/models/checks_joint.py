"""Joint-distribution tests: each raises AssertionError if a sampler and a model disagree.

Both need no closed-form posterior. Geweke (2004): parameters from the prior, then rounds of
"data given parameters, chain given data" leave the joint law as it was. Simulation-based
calibration (Talts et al. 2018): among posterior draws the true parameter has a uniform rank.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import tempered_ebm as te
from tests import ground_truths as gt
from tests.kernels import checks_kernels as checks

SIGMA = 0.8
LADDER = np.array([0.0, 0.15, 0.5, 1.0])


def decode(z):
    """A generator that is not linear: three observations of a point in the plane."""
    return jnp.stack([z[..., 0] + 0.3 * z[..., 1] ** 2, z.prod(-1), jnp.sin(z[..., 1])], -1)


def logprior(z):
    """Two skewed coordinates, e^u ~ Gamma(2) and e^v ~ Gamma(3), turned into each other."""
    u, v = z[..., 0] - 0.5 * z[..., 1], z[..., 1]
    return 2 * u - jnp.exp(u) + 3 * v - jnp.exp(v)


def prior_draws(rng: np.random.Generator, n: int) -> np.ndarray:
    u, v = np.log(rng.gamma(2.0, size=n)), np.log(rng.gamma(3.0, size=n))
    return np.column_stack([u + 0.5 * v, v]).astype(np.float32)


def observe(rng_key, z):
    mean = decode(z)
    return mean + SIGMA * jax.random.normal(rng_key, mean.shape)


def target(x):
    def loglikelihood(z):
        return -0.5 * jnp.sum((x - decode(z)) ** 2, -1) / SIGMA**2

    return te.TemperedTarget(logprior, loglikelihood)


def statistics(z, x) -> np.ndarray:
    z, x = np.asarray(z, np.float64), np.asarray(x, np.float64)
    return np.column_stack(
        [z, z**2, z.prod(1), np.sin(z), np.exp(0.5 * z), x, x**2, z[:, :1] * x, z[:, 1:] * x]
    )


def exact_rung(rng: np.random.Generator, x: np.ndarray, t: float) -> np.ndarray:
    """One draw of q_t(z | x) for every row of x, by rejection from the prior."""
    z, pending = np.empty((len(x), 2), np.float32), np.arange(len(x))
    while pending.size:
        tries = np.tile(pending, max(1, 20_000 // pending.size))
        proposal = prior_draws(rng, len(tries))
        squares = np.sum((x[tries] - np.asarray(decode(proposal))) ** 2, -1)
        accepted = rng.random(len(tries)) < np.exp(-0.5 * t * squares / SIGMA**2)
        z[tries[accepted]] = proposal[accepted]
        pending = np.setdiff1d(pending, tries[accepted])
    return z


def ladder_beside(rng: np.random.Generator, z, x) -> np.ndarray:
    """A ladder of exact and independent rungs given x, of which z is the last."""
    x = np.asarray(x)
    return np.stack([*(exact_rung(rng, x, t) for t in LADDER[:-1]), np.asarray(z)])


STEP_SIZES = jnp.array([0.3, 0.2, 0.12, 0.08])


@functools.partial(jax.jit, static_argnames="num_steps")
def exchange(rng_key, ladder, x, num_steps):
    kernel = te.replica_exchange(target(x), LADDER, STEP_SIZES)
    return te.inference.short_run(rng_key, kernel, ladder, num_steps).position


@functools.partial(jax.jit, static_argnames="num_steps")
def mala(rng_key, z, x, num_steps):
    kernel = te.tempered_mala(target(x), 1.0, STEP_SIZES[-1])
    return te.inference.short_run(rng_key, kernel, z, num_steps).position


def geweke(name: str, num_rounds: int, num_steps: int, n: int) -> None:
    """Simulate the joint law in one go, and by rounds of "x given z, z given x".

    Both come in independent replications, so nothing has to be known about
    autocorrelation. The rungs beside the posterior are drawn afresh given x in each round.
    """
    jax.clear_caches()
    rng, keys = gt.rng(200), jax.random.split(gt.key(200), 2 * num_rounds + 1)
    start = z = jnp.asarray(prior_draws(rng, n))
    for i in range(num_rounds):
        x = jax.jit(observe)(keys[2 * i], z)
        if name == "replica_exchange":
            ladder = jnp.asarray(ladder_beside(rng, z, x))
            z = exchange(keys[2 * i + 1], ladder, x, num_steps)[-1]
        else:
            z = mala(keys[2 * i + 1], z, x, num_steps)
    checks.require_sharp(np.mean(np.any(np.asarray(z != start), 1)) > 0.9, "nothing moves")
    fresh = prior_draws(rng, n)
    fresh_x = jax.jit(observe)(keys[-1], fresh)
    x = jax.jit(observe)(keys[-2], z)
    gt.assert_expectations(statistics(z, x) - statistics(fresh, fresh_x), 0.0, f"{name}, Geweke")


NUM_DRAWS = 15


def assert_uniform_ranks(true, draws, label: str) -> None:
    """The chi-square test of ranks; ``draws`` of shape (NUM_DRAWS, n) beside ``true`` (n,)."""
    ranks = np.sum(np.asarray(draws) < np.asarray(true), axis=0)
    counts = np.bincount(ranks, minlength=NUM_DRAWS + 1)
    gt.count_decision()
    p_value = stats.chisquare(counts).pvalue
    assert p_value > gt.FALSE_ALARM, f"{label}: ranks {counts.tolist()}, p-value {p_value:.1e}"


def calibration(name: str, n: int) -> None:
    """Ranks of the true z among draws from its posterior, in four functions of (z, x).

    Draws of ``tempered_mala`` come from chains that all start at one end of a chain from
    the true z: the kernel is reversible, so the ranks are exactly uniform however short
    the chains (Besag and Clifford 1989). Those of replica exchange, which is not, are
    thinned.
    """
    jax.clear_caches()
    rng, keys = gt.rng(210), jax.random.split(gt.key(210), NUM_DRAWS + 2)
    z = jnp.asarray(prior_draws(rng, n))
    x = jax.jit(observe)(keys[0], z)
    if name == "replica_exchange":
        state, draws = jnp.asarray(ladder_beside(rng, z, x)), []
        for key in keys[2:]:
            state = exchange(key, state, x, 60)
            draws.append(state[-1])
    else:
        hub = mala(keys[1], z, x, 20)
        draws = [mala(key, hub, x, 20) for key in keys[2:]]
    functions = {
        "first": lambda z: z[..., 0],
        "second": lambda z: z[..., 1],
        "product": lambda z: z.prod(-1),
        "likelihood": target(x).loglikelihood_fn,
    }
    draws = jnp.stack(draws)
    for label, function in functions.items():
        assert_uniform_ranks(function(z), function(draws), f"{name}, {label}")
