r"""Evidence by integration along a ladder of temperatures.

The thermodynamic identity (Gelman and Meng 1998; Friel and Pettitt 2008)

.. math:: \log p(x) = \int_0^1 E_t[\ell]\,dt, \qquad
          \frac{d}{dt} E_t[\ell] = \mathrm{Var}_t[\ell] \ge 0,

turns draws of ℓ under each :math:`q_t` into log p(x). Nothing here samples: any
sampler that visits the ladder will do.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.errors import InputError
from tempered_ebm.schedules import Quadrature

Rule = Literal["corrected_trapezoid", "trapezoid", "simpson"]

_ENOUGH_CHAINS = 16
_BATCHES = 32


class EvidenceEstimate(NamedTuple):
    """An estimate of log p(x) with its standard error, bounds and integrand.

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
    """Return the standard error of the mean of correlated series, by non-overlapping batch means.

    Chains are taken as independent of each other. From 16 chains on, a chain is a batch,
    and the error sees whatever keeps chains apart. Fewer are cut into equally long
    batches, 32 or a few more in all (Flegal and Jones 2010); draws left over at
    the start enter the mean but not the variance of the batches.

    Args:
        series: draws along the first axis, independent chains along the second.

    Returns:
        The standard error, NaN if there is a single draw.
    """
    series = checks.real_array("series", series)
    if series.ndim != 2:
        raise InputError(f"series must have shape (num_draws, num_chains), got {series.shape}")
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
    draws = checks.real_array("loglikelihoods", loglikelihoods)
    if draws.ndim not in (2, 3) or draws.shape[0] != K or draws.size == 0:
        raise InputError(
            f"loglikelihoods must have shape (K, num_draws) or (K, num_draws, num_chains) with "
            f"K = {K} temperatures and at least one draw, got {draws.shape}"
        )
    if not jnp.issubdtype(draws.dtype, jnp.floating):
        raise InputError(f"loglikelihoods must have a floating dtype, got {draws.dtype}")
    return draws.reshape(K, draws.shape[1], -1)


def variances(draws: Float[Array, "K num_draws num_chains"]) -> Float[Array, "K"]:
    """Return the variance at each temperature, unbiased where there are two draws."""
    return draws.var(axis=(1, 2), ddof=1 if draws[0].size > 1 else 0)


def trapezoid_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    """Return weights ``w_k`` of the trapezoidal rule, so that ``∫ g dt ≈ Σ w_k g(t_k)``.

    Example:
        >>> import tempered_ebm as te
        >>> te.evidence.trapezoid_weights(te.schedules.uniform(3)).tolist()
        [0.25, 0.5, 0.25]
    """
    half = 0.5 * jnp.diff(_nodes(temperatures))
    return jnp.pad(half, (0, 1)) + jnp.pad(half, (1, 0))


def simpson_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    r"""Return weights of the composite Simpson rule on a ladder of any spacing.

    The parabola through three temperatures with gaps a and b has the integral

    .. math:: \tfrac{a+b}{6}\Bigl[\bigl(2 - \tfrac ba\bigr) g_0
              + \tfrac{(a+b)^2}{ab} g_1 + \bigl(2 - \tfrac ab\bigr) g_2\Bigr];

    such pairs of intervals are added up. If one interval remains, the parabola through the last
    three temperatures is integrated over it alone:

    .. math:: -\tfrac{b^3}{6a(a+b)} g_0 + \tfrac{b(b+3a)}{6a} g_1
              + \tfrac{b(2b+3a)}{6(a+b)} g_2

    (Cartwright 2017). Two temperatures are left with the trapezoid. Where a gap is more than
    twice its neighbour, a weight is negative.

    Args:
        temperatures: ladder, shape (K,), which may be traced.

    Example:
        >>> import tempered_ebm as te
        >>> [round(6 * float(w), 4) for w in te.evidence.simpson_weights(te.schedules.uniform(3))]
        [1.0, 4.0, 1.0]
    """
    temperatures = _nodes(temperatures)
    if temperatures.shape[0] == 2:
        return trapezoid_weights(temperatures)
    gaps = jnp.diff(temperatures)
    first = np.arange(0, gaps.shape[0] - 1, 2)
    a, b = gaps[first], gaps[first + 1]
    sixth = (a + b) / 6.0
    weights = jnp.zeros_like(temperatures).at[first].add(sixth * (2 - b / a))
    weights = weights.at[first + 1].add(sixth * (a + b) ** 2 / (a * b))
    weights = weights.at[first + 2].add(sixth * (2 - a / b))
    return weights if gaps.shape[0] % 2 == 0 else weights.at[-3:].add(_last_interval(*gaps[-2:]))


def _nodes(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    temperatures = checks.real_array("temperatures", temperatures)
    if temperatures.ndim != 1 or temperatures.size < 2:
        raise InputError(f"temperatures must have shape (K,), K >= 2, got {temperatures.shape}")
    return temperatures


def _last_interval(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, "3"]:
    """Integrate the parabola through three points with gaps a and b over the second gap."""
    return jnp.stack(
        [
            -(b**3) / (6 * a * (a + b)),
            b * (b + 3 * a) / (6 * a),
            b * (2 * b + 3 * a) / (6 * (a + b)),
        ]
    )


def _correction_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    """Return weights ``c_k`` with ``-Σ h_k² (V_{k+1} - V_k) / 12 = Σ c_k V_k``."""
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

    Simpson's rule (:func:`simpson_weights`) has the same order without the noise of ``V``.
    It weighs neighbours evenly only if their gaps are alike; on a ladder that is crowded at
    one end its weights differ in sign, and a value outside the bracket is warned about.

    Args:
        temperatures: ladder, shape (K,), strictly increasing from 0 to 1.
        loglikelihoods: full log-likelihoods of draws from ``q_t`` at each temperature,
            shape (K, num_draws) or (K, num_draws, num_chains), in nats. Draws with the
            same index may be correlated across temperatures (replica exchange); chains
            must be independent.
        rule: "corrected_trapezoid", "trapezoid" or "simpson".

    Returns:
        The estimate with standard error, bracket and the integrand.

    Raises:
        InputError: if the ladder is not one, the shapes do not match, or the rule is unknown.

    Warns:
        UserWarning: if a mean log-likelihood is not finite, or the correction (for Simpson's
            rule, its difference to the trapezoid) exceeds half the bracket by more than
            three standard errors. Not inside ``jit`` or ``vmap``.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> temperatures = te.schedules.power(8, 3.0)
        >>> shape, rate = 1 + 2 * temperatures[:, None], 1 + temperatures[:, None]
        >>> gamma = jax.random.gamma(jax.random.key(0), shape, (8, 20_000)) / rate
        >>> estimate = te.thermodynamic_integration(temperatures, 2 * jnp.log(gamma) - gamma)
        >>> bool(abs(estimate.log_evidence - (jnp.log(2.0) - 3 * jnp.log(2.0))) < 0.05)
        True
    """
    checks.one_of("rule", rule, get_args(Rule))
    temperatures, draws = as_draws(temperatures, loglikelihoods)
    mean, variance = draws.mean(axis=(1, 2)), variances(draws)
    deviations = draws - mean[:, None, None]
    estimate = integrate(temperatures, rule, mean, variance, deviations, deviations**2)
    warn_of_a_bad_ladder(estimate, rule)
    return estimate


def integrate(
    temperatures: Float[Array, "K"],
    rule: Rule,
    mean: Float[Array, "K"],
    variance: Float[Array, "K"],
    deviations: Float[Array, "K num_draws num_chains"],
    squares: Float[Array, "K num_draws num_chains"],
) -> EvidenceEstimate:
    """Return the estimate of a rule, applied to the estimated integrand.

    Args:
        temperatures: ladder, shape (K,).
        rule: one of :data:`Rule`.
        mean: estimates of ``E_t[ℓ]``.
        variance: estimates of ``Var_t[ℓ]``.
        deviations: series whose means have the errors of ``mean``.
        squares: series whose means have the errors of ``variance``.
    """
    weights = (
        simpson_weights(temperatures) if rule == "simpson" else trapezoid_weights(temperatures)
    )
    correction_weights = _correction_weights(temperatures)
    value, correction = weights @ mean, correction_weights @ variance
    series = jnp.einsum("k,knc->nc", weights, deviations)
    if rule == "corrected_trapezoid":
        value = value + correction
        series = series + jnp.einsum("k,knc->nc", correction_weights, squares)
    return bracketed(temperatures, value, series, correction, mean, variance)


def bracketed(
    temperatures: Float[Array, "K"],
    log_evidence: Float[Array, ""],
    series: Float[Array, "num_draws num_chains"],
    discretization_error: Float[Array, ""],
    mean: Float[Array, "K"],
    variance: Float[Array, "K"],
) -> EvidenceEstimate:
    """Return an estimate with the error that a series has, and the Riemann sums of the mean."""
    steps, error = jnp.diff(temperatures), batch_means_standard_error(series)
    bracket = (steps @ mean[:-1], steps @ mean[1:])
    return EvidenceEstimate(log_evidence, error, *bracket, discretization_error, mean, variance)


def warn_of_a_bad_ladder(estimate: EvidenceEstimate, rule: Rule) -> None:
    """Warn where thermodynamic integration cannot be trusted; silent inside ``jit``.

    Args:
        estimate: one estimate, or a batch of them with a leading axis on every field.
        rule: the rule it was made with.
    """
    if any(checks.concrete(value) is None for value in estimate):
        return
    value, error, lower, upper, correction, mean, _ = (np.atleast_1d(v) for v in estimate)
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
    what = "trapezoid correction"
    if rule == "simpson":
        what, correction = (
            "difference of Simpson's rule to the trapezoid",
            value - 0.5 * (lower + upper),
        )
    margin = 0.5 * (upper - lower) + 3 * np.nan_to_num(error)
    excess = np.abs(correction) - margin
    worst = int(np.argmax(excess))
    if excess[worst] > 0:
        which = "" if excess.size == 1 else f" for {np.sum(excess > 0)} of {excess.size} estimates"
        advice = "" if rule == "trapezoid" else "use rule='trapezoid' or "
        warnings.warn(
            f"the ladder is too coarse{which}: the {what} of "
            f"{correction[worst]:.4g} nats exceeds half the bracket [{lower[worst]:.4g}, "
            f"{upper[worst]:.4g}]; {advice}add temperatures where the variance of the "
            "log-likelihood changes fastest",
            stacklevel=3,
        )


def gauss_legendre(
    quadrature: Quadrature, loglikelihoods: Float[Array, "K num_draws *num_chains"]
) -> EvidenceEstimate:
    r"""Estimate log p(x) from draws at the nodes of a Gauss-Legendre quadrature.

    .. math:: \sum_k w_k E_{t_k}[\ell], \qquad w_k = \omega_k \frac{dt}{d\lambda}(\lambda_k),

    with :math:`\omega_k, \lambda_k` Gauss-Legendre's weights and nodes on [0, 1] and
    :math:`t(\lambda)` the map of :func:`tempered_ebm.schedules.gauss_legendre`. On a smooth path
    the error of discretisation falls faster than any power of K.

    Nothing was drawn at 0 and 1. Since ``E`` increases, it lies below its value at the first
    node before it, and above its value at the last node after it; from the other side it is
    not bounded there, and so the bracket is infinite.

    ``discretization_error`` is the value less that of the rule which interpolates
    :math:`(E - \log p(x))\,dt/d\lambda` at all nodes but the middle one. That rule has degree
    K - 2 where this one has 2K - 1: what it misses is far more than what is missed here, and
    includes Monte Carlo error.

    Args:
        quadrature: nodes and weights, each (K,).
        loglikelihoods: full log-likelihoods of draws from ``q_t`` at each node, shape
            (K, num_draws) or (K, num_draws, num_chains), in nats.

    Returns:
        The estimate with standard error and integrand; the bracket is ``-inf`` and ``inf``.

    Raises:
        InputError: if the nodes do not increase strictly inside (0, 1), the weights are not
            positive with sum 1, or the shapes do not match.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> pilot = te.schedules.uniform(3)
        >>> quadrature = te.schedules.gauss_legendre(pilot, jnp.array([4.0, 1.5, 0.8]), 6)
        >>> shape, rate = (1 + c * quadrature.temperatures[:, None] for c in (2, 1))
        >>> gamma = jax.random.gamma(jax.random.key(0), shape, (6, 20_000)) / rate
        >>> estimate = te.evidence.gauss_legendre(quadrature, 2 * jnp.log(gamma) - gamma)
        >>> bool(abs(estimate.log_evidence + 2 * jnp.log(2.0)) < 0.05)
        True
    """
    temperatures, weights = _check_quadrature(quadrature)
    draws = with_chains(temperatures.shape[0], loglikelihoods)
    weights = weights.astype(draws.dtype)
    mean = draws.mean(axis=(1, 2))
    value = weights @ mean
    series = jnp.einsum("k,knc->nc", weights, draws - mean[:, None, None])
    return EvidenceEstimate(
        log_evidence=value,
        standard_error=batch_means_standard_error(series),
        lower_bound=jnp.full_like(value, -jnp.inf),
        upper_bound=jnp.full_like(value, jnp.inf),
        discretization_error=_null_rule(mean.shape[0]).astype(mean.dtype)
        @ (weights * (mean - value)),
        mean_loglikelihood=mean,
        variance_loglikelihood=variances(draws),
    )


def _null_rule(K: int) -> Float[Array, "K"]:
    """Return the difference to the weights without the middle node, per weight of the rule.

    It annihilates polynomials of degree K - 2, hence is a multiple of the divided difference
    over all nodes: of the barycentric weights ``(-1)^k sqrt((1 - x_k^2) w_k)`` of the nodes
    (Wang and Xiang 2012). At the middle node it is the whole weight.
    """
    x, w = np.polynomial.legendre.leggauss(K)
    barycentric = (-1.0) ** np.arange(K) * np.sqrt((1 - x**2) * w)
    difference = barycentric * (w[K // 2] / barycentric[K // 2])
    return jnp.asarray(difference / w)


def _check_quadrature(quadrature: Quadrature) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    if not (isinstance(quadrature, tuple) and len(quadrature) == 2):
        raise InputError(
            "quadrature must be temperatures and weights, as from te.schedules.gauss_legendre, "
            f"got {checks.describe(quadrature)}"
        )
    temperatures, weights = (checks.real_array("quadrature", leaf) for leaf in quadrature)
    if temperatures.ndim != 1 or temperatures.shape != weights.shape or temperatures.size < 2:
        raise InputError(
            "quadrature must have temperatures and weights of one shape (K,) with K >= 2, got "
            f"{temperatures.shape} and {weights.shape}"
        )
    nodes, known = checks.concrete(temperatures), checks.concrete(weights)
    if nodes is not None and not (nodes[0] > 0 and nodes[-1] < 1 and np.all(np.diff(nodes) > 0)):
        raise InputError(
            f"quadrature.temperatures must increase strictly inside (0, 1), got {nodes}"
        )
    if known is not None and not (np.all(known > 0) and abs(known.sum() - 1) < 1e-3):
        raise InputError(f"quadrature.weights must be positive with sum 1, got {known}")
    return temperatures, weights
