"""Log-likelihoods along a whole ladder: the sampling half of an evidence."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import inference
from tempered_ebm.adaptation import step_sizes as adaptation
from tempered_ebm.kernels import replica_exchange, tempered
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


def anneal(
    rng_key: PRNGKey,
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    step_sizes: Float[Array, "K"],
    position: Float[Array, "*chains d"],
    num_steps: int,
) -> Float[Array, "K *chains d"]:
    """Walk chains through the temperatures in turn and keep where they stand at each.

    A chain that starts cold may stay in a mode that has no mass; one that comes from the
    prior chooses its mode while it can still move (Neal 2001). The draws are starts, not
    samples: no weights are kept.

    Args:
        rng_key: key of the walk.
        target: prior and likelihood, for batches of chains.
        temperatures: ladder.
        step_sizes: MALA step size at each temperature.
        position: where the chains start.
        num_steps: steps at each temperature.
    """

    def walk(position: Array, inputs: tuple[Array, Array, PRNGKey]) -> tuple[Array, Array]:
        temperature, step_size, key = inputs
        kernel = tempered.tempered_mala(target, temperature, step_size)
        position = inference.short_run(key, kernel, position, num_steps).position
        return position, position

    keys = jax.random.split(rng_key, temperatures.shape[0])
    return jax.lax.scan(walk, position, (temperatures, step_sizes, keys))[1]


def loglikelihood_draws(
    rng_key: PRNGKey,
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    initial_step_sizes: Float[Array, "K"],
    position: Float[Array, "*chains d"],
    *,
    num_warmup: int,
    num_samples: int,
) -> Float[Array, "K num_samples *chains"]:
    r"""Run replica exchange on a batch of ladders and keep the log-likelihoods.

    Chains are annealed down the ladder for their starts; step sizes are tuned per
    temperature while all of them warm up and swap, and then frozen. Every chain has a ladder
    of its own, so that each may have its own data.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for positions of shape (\*chains, d).
        temperatures: ladder.
        initial_step_sizes: step sizes of the annealing and first guess of the tuning.
        position: where the chains start, at t = 0.
        num_warmup: discarded steps per temperature, in the annealing and again after it.
        num_samples: steps that count.
    """

    def build(step_size: Array) -> SamplingAlgorithm:
        return replica_exchange.as_top_level_api(target, temperatures, step_size)

    anneal_key, warmup_key, run_key = jax.random.split(rng_key, 3)
    starts = anneal(anneal_key, target, temperatures, initial_step_sizes, position, num_warmup)
    state, step_size = adaptation.dual_averaging(
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


def warn_of_rare_swaps(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_samples num_chains batch"],
    *,
    least: float = 0.1,
) -> None:
    """Warn where neighbours on the ladder scarcely overlap; silent inside ``jit``.

    A reweighting estimate, and its error, rest on that overlap, which the mean probability of
    a swap measures (Syed et al. 2022, section 2.3).

    Args:
        temperatures: ladder.
        draws: log-likelihoods of a batch of observations.
        least: mean probability of a swap below which to warn.
    """
    log_ratio = replica_exchange.log_swap_ratio(temperatures, draws)
    probabilities = jnp.exp(jnp.minimum(log_ratio, 0.0))
    rates = checks.concrete(jnp.mean(probabilities, axis=(1, 2)))
    if rates is None:
        return
    rare = ~(rates >= least)
    if rare.any():
        warnings.warn(
            f"for {rare.any(0).sum()} of {rare.shape[1]} observations neighbours on the ladder "
            f"hardly swap, after temperature index {np.flatnonzero(rare.any(1)).tolist()} (rates "
            f"down to {rates.min():.2g}): their distributions scarcely overlap, and neither the "
            "estimate nor its error is to be trusted; add temperatures there",
            stacklevel=3,
        )
