r"""Evidence from the weights of annealed chains: bounds on log p(x) from either side.

A chain that starts at an exact draw of the prior and is moved down a ladder by transitions that
leave each :math:`q_{t_k}` invariant has a weight ``w`` with :math:`E[e^w] = Z = p(x)`, however
short the ladder and however slow the transitions (Jarzynski 1997; Neal 2001). A chain that
walks the same ladder back from an exact draw of the posterior has one with
:math:`E[e^w] = 1/Z`. Jensen's inequality turns both into bounds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.evidence.reweighting import Direction


class AnnealedEstimate(NamedTuple):
    """An estimate of log p(x) from independent weights, with what is needed to judge it.

    Attributes:
        log_evidence: the estimate in nats, in expectation a lower bound from forward weights
            and an upper bound from reverse ones.
        standard_error: its Monte Carlo standard error in nats; NaN if there is one chain, or
            no weight above zero.
        one_chain_bound: mean log weight, with the sign of ``log_evidence``: the bound that the
            chains give one by one. Never closer in expectation than ``log_evidence``.
        effective_sample_size: how many equal weights would do as well, from 0 to the
            number of chains.
        pareto_k: shape of the tail of the weights (Vehtari et al. 2024). Beyond .7 a few
            chains decide and the standard error is not to be trusted; ``inf`` where fewer
            weights than the tail takes are positive, or fewer than 25 are given.
    """

    log_evidence: Float[Array, ""]
    standard_error: Float[Array, ""]
    one_chain_bound: Float[Array, ""]
    effective_sample_size: Float[Array, ""]
    pareto_k: Float[Array, ""]


def annealed_estimate(
    log_weights: Float[Array, "N"], *, direction: Direction = "forward"
) -> AnnealedEstimate:
    r"""Estimate log p(x) from the log weights of independent annealed chains.

    .. math:: \log \tfrac1N \sum_n e^{w_n} \;\text{(forward)}, \qquad
              -\log \tfrac1N \sum_n e^{w_n} \;\text{(reverse)}

    The means are unbiased for Z and for 1/Z; their logarithms are not. Forward is low in
    expectation, reverse is high (Grosse, Ghahramani and Adams 2015), each by about half
    the squared standard error, and by Markov's inequality either passes the truth
    by more than b nats with probability below :math:`e^{-b}`. The standard error is the delta
    method's, :math:`\mathrm{sd}(e^w) / (\overline{e^w} \sqrt N)`.

    Args:
        log_weights: log weights in nats, shape (N,); ``-inf`` is a weight of zero. Those of
            :func:`tempered_ebm.annealed_importance_sampling`, or of
            :func:`tempered_ebm.reverse_annealed_importance_sampling` for the other direction.
        direction: "forward" if the weights average to Z, "reverse" if they average to 1/Z.

    Returns:
        The estimate with standard error, one-chain bound, effective sample size and Pareto k.

    Raises:
        InputError: if the weights are not one floating axis of at least one chain, the
            direction is unknown, or a weight is NaN or ``+inf``.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> log_weights = jax.random.normal(jax.random.key(0), (10_000,)) - 0.5  # E[exp(w)] = 1
        >>> estimate = te.evidence.annealed_estimate(log_weights)
        >>> bool(abs(estimate.log_evidence) < 5 * estimate.standard_error)
        True
    """
    if direction not in ("forward", "reverse"):
        raise InputError(f"direction must be 'forward' or 'reverse', got {direction!r}")
    log_weights = _as_log_weights(log_weights)
    sign = 1.0 if direction == "forward" else -1.0
    peak = log_weights.max()
    peak = jnp.where(jnp.isfinite(peak), peak, 0.0)
    weights = jnp.exp(log_weights - peak)
    mean = weights.mean()
    return AnnealedEstimate(
        log_evidence=sign * (peak + jnp.log(mean)),
        standard_error=jnp.std(weights, ddof=1) / (mean * math.sqrt(weights.size)),
        one_chain_bound=sign * log_weights.mean(),
        effective_sample_size=_effective_sample_size(weights),
        pareto_k=_pareto_k(log_weights),
    )


def _as_log_weights(log_weights: Float[Array, "N"]) -> Float[Array, "N"]:
    log_weights = jnp.asarray(log_weights)
    if log_weights.ndim != 1 or log_weights.size == 0:
        raise InputError(
            f"log_weights must have shape (N,) with at least one chain, got {log_weights.shape}"
        )
    if not jnp.issubdtype(log_weights.dtype, jnp.floating):
        raise InputError(f"log_weights must have a floating dtype, got {log_weights.dtype}")
    known = checks.concrete(log_weights)
    if known is not None:
        bad = np.flatnonzero(np.isnan(known) | np.isposinf(known))
        if bad.size:
            raise InputError(
                f"log_weights must be finite or -inf, got {known[bad[0]]} of chain {bad[0]}"
            )
    return log_weights


def _effective_sample_size(weights: Float[Array, "N"]) -> Float[Array, ""]:
    """Kish's, ``(Σ w)² / Σ w²``, and 0 without a positive weight."""
    squares = jnp.sum(weights**2)
    return jnp.where(squares > 0, weights.sum() ** 2 / jnp.where(squares > 0, squares, 1.0), 0.0)


def _pareto_k(log_weights: Float[Array, "N"]) -> Float[Array, ""]:
    from blackjax.diagnostics import psis_weights

    shape = psis_weights(log_weights)[1].astype(log_weights.dtype)
    # Zeros within the tail leave nothing to fit.
    return jnp.where(jnp.isnan(shape), jnp.inf, shape)
