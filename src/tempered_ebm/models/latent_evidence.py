"""Evidence of many observations under a latent EBM, all of their ladders in one batch."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import evidence, schedules
from tempered_ebm.evidence import _ladder_runs as ladder_runs
from tempered_ebm.types import PRNGKey

if TYPE_CHECKING:
    from tempered_ebm.models.latent_ebm import LatentEBM, LatentEBMParams


@jax.jit
def _estimate_each(
    temperatures: Float[Array, "K"], draws: Float[Array, "K num_samples num_chains batch"]
) -> evidence.EvidenceEstimate:
    return jax.lax.map(lambda one: evidence.mbar(temperatures, one), jnp.moveaxis(draws, 3, 0))


def log_evidence(
    model: LatentEBM,
    rng_key: PRNGKey,
    params: LatentEBMParams,
    x: Float[Array, "batch ..."],
    *,
    temperatures: Float[Array, "K"] | None,
    num_chains: int,
    num_warmup: int,
    num_samples: int,
) -> evidence.EvidenceEstimate:
    """Estimate log p(x) of each observation; see :meth:`LatentEBM.log_evidence`."""
    for name, count in (
        ("num_chains", num_chains),
        ("num_warmup", num_warmup),
        ("num_samples", num_samples),
    ):
        checks.at_least(name, count, 1)
    ladder = schedules.validate(schedules.power(24, 5.0) if temperatures is None else temperatures)
    draws = _draws(model, rng_key, params, x, ladder, num_chains, num_warmup, num_samples)
    ladder_runs.warn_of_rare_swaps(ladder, draws)
    return _estimate_each(ladder, draws)


@functools.partial(jax.jit, static_argnames=("model", "num_chains", "num_warmup", "num_samples"))
def _draws(
    model: LatentEBM,
    rng_key: PRNGKey,
    params: LatentEBMParams,
    x: Array,
    temperatures: Array,
    num_chains: int,
    num_warmup: int,
    num_samples: int,
) -> Float[Array, "K num_samples num_chains batch"]:
    start_key, run_key = jax.random.split(rng_key)
    return ladder_runs.loglikelihood_draws(
        run_key,
        model.target(params, x),
        temperatures,
        model.step_sizes(temperatures),
        jax.random.normal(start_key, (num_chains, x.shape[0], model.latent_dim)),
        num_warmup=num_warmup,
        num_samples=num_samples,
    )
