r"""Evidence by integration along a ladder of temperatures.

The thermodynamic identity (Gelman and Meng 1998; Friel and Pettitt 2008)

.. math:: \log p(x) = \int_0^1 E_t[\ell]\,dt, \qquad
          \frac{d}{dt} E_t[\ell] = \mathrm{Var}_t[\ell] \ge 0,

turns draws of ℓ under each :math:`q_t` into log p(x). Nothing here samples: any
sampler that visits the ladder will do.
"""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import estimate as estimates
from tempered_ebm.evidence.estimate import EvidenceEstimate

Rule = Literal["corrected_trapezoid", "trapezoid", "simpson"]


def trapezoid_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    """Weights ``w_k`` of the trapezoidal rule, so that ``∫ g dt ≈ Σ w_k g(t_k)``.

    Example:
        >>> import tempered_ebm as te
        >>> te.evidence.trapezoid_weights(te.schedules.uniform(3)).tolist()
        [0.25, 0.5, 0.25]
    """
    half = 0.5 * jnp.diff(temperatures)
    return jnp.pad(half, (0, 1)) + jnp.pad(half, (1, 0))


def simpson_weights(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    r"""Weights of the composite Simpson rule on a ladder of any spacing.

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


def _last_interval(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, "3"]:
    """Integrate the parabola through three points with gaps a and b over the second gap."""
    return jnp.stack(
        [
            -(b**3) / (6 * a * (a + b)),
            b * (b + 3 * a) / (6 * a),
            b * (2 * b + 3 * a) / (6 * (a + b)),
        ]
    )


def check_rule(rule: str) -> None:
    """Raise InputError unless ``rule`` is one of :data:`Rule`."""
    if rule not in get_args(Rule):
        raise InputError(
            f"rule must be 'corrected_trapezoid', 'trapezoid' or 'simpson', got {rule!r}"
        )


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
    check_rule(rule)
    temperatures, draws = estimates.as_draws(temperatures, loglikelihoods)
    mean = draws.mean(axis=(1, 2))
    variance = draws.var(axis=(1, 2), ddof=1 if draws[0].size > 1 else 0)
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
    """Apply a rule to the estimated integrand.

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
    steps = jnp.diff(temperatures)
    return EvidenceEstimate(
        log_evidence=value,
        standard_error=estimates.batch_means_standard_error(series),
        lower_bound=steps @ mean[:-1],
        upper_bound=steps @ mean[1:],
        discretization_error=correction,
        mean_loglikelihood=mean,
        variance_loglikelihood=variance,
    )


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
