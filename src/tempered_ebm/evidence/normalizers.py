r"""Log normalisers of a ladder from the pooled draws of all its temperatures (MBAR)."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tempered_ebm.evidence import estimate as estimates

_BALANCED = 1e-3
"""Share of draws that may seem to come from other rungs in weights that need no error."""


def log_memberships(
    temperatures: Float[Array, "K"],
    f: Float[Array, "K"],
    log_numbers: Float[Array, "K"],
    draws: Float[Array, "R N"],
    rungs: Int[Array, "R"],
) -> Float[Array, "R N K"]:
    """Log probability that a draw of rung ``rungs[r]`` came from rung j.

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
        """Those of the draws of the rungs, (K, N, K), and of the extra draws, (M, K)."""
        rungs = jnp.arange(self.flat.shape[0])
        block = log_memberships(self.temperatures, f, self.log_numbers, self.flat, rungs)
        extra = log_memberships(
            self.temperatures, f, self.log_numbers, self.extra[None], jnp.zeros(1, int)
        )
        return block, extra[0]

    @property
    def total(self) -> int:
        """Number of all draws."""
        return self.flat.size + self.extra.size

    def value(self, f: Array) -> Array:
        """Mean log probability of the rungs that the draws really came from."""
        block, extra = self.memberships(f)
        return (jnp.trace(block, axis1=0, axis2=2).sum() + extra[:, 0].sum()) / self.total

    def scores_and_hessian(self, f: Array) -> tuple[Array, Array, Array]:
        """Scores draw by draw, of rungs and of extra draws, and minus the mean Hessian."""
        block, extra = (jnp.exp(logs) for logs in self.memberships(f))
        own = jnp.eye(f.size, dtype=f.dtype)
        rows = jnp.concatenate([block.reshape(-1, f.size), extra])
        hessian = (jnp.diag(rows.sum(0)) - rows.T @ rows) / self.total
        return block - own[:, None, :], extra - own[0], hessian


def _stones(temperatures: Float[Array, "K"], draws: Float[Array, "K N"]) -> Float[Array, "K"]:
    """Log normalisers halfway between forward and reverse stepping stones.

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
    """Log normalisers relative to the first, and the linear series of the last.

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
    """Newton's method with halved steps on the concave log-likelihood.

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


def pooled_log_weights(
    temperatures: Float[Array, "K"],
    loglikelihoods: Float[Array, "K num_draws *num_chains"],
    rung: int = -1,
) -> Float[Array, "K num_draws *num_chains"]:
    r"""Weigh the draws of all temperatures so that they stand for the law of one of them.

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
    temperatures, draws = estimates.as_draws(temperatures, loglikelihoods)
    K, flat = draws.shape[0], draws.reshape(draws.shape[0], -1)
    model = _Likelihood(temperatures, jnp.zeros(K), flat, jnp.zeros(0, draws.dtype))
    f = _maximise(model, imbalance=_BALANCED, max_iterations=20)
    memberships = log_memberships(temperatures, f, jnp.zeros(K), flat, jnp.arange(K))[..., rung]
    return jax.nn.log_softmax(memberships, axis=(0, 1)).reshape(jnp.shape(loglikelihoods))
