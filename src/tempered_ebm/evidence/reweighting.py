r"""Evidence by reweighting draws between temperatures: no error of discretisation.

With :math:`h_k = t_{k+1} - t_k`, neighbouring normalisers obey

.. math:: \frac{Z_{k+1}}{Z_k} = E_{t_k}[e^{h_k \ell}] = 1 / E_{t_{k+1}}[e^{-h_k \ell}],

so that log-likelihoods drawn on a ladder give log p(x) = log Z_1 - log Z_0 as a sum of
logarithms of means. Standard errors linearise the estimate in the draws; the linear series,
summed over the rungs draw by draw, is judged by batch means, since replica exchange
correlates rungs.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.errors import InputError
from tempered_ebm.evidence import estimate as estimates
from tempered_ebm.evidence import normalizers
from tempered_ebm.evidence.estimate import EvidenceEstimate

Direction = Literal["forward", "reverse"]


def _estimate(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws num_chains"],
    log_evidence: Float[Array, ""],
    series: Float[Array, "num_draws num_chains"],
) -> EvidenceEstimate:
    mean = draws.mean(axis=(1, 2))
    steps = jnp.diff(temperatures)
    return EvidenceEstimate(
        log_evidence=log_evidence,
        standard_error=estimates.batch_means_standard_error(series),
        lower_bound=steps @ mean[:-1],
        upper_bound=steps @ mean[1:],
        discretization_error=jnp.zeros_like(log_evidence),
        mean_loglikelihood=mean,
        variance_loglikelihood=draws.var(axis=(1, 2), ddof=1 if draws[0].size > 1 else 0),
    )


def stepping_stone(
    temperatures: Float[Array, "K"],
    loglikelihoods: Float[Array, "K num_draws *num_chains"],
    *,
    direction: Direction = "forward",
) -> EvidenceEstimate:
    r"""Estimate log p(x) by stepping stones (Xie et al. 2011).

    .. math:: \sum_k \log \overline{e^{h_k\ell}}_{t_k} \;\text{(forward)}, \qquad
              -\sum_k \log \overline{e^{-h_k\ell}}_{t_{k+1}} \;\text{(reverse)}

    The ratio of normalisers is estimated without bias, its logarithm is not: by Jensen's
    inequality forward is biased low and reverse is biased high. Two values far apart
    convict the ladder or the chains.

    Args:
        temperatures: ladder, shape (K,), strictly increasing from 0 to 1.
        loglikelihoods: full log-likelihoods of draws from ``q_t`` at each temperature,
            shape (K, num_draws) or (K, num_draws, num_chains), in nats.
        direction: which of the two.

    Returns:
        The estimate with standard error, bracket and the integrand.

    Raises:
        InputError: if the ladder is not one, the shapes do not match, or the direction is
            unknown.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> temperatures = te.schedules.power(8, 3.0)
        >>> shape, rate = 1 + 2 * temperatures[:, None], 1 + temperatures[:, None]
        >>> gamma = jax.random.gamma(jax.random.key(0), shape, (8, 20_000)) / rate
        >>> estimate = te.stepping_stone(temperatures, 2 * jnp.log(gamma) - gamma)
        >>> bool(abs(estimate.log_evidence + 2 * jnp.log(2.0)) < 0.05)
        True
    """
    if direction not in ("forward", "reverse"):
        raise InputError(f"direction must be 'forward' or 'reverse', got {direction!r}")
    temperatures, draws = estimates.as_draws(temperatures, loglikelihoods)
    steps = jnp.diff(temperatures)[:, None, None]
    sign, exponents = (
        (1.0, steps * draws[:-1]) if direction == "forward" else (-1.0, -steps * draws[1:])
    )
    peak = exponents.max(axis=(1, 2), keepdims=True)
    weights = jnp.exp(exponents - jnp.where(jnp.isfinite(peak), peak, 0.0))
    mean = weights.mean(axis=(1, 2), keepdims=True)
    log_evidence = sign * jnp.sum(peak + jnp.log(mean))
    return _estimate(temperatures, draws, log_evidence, sign * (weights / mean - 1).sum(0))


def bar(
    temperatures: Float[Array, "K"], loglikelihoods: Float[Array, "K num_draws *num_chains"]
) -> EvidenceEstimate:
    r"""Estimate log p(x) by Bennett's acceptance ratio between neighbours.

    For each pair the step :math:`c_k = \log Z_{k+1} - \log Z_k` solves

    .. math:: \sum_{n \in q_k} \sigma(h_k\ell_n - c_k) = \sum_{n \in q_{k+1}}
              \sigma(c_k - h_k\ell_n), \qquad \sigma(x) = 1/(1 + e^{-x}),

    the best use of the draws of two temperatures (Bennett 1976); :func:`mbar` uses all.

    Args:
        temperatures: ladder, shape (K,), strictly increasing from 0 to 1.
        loglikelihoods: full log-likelihoods, (K, num_draws) or (K, num_draws, num_chains).

    Returns:
        The estimate with standard error, bracket and the integrand.

    Raises:
        InputError: if the ladder is not one, or the shapes do not match.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> temperatures = te.schedules.power(8, 3.0)
        >>> shape, rate = 1 + 2 * temperatures[:, None], 1 + temperatures[:, None]
        >>> gamma = jax.random.gamma(jax.random.key(0), shape, (8, 20_000)) / rate
        >>> estimate = te.bar(temperatures, 2 * jnp.log(gamma) - gamma)
        >>> bool(abs(estimate.log_evidence + 2 * jnp.log(2.0)) < 0.05)
        True
    """
    temperatures, draws = estimates.as_draws(temperatures, loglikelihoods)

    def pair(two: Float[Array, "2"], values: Array) -> tuple[Array, Array]:
        f, series, _ = normalizers.solve(two, values, jnp.zeros(0, values.dtype))
        return f[1], series

    pairs = jnp.stack([temperatures[:-1], temperatures[1:]], 1)
    steps, series = jax.vmap(pair)(pairs, jnp.stack([draws[:-1], draws[1:]], 1))
    return _estimate(temperatures, draws, steps.sum(), series.sum(0))


def mbar(
    temperatures: Float[Array, "K"],
    loglikelihoods: Float[Array, "K num_draws *num_chains"],
    *,
    prior_loglikelihoods: Float[Array, "M"] | None = None,
) -> EvidenceEstimate:
    r"""Estimate log p(x) from the draws of all temperatures at once.

    .. math:: F_j = \log \sum_n \frac{e^{t_j \ell_n}}{\sum_k N_k e^{t_k\ell_n - F_k}},
              \qquad F_0 = 0

    over the pooled draws (Geyer 1994; Kong et al. 2003; Shirts and Chodera 2008). It is
    the maximum-likelihood fit of which temperature each draw came from, concave in F, and has
    the smallest asymptotic variance of all reweighting estimates. No discretisation, so a
    coarse ladder shows as a standard error and not as a bias.

    Args:
        temperatures: ladder, shape (K,), strictly increasing from 0 to 1.
        loglikelihoods: full log-likelihoods, (K, num_draws) or (K, num_draws, num_chains).
        prior_loglikelihoods: log-likelihoods of M more draws from ``q_0``, independent of each
            other and of all others. Where the prior is drawn from at no cost, they are what
            makes two temperatures enough (bridge sampling; Meng and Wong 1996).

    Returns:
        The estimate with standard error, bracket and the integrand.

    Raises:
        InputError: if the ladder is not one, or the shapes do not match.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> temperatures = te.schedules.power(8, 3.0)
        >>> shape, rate = 1 + 2 * temperatures[:, None], 1 + temperatures[:, None]
        >>> gamma = jax.random.gamma(jax.random.key(0), shape, (8, 20_000)) / rate
        >>> estimate = te.mbar(temperatures, 2 * jnp.log(gamma) - gamma)
        >>> bool(abs(estimate.log_evidence + 2 * jnp.log(2.0)) < 0.05)
        True
    """
    temperatures, draws = estimates.as_draws(temperatures, loglikelihoods)
    extra = jnp.zeros(0, draws.dtype)
    if prior_loglikelihoods is not None:
        extra = jnp.asarray(prior_loglikelihoods, draws.dtype)
        if extra.ndim != 1:
            raise InputError(f"prior_loglikelihoods must have shape (M,), got {extra.shape}")
    f, series, extra_series = normalizers.solve(temperatures, draws, extra)
    estimate = _estimate(temperatures, draws, f[-1], series)
    if extra.size < 2:
        return estimate
    variance = jnp.var(extra_series, ddof=1) / extra.size
    return estimate._replace(standard_error=jnp.sqrt(estimate.standard_error**2 + variance))
