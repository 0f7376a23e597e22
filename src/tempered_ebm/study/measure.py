"""What is measured on one run in the middle of training: its gradient, its images."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tempered_ebm import inference, learning
from tempered_ebm.learning import GradientStatistics
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.study.reference import reference_gradients
from tempered_ebm.training.latent.step import Chains, Gradient
from tempered_ebm.types import PRNGKey


class GradientRecord(NamedTuple):
    """Measurements of the learning gradient of one run.

    Attributes:
        statistics: by group of parameters.
        legacy_variance: the variance over coordinates of one estimate, by group.
        mean_loglikelihood: ``E_t[ℓ]`` per temperature, over the images measured, (K,).
        variance_loglikelihood: mean over images of ``Var_t[ℓ]`` between repeats, (K,).
    """

    statistics: dict[str, GradientStatistics]
    legacy_variance: dict[str, Float[Array, ""]]
    mean_loglikelihood: Float[Array, "K"]
    variance_loglikelihood: Float[Array, "K"]


def _own_prior_chains(
    rng_key: PRNGKey,
    model: LatentEBM,
    params: LatentEBMParams,
    chains: Chains,
    num_batches: int,
    num_steps: int,
) -> Float[Array, "num_batches M d"]:
    """Prior chains for each minibatch, moved apart; the run itself has only one set."""
    start = jnp.broadcast_to(chains.prior, (num_batches, *chains.prior.shape))
    kernel = model.prior_kernel(params)
    return inference.short_run(rng_key, kernel, start, num_steps).position


def measure_gradient(
    rng_key: PRNGKey,
    model: LatentEBM,
    gradient: Gradient,
    params: LatentEBMParams,
    chains: Chains,
    temperatures: Float[Array, "K"] | None,
    images: Float[Array, "n ..."],
    index: Int[Array, "num_batches batch"],
    *,
    num_repeats: int,
    apart_steps: int,
    reference_steps: int | None,
) -> GradientRecord:
    """Repeat the gradient of an update on several minibatches, and hold it against a reference.

    Repeats start where the run's chains stand and differ in the noise of their steps. Minibatches
    differ in images, in the chains that these keep, and in prior chains of their own, so
    that what they have in common is the bias alone.

    Args:
        rng_key: key of everything.
        model: the model; its chains have their training length.
        gradient: of an update.
        params: parameters.
        chains: persistent chains.
        temperatures: ladder, or None.
        images: training images.
        index: images of the minibatches.
        num_repeats: estimates per minibatch.
        apart_steps: steps by which prior chains are moved apart before.
        reference_steps: steps of the reference chains; None for no reference.
    """
    apart_key, repeat_key, reference_key = jax.random.split(rng_key, 3)
    num_batches = index.shape[0]
    prior = _own_prior_chains(apart_key, model, params, chains, num_batches, apart_steps)

    def once(key: PRNGKey, prior: Array, index: Array) -> tuple:
        result = gradient(key, params, chains._replace(prior=prior), temperatures, images, index)
        return result.gradient, result.draws.posterior.loglikelihood

    keys = jax.random.split(repeat_key, (num_batches, num_repeats))
    repeated = jax.vmap(once, in_axes=(0, None, None))
    estimates, ell = jax.vmap(repeated)(keys, prior, index)
    reference = None
    if reference_steps is not None:
        starts = chains.posterior[index, -1, 0]
        reference = reference_gradients(
            reference_key, model, params, images[index], starts, prior, reference_steps
        )
    single = jax.tree.map(lambda leaf: leaf[0, 0], estimates)
    return GradientRecord(
        learning.gradient_statistics(estimates, reference),
        {
            name: learning.legacy_gradient_variance(part)
            for name, part in learning.parameter_groups(single).items()
        },
        ell.mean((0, 1, 3, 4)),
        ell.var(1, ddof=1).mean((0, 2, 3)),
    )


class FinalDraws(NamedTuple):
    """Draws at the end of a run, for pictures.

    Attributes:
        loglikelihood: of n images at each temperature, (K, n).
        latent: first two coordinates of the latent vectors, (K, n, 2).
    """

    loglikelihood: Float[Array, "K n"]
    latent: Float[Array, "K n 2"]


def final_draws(
    rng_key: PRNGKey,
    gradient: Gradient,
    params: LatentEBMParams,
    chains: Chains,
    temperatures: Float[Array, "K"] | None,
    images: Float[Array, "n ..."],
    index: Int[Array, "batch"],
) -> FinalDraws:
    """The chains behind one gradient, by temperature."""
    draws = gradient(rng_key, params, chains, temperatures, images, index).draws.posterior
    K = draws.loglikelihood.shape[0]
    return FinalDraws(draws.loglikelihood.reshape(K, -1), draws.position[..., :2].reshape(K, -1, 2))
