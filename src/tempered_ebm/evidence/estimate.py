"""What an estimate of log p(x) is, and what every estimator of it shares."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import schedules
from tempered_ebm.errors import InputError

_ENOUGH_CHAINS = 16
_BATCHES = 32


class EvidenceEstimate(NamedTuple):
    """An estimate of log p(x) with what is needed to judge it.

    All values are in nats.

    Attributes:
        log_evidence: the estimate.
        standard_error: its Monte Carlo standard error, by batch means of the whole
            weighted series; NaN if there is a single draw. Discretisation is not in it.
        lower_bound: left Riemann sum, below log p(x) up to Monte Carlo error.
        upper_bound: right Riemann sum, above log p(x) up to Monte Carlo error.
        discretization_error: corrected minus plain trapezoid, the estimated error that
            the ladder leaves in the plain rule (with the opposite sign).
        mean_loglikelihood: ``E_t[ℓ]`` per temperature, shape (K,).
        variance_loglikelihood: ``Var_t[ℓ]`` per temperature, shape (K,).
    """

    log_evidence: Float[Array, ""]
    standard_error: Float[Array, ""]
    lower_bound: Float[Array, ""]
    upper_bound: Float[Array, ""]
    discretization_error: Float[Array, ""]
    mean_loglikelihood: Float[Array, "K"]
    variance_loglikelihood: Float[Array, "K"]


def batch_means_standard_error(series: Float[Array, "num_draws num_chains"]) -> Float[Array, ""]:
    """Standard error of the mean of correlated series, by non-overlapping batch means.

    Chains are taken as independent of each other. From 16 chains on, a chain is a batch,
    and the error sees whatever keeps chains apart. Fewer are cut into equally long
    batches, 32 or a few more in all (Flegal and Jones 2010); draws left over at
    the start enter the mean but not the variance of the batches.

    Args:
        series: draws along the first axis, independent chains along the second.

    Returns:
        The standard error, NaN if there is a single draw.
    """
    num_draws, num_chains = series.shape
    batches = 1 if num_chains >= _ENOUGH_CHAINS else min(num_draws, -(-_BATCHES // num_chains))
    length = num_draws // batches
    kept = series[num_draws - batches * length :]
    means = kept.reshape(batches, length, num_chains).mean(axis=1).ravel()
    if means.size < 2:
        return jnp.array(jnp.nan)
    return jnp.std(means, ddof=1) * math.sqrt(length / (num_draws * num_chains))


def as_draws(
    temperatures: Float[Array, "K"], loglikelihoods: Float[Array, "K ..."]
) -> tuple[Float[Array, "K"], Float[Array, "K num_draws num_chains"]]:
    """Return a ladder and draws of the same dtype, with an axis of chains.

    Raises:
        InputError: if the ladder is not one, the shapes do not match, or the draws are not
            floating.
    """
    temperatures = schedules.validate(temperatures)
    draws = with_chains(temperatures.shape[0], loglikelihoods)
    return temperatures.astype(draws.dtype), draws


def with_chains(K: int, loglikelihoods: Float[Array, "K ..."]) -> Float[Array, "K draws chains"]:
    """Return draws at K temperatures with an axis of chains.

    Raises:
        InputError: if the shape does not fit, or the draws are not floating.
    """
    draws = jnp.asarray(loglikelihoods)
    if draws.ndim not in (2, 3) or draws.shape[0] != K or draws.size == 0:
        raise InputError(
            f"loglikelihoods must have shape (K, num_draws) or (K, num_draws, num_chains) with "
            f"K = {K} temperatures and at least one draw, got {draws.shape}"
        )
    if not jnp.issubdtype(draws.dtype, jnp.floating):
        raise InputError(f"loglikelihoods must have a floating dtype, got {draws.dtype}")
    return draws.reshape(K, draws.shape[1], -1)
