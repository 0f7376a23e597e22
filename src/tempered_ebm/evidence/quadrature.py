r"""Evidence by Gauss-Legendre quadrature in thermodynamic length."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import estimate as estimates
from tempered_ebm.evidence.estimate import EvidenceEstimate
from tempered_ebm.schedules import Quadrature


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
    temperatures, weights = _check(quadrature)
    draws = estimates.with_chains(temperatures.shape[0], loglikelihoods)
    weights = weights.astype(draws.dtype)
    mean = draws.mean(axis=(1, 2))
    value = weights @ mean
    series = jnp.einsum("k,knc->nc", weights, draws - mean[:, None, None])
    return EvidenceEstimate(
        log_evidence=value,
        standard_error=estimates.batch_means_standard_error(series),
        lower_bound=jnp.full_like(value, -jnp.inf),
        upper_bound=jnp.full_like(value, jnp.inf),
        discretization_error=_null_rule(mean.shape[0]).astype(mean.dtype)
        @ (weights * (mean - value)),
        mean_loglikelihood=mean,
        variance_loglikelihood=draws.var(axis=(1, 2), ddof=1 if draws[0].size > 1 else 0),
    )


def _null_rule(K: int) -> Float[Array, "K"]:
    """Difference of the weights to those without the middle node, per weight of the rule.

    It annihilates polynomials of degree K - 2, hence is a multiple of the divided difference
    over all nodes: of the barycentric weights ``(-1)^k sqrt((1 - x_k^2) w_k)`` of the nodes
    (Wang and Xiang 2012). At the middle node it is the whole weight.
    """
    x, w = np.polynomial.legendre.leggauss(K)
    barycentric = (-1.0) ** np.arange(K) * np.sqrt((1 - x**2) * w)
    difference = barycentric * (w[K // 2] / barycentric[K // 2])
    return jnp.asarray(difference / w)


def _check(quadrature: Quadrature) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    temperatures, weights = (jnp.asarray(leaf) for leaf in quadrature)
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
