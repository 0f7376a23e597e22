"""Evidence of many observations under a latent-variable model, with a ladder for each of them."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import evidence, inference
from tempered_ebm.adaptation.step_sizes import dual_averaging
from tempered_ebm.kernels import replica_exchange, tempered
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Params, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

_LEAST_SWAP_RATE = 0.1


@functools.partial(jax.jit, static_argnames=("model", "num_chains", "num_warmup", "num_samples"))
def loglikelihood_draws(
    rng_key: PRNGKey,
    model: Any,
    params: Params,
    x: Array,
    temperatures: Array,
    num_chains: int,
    num_warmup: int,
    num_samples: int,
) -> Float[Array, "K num_samples num_chains batch"]:
    """Return log-likelihoods along replica exchange on a batch of ladders, one for every chain.

    Chains are annealed along the ladder for their starts; step sizes are tuned per temperature
    while all of them warm up and swap, and then frozen.

    Args:
        rng_key: key of all chains.
        model: an object with ``target``, ``step_sizes`` (the first guess at each temperature) and
            ``latent_dim``, such as :class:`LatentEBM`; the run is compiled once for each.
        params: parameters of the model.
        x: observations; the leading axis is the batch.
        temperatures: ladder.
        num_chains: independent chains per observation and temperature.
        num_warmup: discarded steps per temperature, in the annealing and again after it.
        num_samples: steps that are kept.
    """
    start_key, run_key = jax.random.split(rng_key)
    target, initial_step_sizes = model.target(params, x), model.step_sizes(temperatures)
    position = jax.random.normal(start_key, (num_chains, x.shape[0], model.latent_dim))

    def build(step_size: Array) -> SamplingAlgorithm:
        return replica_exchange.as_top_level_api(target, temperatures, step_size)

    anneal_key, warmup_key, run_key = jax.random.split(run_key, 3)
    starts = _anneal(anneal_key, target, temperatures, initial_step_sizes, position, num_warmup)
    state, step_size = dual_averaging(
        warmup_key, build, build(initial_step_sizes).init(starts), initial_step_sizes, num_warmup
    )
    _, loglikelihoods = inference.trace(
        run_key,
        build(step_size),
        state,
        num_samples,
        statistic_fn=lambda state, info: state.loglikelihood,
    )
    return loglikelihoods.swapaxes(0, 1)


@jax.jit
def estimate_each(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_samples num_chains batch"]
) -> evidence.EvidenceEstimate:
    """Return the estimate of every observation, from the draws of its own ladders."""
    return jax.lax.map(lambda one: evidence.mbar(temperatures, one), jnp.moveaxis(draws, 3, 0))


def _anneal(
    rng_key: PRNGKey,
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    step_sizes: Float[Array, "K"],
    position: Float[Array, "*chains d"],
    num_steps: int,
) -> Float[Array, "K *chains d"]:
    """Return positions of chains that are run at one temperature after another, at each of them.

    A chain that starts at t = 1 may stay in a mode that has no mass; one that comes from the
    prior chooses its mode while it can still move (Neal 2001). The draws are starts, not
    samples: no weights are kept.
    """

    def run(position: Array, inputs: tuple[Array, Array, PRNGKey]) -> tuple[Array, Array]:
        temperature, step_size, key = inputs
        kernel = tempered.tempered_mala(target, temperature, step_size)
        position = inference.short_run(key, kernel, position, num_steps).position
        return position, position

    keys = jax.random.split(rng_key, temperatures.shape[0])
    return jax.lax.scan(run, position, (temperatures, step_sizes, keys))[1]


def warn_of_rare_swaps(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_samples num_chains batch"],
) -> None:
    """Warn where neighbours on the ladder hardly overlap; silent inside ``jit``.

    A reweighting estimate, and its error, rest on that overlap, which the mean probability of
    a swap measures (Syed et al. 2022, section 2.3).
    """
    log_ratio = replica_exchange.log_swap_ratio(temperatures, draws)
    probabilities = jnp.exp(jnp.minimum(log_ratio, 0.0))
    rates = checks.concrete(jnp.mean(probabilities, axis=(1, 2)))
    if rates is None:
        return
    rare = ~(rates >= _LEAST_SWAP_RATE)
    if rare.any():
        warnings.warn(
            f"for {rare.any(0).sum()} of {rare.shape[1]} observations neighbours on the ladder "
            f"hardly swap, after temperature index {np.flatnonzero(rare.any(1)).tolist()} (rates "
            f"down to {rates.min():.2g}): their distributions hardly overlap, and neither the "
            "estimate nor its error is reliable; add temperatures there",
            stacklevel=3,
        )
