r"""Evidence by integration along a ladder of temperatures.

The thermodynamic identity (Gelman and Meng 1998; Friel and Pettitt 2008)

.. math:: \log p(x) = \int_0^1 E_t[\ell]\,dt, \qquad
          \frac{d}{dt} E_t[\ell] = \mathrm{Var}_t[\ell] \ge 0,

turns draws of ℓ under each :math:`q_t` into log p(x). Nothing here samples: any
sampler that visits the ladder will do.
"""

from __future__ import annotations

import warnings
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import checks
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import estimate as estimates
from tempered_ebm.evidence.estimate import EvidenceEstimate

Rule = Literal["corrected_trapezoid", "trapezoid"]


def trapezoid_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    """Weights ``w_k`` of the trapezoidal rule, so that ``∫ g dt ≈ Σ w_k g(t_k)``.

    Example:
        >>> import tempered_ebm as te
        >>> te.evidence.trapezoid_weights(te.schedules.uniform(3)).tolist()
        [0.25, 0.5, 0.25]
    """
    half = 0.5 * jnp.diff(temperatures)
    return jnp.pad(half, (0, 1)) + jnp.pad(half, (1, 0))


def _correction_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    """Weights ``c_k`` with ``-Σ h_k² (V_{k+1} - V_k) / 12 = Σ c_k V_k``."""
    twelfth = jnp.diff(temperatures) ** 2 / 12.0
    return jnp.pad(twelfth, (0, 1)) - jnp.pad(twelfth, (1, 0))


def thermodynamic_integration(
    temperatures: Float[Array, "K"],
    loglikelihoods: Float[Array, "K num_draws *num_chains"],
    *,
    rule: Rule = "corrected_trapezoid",
) -> EvidenceEstimate:
    r"""Estimate log p(x) by thermodynamic integration.

    With :math:`h_k = t_{k+1} - t_k` and ``E_k``, ``V_k`` the mean and variance of ℓ at
    ``t_k``, the trapezoidal rule is

    .. math:: \sum_k \tfrac{h_k}{2}(E_k + E_{k+1}),

    whose error is :math:`\tfrac12\sum_k [KL(q_{k+1}\|q_k) - KL(q_k\|q_{k+1})]` and is
    bounded by half the bracket. The corrected rule of Friel, Hurn and Wyse (2014)
    uses that ``V`` is the derivative of ``E`` and adds

    .. math:: -\sum_k \tfrac{h_k^2}{12}(V_{k+1} - V_k).

    It is free, and wrong by any amount on a ladder too coarse for the integrand: a
    correction larger than half the bracket and three standard errors is warned about.

    Args:
        temperatures: ladder, shape (K,), strictly increasing from 0 to 1.
        loglikelihoods: full log-likelihoods of draws from ``q_t`` at each temperature,
            shape (K, num_draws) or (K, num_draws, num_chains), in nats. Draws with the
            same index may be correlated across temperatures (replica exchange); chains
            must be independent.
        rule: "corrected_trapezoid" or "trapezoid".

    Returns:
        The estimate with standard error, bracket and the integrand.

    Raises:
        InputError: if the ladder is not one, the shapes do not match, or the rule is unknown.

    Warns:
        UserWarning: if a mean log-likelihood is not finite, or the correction exceeds half
            the bracket by more than three standard errors. Not inside ``jit`` or ``vmap``.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> temperatures = te.schedules.power(8, 3.0)
        >>> shape, rate = 1 + 2 * temperatures[:, None], 1 + temperatures[:, None]
        >>> gamma = jax.random.gamma(jax.random.key(0), shape, (8, 20_000)) / rate
        >>> estimate = te.thermodynamic_integration(temperatures, 2 * jnp.log(gamma) - gamma)
        >>> bool(abs(estimate.log_evidence - (jnp.log(2.0) - 3 * jnp.log(2.0))) < 0.05)
        True
    """
    if rule not in ("corrected_trapezoid", "trapezoid"):
        raise InputError(f"rule must be 'corrected_trapezoid' or 'trapezoid', got {rule!r}")
    temperatures, draws = estimates.as_draws(temperatures, loglikelihoods)
    mean = draws.mean(axis=(1, 2))
    variance = draws.var(axis=(1, 2), ddof=1 if draws[0].size > 1 else 0)
    steps = jnp.diff(temperatures)
    weights = trapezoid_weights(temperatures)
    correction_weights = _correction_weights(temperatures)

    trapezoid = weights @ mean
    correction = correction_weights @ variance
    deviations = draws - mean[:, None, None]
    series = jnp.einsum("k,knc->nc", weights, deviations)
    if rule == "corrected_trapezoid":
        series = series + jnp.einsum("k,knc->nc", correction_weights, deviations**2)
    estimate = EvidenceEstimate(
        log_evidence=trapezoid + correction if rule == "corrected_trapezoid" else trapezoid,
        standard_error=estimates.batch_means_standard_error(series),
        lower_bound=steps @ mean[:-1],
        upper_bound=steps @ mean[1:],
        discretization_error=correction,
        mean_loglikelihood=mean,
        variance_loglikelihood=variance,
    )
    warn_of_a_bad_ladder(estimate, rule)
    return estimate


def warn_of_a_bad_ladder(estimate: EvidenceEstimate, rule: Rule) -> None:
    """Warn where thermodynamic integration cannot be trusted; silent inside ``jit``.

    Args:
        estimate: one estimate, or a batch of them with a leading axis on every field.
        rule: the rule it was made with.
    """
    if any(checks.concrete(value) is None for value in estimate):
        return
    _, error, lower, upper, correction, mean, _ = (np.atleast_1d(v) for v in estimate)
    mean = mean.reshape(-1, mean.shape[-1])
    finite = np.isfinite(mean)
    if not np.all(finite):
        rungs = np.flatnonzero(~np.all(finite, axis=0)).tolist()
        warnings.warn(
            f"the mean log-likelihood is not finite at temperature index {rungs}: "
            "thermodynamic integration has no finite value here",
            stacklevel=3,
        )
        return
    margin = 0.5 * (upper - lower) + 3 * np.nan_to_num(error)
    excess = np.abs(correction) - margin
    worst = int(np.argmax(excess))
    if excess[worst] > 0:
        which = "" if excess.size == 1 else f" for {np.sum(excess > 0)} of {excess.size} estimates"
        advice = "use rule='trapezoid' or " if rule == "corrected_trapezoid" else ""
        warnings.warn(
            f"the ladder is too coarse{which}: the trapezoid correction of "
            f"{correction[worst]:.4g} nats exceeds half the bracket [{lower[worst]:.4g}, "
            f"{upper[worst]:.4g}]; {advice}add temperatures where the variance of the "
            "log-likelihood changes fastest",
            stacklevel=3,
        )
