r"""Temperature ladders: strictly increasing arrays from 0 (prior) to 1 (posterior).

Every constructor returns a ``(K,)`` float array with ``ladder[0] == 0`` and
``ladder[-1] == 1``, except :func:`gauss_legendre`, whose temperatures are strictly inside.
In the formulas :math:`u_k = k/(K-1)`, ``k = 0 ... K-1``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError


def validate(temperatures: Float[Array, "K"]) -> Float[Array, "K"]:
    """Return ``temperatures`` as an array if they are a ladder.

    Inside ``jit`` or ``vmap`` only the shape can be checked.

    Args:
        temperatures: what should be a ladder.

    Raises:
        InputError: if they are not a 1-D array of at least two values that increase
            strictly from exactly 0 to exactly 1.
    """
    temperatures = checks.real_array("temperatures", temperatures)
    if jnp.ndim(temperatures) != 1 or jnp.shape(temperatures)[0] < 2:
        raise InputError(
            "temperatures must be a 1-D array of at least two values, got shape "
            f"{jnp.shape(temperatures)}"
        )
    known = checks.concrete(temperatures)
    if known is not None and not (known[0] == 0 and known[-1] == 1 and np.all(np.diff(known) > 0)):
        raise InputError(
            "temperatures must increase strictly from 0 to 1, got "
            + np.array2string(known, precision=6, threshold=20, separator=", ")
        )
    is_floating = jnp.issubdtype(temperatures.dtype, jnp.floating)
    return temperatures if is_floating else temperatures.astype(float)


def _ladder(K: int, transform: Callable[[Array], Array]) -> Float[Array, "K"]:
    checks.at_least("K", K, 2)
    inside = jnp.arange(1, K - 1) / (K - 1)
    return validate(
        jnp.concatenate([jnp.zeros(1), jnp.asarray(transform(inside), float), jnp.ones(1)])
    )


def uniform(K: int) -> Float[Array, "K"]:
    """Return an equally spaced ladder, ``t_k = u_k``.

    Args:
        K: number of temperatures, at least 2.

    Raises:
        InputError: if ``K`` is not an integer of at least 2.

    Example:
        >>> import tempered_ebm as te
        >>> te.schedules.uniform(5).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return _ladder(K, lambda u: u)


def power(K: int, p: float) -> Float[Array, "K"]:
    """Return the power ladder ``t_k = u_k**p``; ``p > 1`` crowds it towards the prior.

    Friel and Pettitt (2008, section 4) recommend ``p`` between 3 and 5.

    Args:
        K: number of temperatures, at least 2.
        p: positive exponent; 1 is the uniform ladder.

    Raises:
        InputError: if ``K < 2``, ``p <= 0``, or ``p`` is so large that neighbouring
            temperatures coincide in floating point.

    Example:
        >>> import tempered_ebm as te
        >>> te.schedules.power(3, 2.0).tolist()
        [0.0, 0.25, 1.0]
    """
    checks.positive("p", p)
    return _ladder(K, lambda u: u**p)


def sigmoid(K: int, a: float) -> Float[Array, "K"]:
    r"""Return a sigmoid ladder, dense at both ends.

    .. math:: t_k = \frac{\sigma(a(2u_k-1)) - \sigma(-a)}{\sigma(a) - \sigma(-a)}

    A ladder of Grosse, Ghahramani and Adams (2015) for annealed importance sampling, with
    ``a = 4``.

    Args:
        K: number of temperatures, at least 2.
        a: positive steepness; the uniform ladder is the limit at 0.

    Raises:
        InputError: if ``K < 2`` or ``a <= 0``, or neighbouring temperatures coincide.

    Example:
        >>> import tempered_ebm as te
        >>> [round(float(t), 4) for t in te.schedules.sigmoid(3, 4.0)]
        [0.0, 0.5, 1.0]
    """
    checks.positive("a", a)

    # The same ratio by tanh, without the cancellation that a small steepness would cause.
    return _ladder(K, lambda u: 0.5 * (1 + jnp.tanh(a * (u - 0.5)) / jnp.tanh(0.5 * a)))


def geometric(K: int, t_min: float) -> Float[Array, "K"]:
    """Return a geometric ladder: 0, then ``K - 1`` temperatures in geometric progression to 1.

    ``t_k = t_min**((K - 1 - k)/(K - 2))`` for ``k >= 1``.

    Args:
        K: number of temperatures, at least 3.
        t_min: the smallest positive temperature, in (0, 1).

    Raises:
        InputError: if ``K < 3`` or ``t_min`` is not in (0, 1).

    Example:
        >>> import tempered_ebm as te
        >>> [round(float(t), 4) for t in te.schedules.geometric(4, 0.01)]
        [0.0, 0.01, 0.1, 1.0]
    """
    checks.at_least("K", K, 3)
    checks.positive("t_min", t_min)
    known = checks.concrete(t_min)
    if known is not None and not known < 1:
        raise InputError(f"t_min must be between 0 and 1, both excluded, got {t_min}")

    def transform(u: Array) -> Array:
        k = u * (K - 1)
        return t_min ** ((K - 1 - k) / (K - 2))

    return _ladder(K, transform)


def beta(K: int, alpha: float) -> Float[Array, "K"]:
    """Return the quantiles of Beta(alpha, 1), ``t_k = u_k**(1/alpha)``.

    Xie et al. (2011) use ``alpha = 0.3`` for stepping-stone sampling.

    Args:
        K: number of temperatures, at least 2.
        alpha: positive shape; 1 is the uniform ladder, smaller crowds it towards the prior.

    Raises:
        InputError: if ``K < 2``, ``alpha <= 0``, or neighbouring temperatures coincide.

    Example:
        >>> import tempered_ebm as te
        >>> te.schedules.beta(3, 0.5).tolist()
        [0.0, 0.25, 1.0]
    """
    checks.positive("alpha", alpha)
    return _ladder(K, lambda u: u ** (1.0 / alpha))


def cosine(K: int) -> Float[Array, "K"]:
    """Return the half-cosine ladder ``t_k = (1 - cos(π u_k)) / 2``, dense at both ends.

    Args:
        K: number of temperatures, at least 2.

    Raises:
        InputError: if ``K`` is not an integer of at least 2.

    Example:
        >>> import tempered_ebm as te
        >>> [round(float(t), 4) for t in te.schedules.cosine(4)]
        [0.0, 0.25, 0.75, 1.0]
    """
    return _ladder(K, lambda u: jnp.sin(0.5 * jnp.pi * u) ** 2)


_LEAST_SHARE = 1e-3
"""Smallest share of the mean speed that an interval is given, so that no ladder collapses."""


def _invert(
    temperatures: Float[Array, "M"],
    left_speed: Float[Array, "M-1"],
    right_speed: Float[Array, "M-1"],
    K: int,
) -> Float[Array, "K"]:
    """Place K temperatures at equal distances, for a speed linear on each interval."""
    gaps = jnp.diff(temperatures)
    lengths = gaps * 0.5 * (left_speed + right_speed)
    ends = jnp.concatenate([jnp.zeros(1, lengths.dtype), jnp.cumsum(lengths)])
    wanted = jnp.arange(1, K - 1) * (ends[-1] / (K - 1))
    k = jnp.clip(jnp.searchsorted(ends, wanted, side="right") - 1, 0, lengths.size - 1)
    rest = jnp.clip(wanted - ends[k], 0.0, lengths[k])
    # The root of left x + (right - left) x^2 / (2 gap) = rest, without cancellation.
    slope = (right_speed - left_speed)[k] / gaps[k]
    x = 2 * rest / (left_speed[k] + jnp.sqrt(left_speed[k] ** 2 + 2 * slope * rest))
    inside = temperatures[k] + jnp.minimum(x, gaps[k])
    return jnp.concatenate([temperatures[:1], inside, temperatures[-1:]])


def _statistics_of_a_ladder(
    temperatures: Float[Array, "M"], name: str, values: Float[Array, "*"], size_below: int
) -> tuple[Float[Array, "M"], Float[Array, "*"]]:
    temperatures = validate(temperatures)
    values = checks.real_array(name, values)
    expected = (temperatures.shape[0] - size_below,)
    if jnp.shape(values) != expected:
        raise InputError(f"{name} must have shape {expected}, got {jnp.shape(values)}")
    known = checks.concrete(values)
    if known is not None and not (np.all(np.isfinite(known)) and np.all(known >= 0)):
        raise InputError(f"{name} must be finite and not negative, got {known}")
    return temperatures, jnp.asarray(values, temperatures.dtype)


def _speed(temperatures: Float[Array, "M"], variances: Float[Array, "M"]) -> Float[Array, "M"]:
    """Root of the variance, bounded from below, and constant if it vanishes everywhere."""
    speed = jnp.sqrt(variances)
    mean = jnp.sum(jnp.diff(temperatures) * 0.5 * (speed[1:] + speed[:-1]))
    return jnp.where(mean > 0, jnp.maximum(speed, _LEAST_SHARE * mean), jnp.ones_like(speed))


def equal_length(
    temperatures: Float[Array, "M"], loglikelihood_variances: Float[Array, "M"], K: int
) -> Float[Array, "K"]:
    r"""Return the ladder of equal thermodynamic length, from a pilot run.

    .. math:: \Lambda(t) = \int_0^t \sqrt{\mathrm{Var}_s[\ell]}\,ds, \qquad
              \Lambda(t_k) = u_k\,\Lambda(1)

    The optimal ladder of Gelman and Meng (1998) and Crooks (2007): each rung is equally hard
    to tell from the next. The square root of the variance is taken to be linear between
    the pilot's temperatures, where the integral is inverted exactly. A ladder whose
    intervals have equal trapezoidal length is returned unchanged. Where the variance all but
    vanishes, a thousandth of the mean speed stands in, so that rungs never coincide; if
    it vanishes everywhere, the ladder is uniform.

    Args:
        temperatures: ladder of the pilot run, M temperatures.
        loglikelihood_variances: variance of the log-likelihood at each of them.
        K: number of temperatures wanted, at least 2.

    Raises:
        InputError: if ``temperatures`` is no ladder, the variances do not fit it or are
            negative or not finite, or ``K < 2``.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> pilot = te.schedules.uniform(101)
        >>> ladder = te.schedules.equal_length(pilot, (0.1 + pilot) ** -2.0, 3)
        >>> round(float(ladder[1]), 3)  # exactly ((1 + 1 / 0.1) ** 0.5 - 1) * 0.1
        0.232
    """
    checks.at_least("K", K, 2)
    temperatures, variances = _statistics_of_a_ladder(
        temperatures, "loglikelihood_variances", loglikelihood_variances, 0
    )
    speed = _speed(temperatures, variances)
    return validate(_invert(temperatures, speed[:-1], speed[1:], K))


class Quadrature(NamedTuple):
    """Temperatures strictly between 0 and 1 with weights, ``∫ g dt ≈ Σ w_k g(t_k)``.

    Attributes:
        temperatures: nodes, shape (K,), strictly increasing. Without 0 and 1 they are no ladder:
            :func:`validate` refuses them, and so do replica exchange and the pilot.
        weights: positive, shape (K,), with sum 1.
    """

    temperatures: Float[Array, "K"]
    weights: Float[Array, "K"]


def gauss_legendre(
    temperatures: Float[Array, "M"], loglikelihood_variances: Float[Array, "M"], K: int
) -> Quadrature:
    r"""Return temperatures and weights of Gauss-Legendre quadrature in thermodynamic length.

    In a coordinate :math:`\lambda \in [0, 1]` the evidence is

    .. math:: \int_0^1 E_t[\ell]\,dt = \int_0^1 E_{t(\lambda)}[\ell]\,
              \frac{dt}{d\lambda}\,d\lambda

    for every increasing map, so that the pilot decides how smooth the integrand becomes and not
    what its integral is. In thermodynamic length, :math:`dt/d\lambda \propto
    \mathrm{Var}_t[\ell]^{-1/2}`, the integrand of an isotropic Gaussian model is a constant plus
    an exponential of λ, and K nodes integrate polynomials of degree 2K - 1.

    The map has to be smooth, since a kink at each temperature of the pilot would limit
    the quadrature to second order. Here

    .. math:: \frac{dt}{d\lambda} = \frac{e^{p(\lambda)}}{\int_0^1 e^{p(s)}\,ds},

    with p the cubic (quadratic for a pilot of 4 temperatures, linear for fewer) closest to
    :math:`-\tfrac12\log\mathrm{Var}_t[\ell]` at the pilot's temperatures in least squares, each
    counted by the length it stands for. The map is analytic and increasing for whatever variances,
    smooths their noise, and is the optimal one where thermodynamic length grows
    logarithmically, as for an isotropic Gaussian. Weights are the derivative of this same map,
    scaled to the sum 1: a constant added to ℓ is added to the evidence. Small variances are
    raised as in :func:`equal_length`.

    Args:
        temperatures: ladder of the pilot run, M temperatures.
        loglikelihood_variances: variance of the log-likelihood at each of them.
        K: number of nodes, at least 2.

    Returns:
        Nodes for :func:`tempered_ebm.evidence.gauss_legendre`. Sample each on its own, for
        example with ``tempered_mala``: replica exchange needs a ladder from 0 to 1.

    Raises:
        InputError: if ``temperatures`` is no ladder, the variances do not fit it or are
            negative or not finite, or ``K < 2``.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> pilot = te.schedules.power(10, 3.0)
        >>> nodes, weights = te.schedules.gauss_legendre(pilot, (0.1 + pilot) ** -2.0, 4)
        >>> round(float(weights @ (0.1 + nodes) ** -1.0), 4)  # log(11)
        2.3979
    """
    checks.at_least("K", K, 2)
    temperatures, variances = _statistics_of_a_ladder(
        temperatures, "loglikelihood_variances", loglikelihood_variances, 0
    )
    log_slope = _fit_log_slope(temperatures, _speed(temperatures, variances))
    x, w = np.polynomial.legendre.leggauss(K)
    nodes = jnp.asarray(0.5 * (x + 1), temperatures.dtype)
    ends = jnp.pad(nodes, 1).at[-1].set(1.0)
    inner_x, inner_w = np.polynomial.legendre.leggauss(_INNER_NODES)
    inside = ends[:-1, None] + jnp.diff(ends)[:, None] * jnp.asarray(
        0.5 * (inner_x + 1), ends.dtype
    )
    rises = jnp.diff(ends) * (jnp.exp(log_slope(inside)) @ jnp.asarray(0.5 * inner_w, ends.dtype))
    weights = jnp.asarray(w, ends.dtype) * jnp.exp(log_slope(nodes))
    return Quadrature(jnp.cumsum(rises)[:-1] / rises.sum(), weights / weights.sum())


_INNER_NODES = 32
"""Nodes with which the slope of the map is integrated between two neighbours: to rounding."""


def _fit_log_slope(
    temperatures: Float[Array, "M"], speed: Float[Array, "M"]
) -> Callable[[Array], Array]:
    """Polynomial of the share of thermodynamic length, closest to minus the log speed."""
    lengths = jnp.diff(temperatures) * 0.5 * (speed[1:] + speed[:-1])
    lengths = lengths / lengths.sum()
    share = jnp.pad(jnp.cumsum(lengths), (1, 0))
    degree = min(3, max(1, temperatures.shape[0] - 2))

    def powers(x: Array) -> Array:
        return (2 * x[..., None] - 1) ** jnp.arange(degree + 1)

    counts = jnp.sqrt(0.5 * (jnp.pad(lengths, (0, 1)) + jnp.pad(lengths, (1, 0))))
    coefficients = jnp.linalg.lstsq(powers(share) * counts[:, None], -jnp.log(speed) * counts)[0]
    # Only ratios of slopes matter: without its constant, the exponential cannot overflow.
    return lambda x: powers(x)[..., 1:] @ coefficients[1:]


def equal_rejection(
    temperatures: Float[Array, "M"], swap_acceptance_rates: Float[Array, "M-1"], K: int
) -> Float[Array, "K"]:
    r"""Return the ladder on which all neighbours swap equally often, from a pilot run.

    With rejection rates :math:`r_k` between neighbours, the communication barrier
    :math:`\Lambda(t_k) = \sum_{j<k} r_j` grows by the same amount from rung to rung of the
    new ladder (Syed et al. 2022, section 5). Between the pilot's temperatures the barrier is
    taken to be linear. A ladder with equal rates is returned unchanged; an interval that
    never rejects keeps a thousandth of the mean rate, so that rungs never coincide; without
    any rejection the ladder is uniform.

    Args:
        temperatures: ladder of the pilot run, M temperatures.
        swap_acceptance_rates: acceptance rate of the swaps of each pair of neighbours.
        K: number of temperatures wanted, at least 2.

    Raises:
        InputError: if ``temperatures`` is no ladder, the rates do not fit it or leave
            [0, 1], or ``K < 2``.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> pilot = te.schedules.uniform(3)
        >>> ladder = te.schedules.equal_rejection(pilot, jnp.array([0.4, 0.8]), 5)
        >>> [round(float(t), 4) for t in ladder]
        [0.0, 0.1667, 0.3333, 0.5, 1.0]
    """
    checks.at_least("K", K, 2)
    temperatures, rates = _statistics_of_a_ladder(
        temperatures, "swap_acceptance_rates", swap_acceptance_rates, 1
    )
    checks.in_unit_interval("swap_acceptance_rates", swap_acceptance_rates)
    rejected = 1 - rates
    gaps = jnp.diff(temperatures)
    total = jnp.sum(rejected)
    rejected = jnp.where(total > 0, jnp.maximum(rejected, _LEAST_SHARE * total * gaps), gaps)
    speed = rejected / gaps
    return validate(_invert(temperatures, speed, speed, K))


def cyclic_power(
    period: int, p_min: float, p_max: float
) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    r"""Return the power of a ladder that cycles over training, a cosine between two powers.

    .. math:: p(s) = p_{min} + (p_{max} - p_{min})\,\tfrac12 (1 - \cos(2\pi s / \text{period}))

    A training heuristic: on a learning objective that depends on the ladder it changes the
    objective from step to step. Never use it for evidence.

    Args:
        period: training steps of one cycle, at least 1.
        p_min: power at the start of a cycle, positive.
        p_max: power in the middle of a cycle, positive.

    Returns:
        A function of the training step, which may be traced.

    Raises:
        InputError: if ``period < 1`` or a power is not positive.

    Example:
        >>> import tempered_ebm as te
        >>> power = te.schedules.cyclic_power(100, p_min=1.0, p_max=5.0)
        >>> [float(power(step)) for step in (0, 50, 100)]
        [1.0, 5.0, 1.0]
    """
    checks.at_least("period", period, 1)
    checks.positive("p_min", p_min)
    checks.positive("p_max", p_max)

    def power_at(step: Int[Array, ""]) -> Float[Array, ""]:
        phase = jnp.remainder(step, period) / period
        return p_min + (p_max - p_min) * 0.5 * (1 - jnp.cos(2 * jnp.pi * phase))

    return power_at
