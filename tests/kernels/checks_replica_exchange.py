"""Decisive checks of replica exchange: each raises AssertionError on a wrong kernel."""

from __future__ import annotations

import functools

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tests import ground_truths as gt

NUM_LADDERS = 50_000
LADDERS = {4: np.array([0.0, 0.2, 0.6, 1.0]), 5: np.array([0.0, 0.1, 0.3, 0.7, 1.0])}


def exact_rungs(path, ladder, seed):
    """Independent exact draws on every rung, (K, NUM_LADDERS, ...)."""
    return _exact_rungs(gt.name_of(path), tuple(ladder), seed)


@functools.cache
def _exact_rungs(name, ladder, seed):
    path, rng = gt.REFERENCE_PATHS[name], gt.rng(seed)
    draws = np.stack([path.sample(rng, t, NUM_LADDERS) for t in ladder])
    return jnp.asarray(draws, jnp.float32)


def hamiltonian(path, ladder):
    """Replica exchange around BlackJAX's Hamiltonian Monte Carlo, for one ladder."""
    dimension = jax.eval_shape(path.target.logprior_fn, jnp.zeros(2)).ndim
    return te.replica_exchange_from_mcmc(
        path.target,
        ladder,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        {
            "step_size": jnp.linspace(1.5, 1.0, len(ladder)) * np.sqrt(path.step_size),
            **blackjax.smc.extend_params(
                {"inverse_mass_matrix": jnp.ones(1 if dimension else 2), "num_integration_steps": 2}
            ),
        },
    )


def preconditioned(path, ladder):
    """Replica exchange around our own MALA with a metric of its own on every rung."""
    size = 1 if jax.eval_shape(path.target.logprior_fn, jnp.zeros(2)).ndim else 2
    metric = jnp.linspace(0.5, 2.0, len(ladder) * size).reshape(len(ladder), size)
    return te.replica_exchange_from_mcmc(
        path.target,
        ladder,
        te.kernels.mala.build_kernel(),
        te.kernels.mala.init,
        {"step_size": jnp.array([path.step_size]), "inverse_mass_matrix": metric},
    )


def run_one_by_one(build, path, ladder, num_steps, seed=0):
    """As :func:`run`, for a kernel of one ladder behind ``vmap``."""
    kernel = build(path, ladder)

    @jax.jit
    @jax.vmap
    def chain(key, start):
        return jax.lax.scan(
            lambda state, key: kernel.step(key, state),
            kernel.init(start),
            jax.random.split(key, num_steps),
        )

    starts = jnp.swapaxes(exact_rungs(path, ladder, seed), 0, 1)
    state, info = chain(jax.random.split(gt.key(seed), NUM_LADDERS), starts)
    return jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, 0, 1 if leaf.ndim > 1 else 0), (state, info)
    )


def foreign_kernels_keep_the_law(build, path, num_rungs, num_steps=5):
    """Every rung keeps its law, and every cache and kernel state is that of its position."""
    ladder = LADDERS[num_rungs]
    state, info = run_one_by_one(build, path, ladder, num_steps)
    fresh = jax.vmap(jax.vmap(path.target.evaluate))(state.position)
    for name in fresh._fields:
        np.testing.assert_allclose(
            getattr(state, name), getattr(fresh, name), rtol=2e-4, atol=2e-4, err_msg=name
        )
    for k, t in enumerate(ladder):
        end = np.asarray(state.position[k], np.float64)
        gt.assert_expectations(path.statistics(end), path.expected(t), f"t={t}")
        path.assert_law(end, t)
        np.testing.assert_array_equal(state.local.position[k], state.position[k])
        np.testing.assert_allclose(
            state.local.logdensity[k],
            fresh.logprior[k] + t * fresh.loglikelihood[k],
            rtol=2e-4,
            atol=2e-4,
        )
    # (num_steps, chain, pair) after moving the chain axis behind the first one.
    swapped = np.asarray(info.is_swapped).mean((0, 1))
    accepted = np.asarray(info.local_info.is_accepted).mean((0, 1))
    if not (
        np.all((swapped > 0.04) & (swapped < 0.495)) and np.all((accepted > 0.2) & (accepted < 1))
    ):
        raise RuntimeError(f"a blunt ladder: swaps {swapped}, accepted {accepted}")


def run(path, ladder, num_steps, seed=0, **options):
    """State and stacked infos after a few steps from exact draws."""
    kernel = te.replica_exchange(path.target, ladder, path.step_size, **options)
    return jax.jit(
        lambda key, start: jax.lax.scan(
            lambda state, key: kernel.step(key, state),
            kernel.init(start),
            jax.random.split(key, num_steps),
        )
    )(gt.key(seed), exact_rungs(path, ladder, seed))


def every_rung_keeps_its_law(path, num_rungs, num_steps=6, **options):
    ladder = LADDERS[num_rungs]
    state, info = run(path, ladder, num_steps, **options)
    for k, t in enumerate(ladder):
        end = np.asarray(state.position[k], np.float64)
        gt.assert_expectations(path.statistics(end), path.expected(t), f"t={t}")
        path.assert_law(end, t)
    swapped = np.asarray(info.is_swapped).mean(axis=(0, 2))
    if not np.all((swapped > 0.05) & (swapped < 0.495)):
        raise RuntimeError(f"a blunt ladder: pairs swap at rates {swapped}")


def swaps_happen_as_often_as_they_should(path, num_rungs):
    """P(swap) = E min(1, r) = 2 P(l_hot > l_cold) for independent exact draws."""
    ladder = LADDERS[num_rungs]
    kernel = te.replica_exchange(path.target, ladder, 1e-9)
    step = jax.jit(lambda key, start: kernel.step(key, kernel.init(start)))
    _, info = step(gt.key(0), exact_rungs(path, ladder, seed=3))
    fresh = np.stack(
        [
            path.loglikelihood(path.sample(gt.rng(100 + k), t, NUM_LADDERS))
            for k, t in enumerate(ladder)
        ]
    )
    hotter_is_likelier = (fresh[:-1] > fresh[1:]).mean(1)
    error = np.sqrt(hotter_is_likelier * (1 - hotter_is_likelier) / NUM_LADDERS)
    rate = np.asarray(info.swap_acceptance_rate, np.float64)
    # Acceptance probabilities lie in [0, 1]: their variance is at most p (1 - p).
    spread = np.sqrt(4 * error**2 + rate * (1 - rate) / NUM_LADDERS)
    z = (rate - 2 * hotter_is_likelier) / spread
    assert np.all(np.abs(z) < gt.z_threshold(len(z))), z
    swapped = np.asarray(info.is_swapped).mean(1)
    np.testing.assert_array_equal(swapped[1::2], 0)
    even = (swapped - rate)[::2] / np.sqrt(rate * (1 - rate) / NUM_LADDERS)[::2]
    assert np.all(np.abs(even) < gt.z_threshold(len(even))), even


def caches_follow_their_positions(path, num_rungs):
    """After swaps and rejections every cache is that of the position beside it."""
    state, _ = run(path, LADDERS[num_rungs], 5)
    fresh = jax.vmap(path.target.evaluate)(state.position)
    for name in fresh._fields:
        np.testing.assert_allclose(
            getattr(state, name), getattr(fresh, name), rtol=2e-5, atol=2e-5, err_msg=name
        )


def replicas_are_permuted_and_both_parities_swap(path, num_rungs):
    ladder = LADDERS[num_rungs]
    state, info = run(path, ladder, 2)
    swapped = np.asarray(info.is_swapped).mean(2) > 0
    pairs = np.arange(num_rungs - 1)
    np.testing.assert_array_equal(swapped, np.stack([pairs % 2 == 0, pairs % 2 == 1]))
    np.testing.assert_array_equal(
        np.sort(np.asarray(state.replica), axis=0)[:, 0], np.arange(num_rungs)
    )
    assert np.all(np.sort(np.asarray(state.replica), axis=0) == np.arange(num_rungs)[:, None])


def swaps_move_and_never_copy(path, num_rungs):
    """With frozen local moves the positions of a ladder are rearranged, together with replicas."""
    ladder = LADDERS[num_rungs]
    kernel = te.replica_exchange(path.target, ladder, 1e-12)
    start = jax.jit(kernel.init)(exact_rungs(path, ladder, seed=5))
    state, _ = jax.jit(kernel.step)(gt.key(2), start)
    index = np.asarray(state.replica)
    before = np.asarray(start.position)
    index = index.reshape(index.shape + (1,) * (before.ndim - index.ndim))
    np.testing.assert_allclose(state.position, np.take_along_axis(before, index, axis=0), atol=1e-4)
    assert not np.all(index == np.arange(num_rungs).reshape(-1, *(1,) * (index.ndim - 1)))


def each_ladder_swaps_on_its_own(path, num_rungs):
    """Swap decisions of different chains are uncorrelated."""
    _, info = run(path, LADDERS[num_rungs], 1)
    swapped = np.asarray(info.is_swapped, np.float64)[0, 0]
    p = swapped.mean()
    neighbours = (swapped[:-1:2] - p) * (swapped[1::2] - p)
    gt.assert_expectations(neighbours, 0.0, "neighbouring ladders")
    assert 0.02 < p < 0.98, f"pairs swap at a rate of {p:.3f}"


def prior_sampler(path):
    """Exact draws at t = 0 in JAX, ``(rng_key, shape) -> position``."""
    if path is gt.SKEWED_GAMMA:
        return lambda key, shape: jnp.log(jax.random.exponential(key, shape))
    factor = jnp.asarray(np.linalg.cholesky(path.S0), jnp.float32)
    mean = jnp.asarray(path.m0, jnp.float32)
    return lambda key, shape: mean + jax.random.normal(key, (*shape, 2)) @ factor.T


def exact_draws_at_the_prior_keep_every_law(path, num_rungs):
    """The first rung forgets where it was at every step, and no rung loses its law."""
    every_rung_keeps_its_law(path, num_rungs, sample_prior=prior_sampler(path))
    ladder = LADDERS[num_rungs]
    kernel = te.replica_exchange(
        path.target, ladder, path.step_size, sample_prior=prior_sampler(path), swap_every=2
    )
    start = jax.jit(kernel.init)(exact_rungs(path, ladder, seed=1))
    start = start._replace(num_steps=start.num_steps + 1)
    state, info = jax.jit(kernel.step)(gt.key(1), start)
    before, after = (np.asarray(s.position, np.float64).reshape(num_rungs, NUM_LADDERS, -1)
                     for s in (start, state))  # fmt: skip
    centred = [(x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (before, after)]
    gt.assert_expectations(centred[0][0] * centred[1][0], 0.0, "memory of the first rung")
    np.testing.assert_array_equal(info.acceptance_rate[0], 1.0)
    np.testing.assert_array_equal(info.is_accepted[0], True)
    memory = np.mean(centred[0][1:] * centred[1][1:], axis=1)
    assert np.all(memory > 0.2), memory
    fresh = jax.vmap(path.target.evaluate)(state.position)
    np.testing.assert_allclose(state.loglikelihood, fresh.loglikelihood, rtol=2e-5, atol=2e-5)
