"""Measure the integral of a prior, which must be one, from its own draws."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from tempered_ebm.evidence import _coverage as coverage
from tempered_ebm.evidence import _mixtures as mixtures
from tempered_ebm.evidence import _reference_fit as fitting
from tempered_ebm.evidence._reference import importance_draws
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

FEWEST_DRAWS = 64
_COMPONENTS = (1, 2, 4)
_PROPOSALS = 2000
_NATS, _ERRORS = 0.05, 5.0
_LEAST_OVERLAP = 0.02
"""Rate of swaps between mixture and prior below which a bridge is a guess."""


def measure(
    rng_key: PRNGKey, target: TemperedTarget, draws: Float[Array, "N d"]
) -> coverage.Estimate:
    """Return the log integral of the prior by bridge sampling.

    A mixture fitted to one half of the draws is bridged with the other half, and the other way
    round would say the same: this is a check, and few draws give it a large error.

    Args:
        rng_key: key of the draws of the mixture.
        target: prior and likelihood, for batches of vectors. The likelihood is not evaluated.
        draws: draws of the prior.

    Returns:
        The estimate; NaN with an infinite error if no mixture is close enough to the prior to tell.
    """
    seen, unseen = (np.asarray(draws[start::2], np.float64) for start in (0, 1))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(rng_key)))
    weights = np.full(len(seen), 1 / len(seen))
    fits = [
        mixtures.fit(seen, weights, num, rng)
        for num in _COMPONENTS
        if num == 1 or len(seen) > 4 * num * seen.shape[1]
    ]
    # In many coordinates a covariance takes more draws than there are.
    diagonal = fits[0]._replace(covariances=fits[0].covariances * np.eye(seen.shape[1]))
    best = max((*fits, diagonal), key=lambda fit: mixtures.log_density(fit, unseen).mean())
    reference = fitting.as_reference(fitting.inflated(best), draws.dtype)
    alone = TemperedTarget(target.logprior_fn, Partial(_zero))
    log_weights = importance_draws(rng_key, alone, reference, _PROPOSALS)[1]
    log_ratio = target.logprior_fn(draws[1::2]) - reference.log_prob(draws[1::2])
    drawn, given = (np.asarray(logs, np.float64) for logs in (log_weights, log_ratio))
    overlap = np.exp(np.minimum(drawn[:, None] - given, 0.0)).mean()
    if not overlap > _LEAST_OVERLAP:
        return coverage.Estimate(math.nan, math.inf)
    return coverage.bridge(drawn, given, np.arange(len(unseen)))


def warnings(
    rng_key: PRNGKey, target: TemperedTarget, draws: Float[Array, "N d"]
) -> tuple[str, ...]:
    """Return what to say of a prior whose integral is not one, by enough of its draws."""
    if len(draws) < FEWEST_DRAWS:
        return ()
    nats, error = measure(rng_key, target, draws)
    if not abs(nats) > max(_NATS, _ERRORS * error):
        return ()
    return (
        f"the log prior is not normalised: by the initial positions exp(logprior) integrates to "
        f"exp({nats:.3g} ± {error:.1g}), and that is in the estimate; add the missing constant or "
        "set normalize_prior=True. If it is normalised, the initial positions are not draws of it",
    )


def _zero(z: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
    return jnp.zeros(z.shape[:-1], z.dtype)
