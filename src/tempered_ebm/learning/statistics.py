"""Variance and bias of learning gradients, from repeated estimates at fixed parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.errors import InputError
from tempered_ebm.types import Params


class GradientStatistics(NamedTuple):
    r"""Variance, bias and signal of an estimator from repeated estimates :math:`\hat g_{bs}`.

    b runs over minibatches, s over repeats with independent chains on the same minibatch.

    Attributes:
        variance: :math:`\mathrm{tr\,Cov}(\hat g)` of one estimate, the sum of the next two.
        mcmc_variance: the part of it that comes from the chains,
            :math:`E_b\,\mathrm{tr\,Cov}(\hat g | b)`.
        minibatch_variance: the part that comes from the choice of images,
            :math:`\mathrm{tr\,Cov}_b\,E[\hat g | b]`. Unbiased, so it may come out negative;
            NaN from a single minibatch.
        squared_norm: :math:`\|E\hat g\|^2`, unbiased, so it may come out negative.
        signal_to_noise: ``squared_norm / variance``.
        squared_bias: :math:`\|E[\hat g - g]\|^2` against the reference, unbiased whatever the
            noise of either, so it may come out negative. NaN without a reference or from fewer
            than two minibatches.
        squared_bias_error: its standard error by the jackknife over minibatches; NaN from
            fewer than three.
        cosine: mean cosine of one estimate with the reference of its minibatch, or without
            a reference with the other estimates on the same minibatch.
    """

    variance: Float[Array, ""]
    mcmc_variance: Float[Array, ""]
    minibatch_variance: Float[Array, ""]
    squared_norm: Float[Array, ""]
    signal_to_noise: Float[Array, ""]
    squared_bias: Float[Array, ""]
    squared_bias_error: Float[Array, ""]
    cosine: Float[Array, ""]


def _flatten(tree: Params, num_lead: int) -> Float[Array, "*lead n"]:
    leaves = [leaf.reshape(*leaf.shape[:num_lead], -1) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves, axis=-1)


def parameter_groups(tree: Params) -> dict[str, Any]:
    """Return the top-level parts of a pytree of parameters by name, and ``"all"`` of them."""
    if hasattr(tree, "_asdict"):
        parts = tree._asdict()
    elif isinstance(tree, dict):
        parts = tree
    else:
        parts = {}
    return {**{name: part for name, part in parts.items() if jax.tree.leaves(part)}, "all": tree}


def gradient_statistics(
    gradients: Params, reference: Params | None = None
) -> dict[str, GradientStatistics]:
    r"""Return the error of a gradient estimator, split into minibatch, chains and bias.

    With B minibatches and S repeats of each, :math:`\bar g_b` the mean over repeats, V the
    mean over minibatches of the variance between repeats (divisor S - 1), and
    :math:`d_b = \bar g_b - g_b` for references :math:`g_b`,

    .. math::
        \mathrm{tr\,Cov}_{mcmc} = V, \qquad
        \mathrm{tr\,Cov}_{minibatch} = \mathrm{tr\,Cov}_b(\bar g_b) - V/S, \qquad
        \mathrm{bias}^2 = \frac{1}{B(B-1)} \sum_{b \ne b'} d_b \cdot d_{b'}:

    the analysis of variance of a random-effects model with one factor (Searle et al. 1992,
    section 3.5), and a U-statistic, into which independent errors of the estimates, of their
    starts and of the references do not enter. Norms and traces run over the coordinates
    of a group of parameters.

    Args:
        gradients: pytree of estimates; leaves lead with (B, S), S at least 2.
        reference: pytree of an unbiased gradient of each minibatch, as precise as can be
            had; leaves lead with (B,).

    Returns:
        Statistics of each top-level part of the pytree (``"prior"`` and ``"generator"`` for
        the parameters of a latent EBM) and of ``"all"``.

    Raises:
        InputError: if the leaves do not lead with the same (B, S >= 2), or those of the
            reference with (B,).

    Example:
        >>> import jax, tempered_ebm as te
        >>> estimates = {"w": 1.0 + jax.random.normal(jax.random.key(0), (500, 4, 3))}
        >>> statistics = te.learning.gradient_statistics(estimates)["w"]
        >>> bool(abs(statistics.mcmc_variance - 3.0) < 0.3)
        True
    """
    lead = {leaf.shape[:2] for leaf in jax.tree.leaves(gradients)}
    if len(lead) != 1 or len(min(lead)) < 2 or min(lead)[1] < 2:
        raise InputError(
            "every leaf of gradients must lead with (minibatches, repeats >= 2), got "
            f"{sorted(lead)}"
        )
    num_batches = lead.pop()[0]
    if reference is not None:
        leads = {leaf.shape[:1] for leaf in jax.tree.leaves(reference)}
        if leads != {(num_batches,)}:
            raise InputError(
                f"every leaf of reference must lead with ({num_batches},), got {sorted(leads)}"
            )
    references = {} if reference is None else parameter_groups(reference)
    return {
        name: _statistics(
            _flatten(part, 2), None if reference is None else _flatten(references[name], 1)
        )
        for name, part in parameter_groups(gradients).items()
    }


def _statistics(
    g: Float[Array, "B S n"], reference: Float[Array, "B n"] | None
) -> GradientStatistics:
    num_batches, num_repeats, _ = g.shape
    means = g.mean(1)
    within = jnp.sum((g - means[:, None]) ** 2, axis=(1, 2)) / (num_repeats - 1)
    mcmc = within.mean()
    nan = jnp.full((), jnp.nan, g.dtype)
    between = jnp.sum(means.var(0, ddof=1)) if num_batches > 1 else nan
    minibatch = between - mcmc / num_repeats
    error_of_mean = between / num_batches if num_batches > 1 else mcmc / num_repeats
    variance = mcmc + minibatch if num_batches > 1 else mcmc
    squared_norm = jnp.sum(means.mean(0) ** 2) - error_of_mean
    if reference is None:
        squared_bias = squared_bias_error = nan
        cosine = _mean_cosine_between_repeats(g)
    else:
        squared_bias, squared_bias_error = _squared_mean(means - reference)
        cosine = jnp.mean(_cosine(g, reference[:, None]))
    return GradientStatistics(
        variance,
        mcmc,
        minibatch,
        squared_norm,
        squared_norm / variance,
        squared_bias,
        squared_bias_error,
        cosine,
    )


def _squared_mean(d: Float[Array, "B n"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Squared norm of the mean of independent rows, without bias, and its standard error."""
    num = d.shape[0]
    products = d @ d.T
    products = products - jnp.diag(jnp.diag(products))
    total, rows = products.sum(), products.sum(1)
    nan = jnp.full((), jnp.nan, d.dtype)
    if num < 2:
        return nan, nan
    if num < 3:
        return total / 2, nan
    without = (total - 2 * rows) / ((num - 1) * (num - 2))
    error = jnp.sqrt((num - 1) * jnp.var(without))
    return total / (num * (num - 1)), error


def _unit(g: Float[Array, "... n"]) -> Float[Array, "... n"]:
    norm = jnp.linalg.norm(g, axis=-1, keepdims=True)
    return g / jnp.where(norm > 0, norm, 1.0)


def _cosine(a: Float[Array, "... n"], b: Float[Array, "... n"]) -> Float[Array, "..."]:
    return jnp.sum(_unit(a) * _unit(b), -1)


def _mean_cosine_between_repeats(g: Float[Array, "B S n"]) -> Float[Array, ""]:
    num_repeats = g.shape[1]
    units = _unit(g)
    totals = jnp.sum(units.sum(1) ** 2, -1) - jnp.sum(units**2, axis=(1, 2))
    return jnp.mean(totals) / (num_repeats * (num_repeats - 1))


def legacy_gradient_variance(gradient: Params) -> Float[Array, ""]:
    r"""Return the variance over the coordinates of ONE gradient: not that of an estimator.

    .. math:: \frac1n \sum_i (g_i - \bar g)^2, \qquad \bar g = \frac1n \sum_i g_i

    Earlier studies of thermodynamic integration plotted this as the variance of the learning
    gradient. It is the mean square of the gradient about its mean coordinate: it falls as
    training converges, whatever the noise, and an exact gradient does not have zero of it. Kept for
    comparison with their figures; use :func:`gradient_statistics`.

    Args:
        gradient: pytree of one gradient.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> float(te.learning.legacy_gradient_variance({"w": jnp.array([1.0, 3.0])}))
        1.0
    """
    return jnp.var(_flatten(gradient, 0))
