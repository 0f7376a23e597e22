r"""Evidence by reweighting draws between temperatures: no error of discretisation.

With :math:`h_k = t_{k+1} - t_k`, neighbouring normalisers obey

.. math:: \frac{Z_{k+1}}{Z_k} = E_{t_k}[e^{h_k \ell}] = 1 / E_{t_{k+1}}[e^{-h_k \ell}],

so that log-likelihoods drawn on a ladder give log p(x) = log Z_1 - log Z_0 as a sum of
logarithms of means. Standard errors linearise the estimate in the draws; the linear series,
summed over the rungs draw by draw, is found by batch means, since replica exchange
correlates rungs.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import integration
from tempered_ebm.evidence.integration import EvidenceEstimate, as_draws

Direction = Literal["forward", "reverse"]

_BALANCED = 1e-3
"""Share of draws that may seem to come from other rungs in weights that need no error."""


def _estimate(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws num_chains"],
    log_evidence: Float[Array, ""],
    series: Float[Array, "num_draws num_chains"],
) -> EvidenceEstimate:
    mean, variance = draws.mean(axis=(1, 2)), integration.variances(draws)
    nothing = jnp.zeros_like(log_evidence)
    return integration.bracketed(temperatures, log_evidence, series, nothing, mean, variance)


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
    show that the ladder is too coarse, or that the chains have not mixed.

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
    checks.one_of("direction", direction, get_args(Direction))
    temperatures, draws = as_draws(temperatures, loglikelihoods)
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
    temperatures, draws = as_draws(temperatures, loglikelihoods)

    def pair(two: Float[Array, "2"], values: Array) -> tuple[Array, Array]:
        f, series, _ = solve(two, values, jnp.zeros(0, values.dtype))
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
    the smallest asymptotic variance of all estimators by reweighting. It discretises nothing, so
    that a coarse ladder shows as a standard error and not as a bias.

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
    temperatures, draws = as_draws(temperatures, loglikelihoods)
    extra = jnp.zeros(0, draws.dtype)
    if prior_loglikelihoods is not None:
        extra = checks.real_array("prior_loglikelihoods", prior_loglikelihoods).astype(draws.dtype)
        if extra.ndim != 1:
            raise InputError(f"prior_loglikelihoods must have shape (M,), got {extra.shape}")
    f, series, extra_series = solve(temperatures, draws, extra)
    estimate = _estimate(temperatures, draws, f[-1], series)
    if extra.size < 2:
        return estimate
    variance = jnp.var(extra_series, ddof=1) / extra.size
    return estimate._replace(standard_error=jnp.sqrt(estimate.standard_error**2 + variance))


def pooled_log_weights(
    temperatures: Float[Array, "K"],
    loglikelihoods: Float[Array, "K num_draws *num_chains"],
    rung: int = -1,
) -> Float[Array, "K num_draws *num_chains"]:
    r"""Return weights with which the draws of all temperatures represent one of them.

    .. math:: w_n \propto \frac{e^{t_j \ell_n}}{\sum_k N_k e^{t_k \ell_n - F_k}}

    with the log normalisers F of :func:`tempered_ebm.mbar` (Shirts and Chodera 2008, equation
    13). Weighted means converge to expectations under ``q_{t_j}`` as draws grow; at a
    finite number they are biased by the ratio, in proportion to one over the number.

    Args:
        temperatures: ladder, shape (K,).
        loglikelihoods: full log-likelihoods, (K, num_draws) or (K, num_draws, num_chains).
        rung: index j of the temperature; the posterior by default.

    Returns:
        Log weights in the shape of the log-likelihoods; their exponentials add up to 1.

    Raises:
        InputError: if the ladder is not one, or the shapes do not match.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> draws = jnp.array([[-4.0, -1.0], [-1.0, -1.0]])
        >>> weights = jnp.exp(te.evidence.pooled_log_weights(jnp.array([0.0, 1.0]), draws))
        >>> bool(weights[0, 0] < weights[0, 1])
        True
    """
    temperatures, draws = as_draws(temperatures, loglikelihoods)
    K, flat = draws.shape[0], draws.reshape(draws.shape[0], -1)
    checks.at_least("rung", rung, -K)
    if rung >= K:
        raise InputError(f"rung must be below the {K} temperatures, got {rung}")
    model = _Likelihood(temperatures, jnp.zeros(K), flat, jnp.zeros(0, draws.dtype))
    f = _maximise(model, imbalance=_BALANCED, max_iterations=20)
    memberships = log_memberships(temperatures, f, jnp.zeros(K), flat, jnp.arange(K))[..., rung]
    return jax.nn.log_softmax(memberships, axis=(0, 1)).reshape(jnp.shape(loglikelihoods))


def log_memberships(
    temperatures: Float[Array, "K"],
    f: Float[Array, "K"],
    log_numbers: Float[Array, "K"],
    draws: Float[Array, "R N"],
    rungs: Int[Array, "R"],
) -> Float[Array, "R N K"]:
    """Return the log probability that a draw of rung ``rungs[r]`` came from rung j.

    Differences of temperatures and of normalisers are formed before they are multiplied,
    which keeps a log-likelihood of -1e6 at a temperature of 1e-8 within single precision.
    """
    gaps = temperatures[None, :] - temperatures[rungs][:, None]
    rises = f[None, :] - f[rungs][:, None]
    # 0 * -inf is 0: a draw of its own rung.
    products = jnp.where(gaps[:, None, :] == 0, 0.0, gaps[:, None, :] * draws[:, :, None])
    return jax.nn.log_softmax(products - rises[:, None, :] + log_numbers, axis=-1)


class _Likelihood(NamedTuple):
    """The concave objective of MBAR in the log normalisers, at some draws."""

    temperatures: Float[Array, "K"]
    log_numbers: Float[Array, "K"]
    flat: Float[Array, "K N"]
    extra: Float[Array, "M"]

    def memberships(self, f: Array) -> tuple[Array, Array]:
        """Return those of the draws of the rungs, (K, N, K), and of the extra draws, (M, K)."""
        rungs = jnp.arange(self.flat.shape[0])
        block = log_memberships(self.temperatures, f, self.log_numbers, self.flat, rungs)
        extra = log_memberships(
            self.temperatures, f, self.log_numbers, self.extra[None], jnp.zeros(1, int)
        )
        return block, extra[0]

    @property
    def total(self) -> int:
        """Return the number of all draws."""
        return self.flat.size + self.extra.size

    def value(self, f: Array) -> Array:
        """Return the mean log probability of the rungs that the draws came from."""
        block, extra = self.memberships(f)
        return (jnp.trace(block, axis1=0, axis2=2).sum() + extra[:, 0].sum()) / self.total

    def scores_and_hessian(self, f: Array) -> tuple[Array, Array, Array]:
        """Return scores of the draws of rungs, of the extra draws, and minus the mean Hessian."""
        block, extra = (jnp.exp(logs) for logs in self.memberships(f))
        own = jnp.eye(f.size, dtype=f.dtype)
        rows = jnp.concatenate([block.reshape(-1, f.size), extra])
        hessian = (jnp.diag(rows.sum(0)) - rows.T @ rows) / self.total
        return block - own[:, None, :], extra - own[0], hessian


def _stones(temperatures: Float[Array, "K"], draws: Float[Array, "K N"]) -> Float[Array, "K"]:
    """Return log normalisers halfway between forward and reverse stepping stones.

    Means of the log-likelihood would do where it has light tails; a few draws of the prior at
    -1e9 put them, and Newton's method from there, beyond any convergence.
    """
    steps = jnp.diff(temperatures)[:, None]
    log_number = math.log(draws.shape[1])
    forward = jax.nn.logsumexp(steps * draws[:-1], axis=1) - log_number
    reverse = log_number - jax.nn.logsumexp(-steps * draws[1:], axis=1)
    halfway = 0.5 * (forward + reverse)
    halfway = jnp.where(jnp.isfinite(halfway), halfway, forward)
    rises = jnp.where(jnp.isfinite(halfway), halfway, 0.0)
    return jnp.concatenate([jnp.zeros(1, draws.dtype), jnp.cumsum(rises)])


def solve(
    temperatures: Float[Array, "K"],
    draws: Float[Array, "K num_draws num_chains"],
    extra: Float[Array, "M"],
) -> tuple[Float[Array, "K"], Float[Array, "num_draws num_chains"], Float[Array, "M"]]:
    """Return log normalisers relative to the first, and the linear series of the last.

    The log-likelihood ``Σ_k Σ_{n in k} log P_k(n)`` is concave; its gradient in F is the sum of
    ``P(n) - e_k(n)``. The means of the two series, of the rungs and of the extra draws, add
    up to the error of the estimate.
    """
    K, num_draws, num_chains = draws.shape
    flat = draws.reshape(K, -1)
    numbers = jnp.full(K, flat.shape[1], flat.dtype).at[0].add(extra.size)
    model = _Likelihood(temperatures, jnp.log(numbers / numbers[-1]), flat, extra)
    f = _maximise(model, relative=float(10 * jnp.finfo(flat.dtype).eps))

    score, extra_score, hessian = model.scores_and_hessian(f)
    last = jnp.zeros(K - 1, flat.dtype).at[-1].set(1.0)
    direction = jnp.linalg.solve(hessian[1:, 1:], last)
    # H (F - F_true) is the mean score: the means of these series add up to the error.
    share = flat.shape[1] / model.total
    series = share * (score[:, :, 1:] @ direction).reshape(K, num_draws, num_chains).sum(0)
    return f, series, (1 - K * share) * (extra_score[:, 1:] @ direction)


def _maximise(
    model: _Likelihood,
    *,
    relative: float = 0.0,
    imbalance: float = 0.0,
    max_iterations: int = 100,
) -> Float[Array, "K"]:
    """Maximise the concave log-likelihood by Newton's method with halved steps.

    Args:
        model: the draws.
        relative: stop when a step changes F by less than this share of its size.
        imbalance: stop when the expected number of draws of every rung is its own up to this
            share. Where rungs do not overlap F hardly matters, and this sees it.
        max_iterations: stop after as many; the log-likelihood has never fallen.
    """
    K, dtype = model.flat.shape[0], model.flat.dtype
    tolerance = 10 * jnp.finfo(dtype).eps
    ridge = 1e-6 * jnp.eye(K - 1, dtype=dtype) / K

    def improve(carry: tuple) -> tuple:
        f, old, _, i = carry
        score, extra_score, hessian = model.scores_and_hessian(f)
        gradient = (score.sum((0, 1)) + extra_score.sum(0))[1:] / model.total
        step = jnp.pad(jnp.linalg.solve(hessian[1:, 1:] + ridge, gradient), (1, 0))

        def falls(trial: tuple) -> Array:
            scale, new = trial
            return ~(new >= old - tolerance) & (scale > 1e-3)

        def halve(trial: tuple) -> tuple:
            return trial[0] / 2, model.value(f + step * trial[0] / 2)

        is_balanced = jnp.max(jnp.abs(gradient)) * K <= imbalance
        full = jnp.where(is_balanced, 0.0, jnp.ones((), dtype))
        scale, new = jax.lax.while_loop(falls, halve, (full, model.value(f + full * step)))
        size = jnp.max(jnp.abs(scale * step)) / (1 + jnp.max(jnp.abs(f)))
        return f + scale * step, new, is_balanced | (size <= relative), i + 1

    def unfinished(carry: tuple) -> Array:
        _, _, is_finished, i = carry
        return ~is_finished & (i < max_iterations)

    start = _stones(model.temperatures, model.flat)
    carry = (start, model.value(start), jnp.array(False), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, improve, carry)[0]
