"""Variance and bias of the learning gradient of one run, measured in the middle of training."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tempered_ebm import inference, learning, schedules
from tempered_ebm.kernels import mala, replica_exchange
from tempered_ebm.learning import GradientStatistics
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.study.config import MeasureConfig
from tempered_ebm.training.latent.learner import Chains, Gradient
from tempered_ebm.types import PRNGKey

_REFERENCE_TEMPERATURES = 6
_THINNING = 10
_REFERENCE_PRIOR_CHAINS = 64


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


def measure_gradient(
    rng_key: PRNGKey,
    model: LatentEBM,
    gradient: Gradient,
    params: LatentEBMParams,
    chains: Chains,
    temperatures: Float[Array, "K"] | None,
    images: Float[Array, "n ..."],
    index: Int[Array, "num_batches batch"],
    settings: MeasureConfig,
    with_reference: bool | Bool[Array, ""],
) -> GradientRecord:
    """Repeat the gradient of an update on several minibatches, and compare it with a reference.

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
        settings: estimates per minibatch, steps by which prior chains are moved apart before
            (those of sampling), and steps of the reference chains.
        with_reference: whether the reference chains run; without them no bias is measured.
    """
    apart_key, repeat_key, reference_key = jax.random.split(rng_key, 3)
    num_batches = index.shape[0]
    # The run has one set of prior chains; started from it, the minibatches would share their noise.
    prior = jnp.broadcast_to(chains.prior, (num_batches, *chains.prior.shape))
    kernel, apart_steps = model.prior_kernel(params), settings.sampling_steps
    prior = inference.short_run(apart_key, kernel, prior, apart_steps).position

    def once(key: PRNGKey, prior: Array, index: Array) -> tuple:
        result = gradient(key, params, chains._replace(prior=prior), temperatures, images, index)
        return result.gradient, result.draws.posterior.loglikelihood

    keys = jax.random.split(repeat_key, (num_batches, settings.gradient_repeats))
    repeated = jax.vmap(once, in_axes=(0, None, None))
    estimates, ell = jax.vmap(repeated)(keys, prior, index)

    def compared() -> dict[str, GradientStatistics]:
        starts = chains.posterior[index, -1, 0]
        reference = reference_gradients(
            reference_key, model, params, images[index], starts, prior, settings.reference_steps
        )
        return learning.gradient_statistics(estimates, reference)

    # One program serves both cases: compiling it takes longer than most measurements.
    statistics = jax.lax.cond(
        with_reference, compared, lambda: learning.gradient_statistics(estimates)
    )
    single = learning.parameter_groups(jax.tree.map(lambda leaf: leaf[0, 0], estimates))
    return GradientRecord(
        statistics,
        {name: learning.legacy_gradient_variance(part) for name, part in single.items()},
        ell.mean((0, 1, 3, 4)),
        ell.var(1, ddof=1).mean((0, 2, 3)),
    )


def reference_gradients(
    rng_key: PRNGKey,
    model: LatentEBM,
    params: LatentEBMParams,
    x: Float[Array, "num_batches batch ..."],
    starts: Float[Array, "num_batches batch d"],
    prior_starts: Float[Array, "num_batches M d"],
    num_steps: int,
) -> LatentEBMParams:
    r"""Estimate the gradient of log p(x), averaged over each minibatch, by long adjusted chains.

    Replica exchange between Metropolis-adjusted Langevin chains at six temperatures (power 3), and
    adjusted chains of the prior; the first third of the steps is discarded, and every tenth
    state counts. What is left is a Monte Carlo mean of :math:`E_1[\nabla\ell]`,
    :math:`E_1[\nabla f] - E_0[\nabla f]`, with noise that is independent between minibatches, since
    each has prior chains of its own.

    Args:
        rng_key: key of all chains.
        model: the model; step sizes are those of its chains.
        params: parameters.
        x: minibatches of observations.
        starts: where the posterior chains of every temperature start.
        prior_starts: where the prior chains of each minibatch start; repeated up to 64.
        num_steps: steps of every chain.

    Returns:
        Gradients of minus log p(x), leaves leading with the minibatches.
    """
    posterior_key, prior_key = jax.random.split(rng_key)
    ladder = schedules.power(_REFERENCE_TEMPERATURES, 3.0)
    flat = x.reshape(-1, *x.shape[2:])
    kernel = replica_exchange.as_top_level_api(
        model.target(params, flat), ladder, model.step_sizes(ladder)
    )
    start = starts.reshape(-1, starts.shape[-1])
    start = jnp.broadcast_to(start, (_REFERENCE_TEMPERATURES, *start.shape))
    prior_kernel = mala.as_top_level_api(
        lambda z: model.logprior(params, z), model.prior_chain.step_size
    )
    copies = -(-_REFERENCE_PRIOR_CHAINS // prior_starts.shape[1])
    prior_start = jnp.tile(prior_starts, (1, copies, 1))
    discarded = num_steps // 3
    counted = max(1, (num_steps - discarded) // _THINNING)
    states = (
        inference.advance(posterior_key, kernel, kernel.init(start), discarded),
        inference.advance(prior_key, prior_kernel, prior_kernel.init(prior_start), discarded),
    )

    def loss(params: LatentEBMParams, x: Array, z: Array, z_prior: Array) -> Array:
        ell = model.loglikelihood(params, x, z)
        f, f_prior = (model.negative_energy(params, draws) for draws in (z, z_prior))
        objective = learning.posterior().objective
        return -objective(jnp.ones(1), ell[None, None], f[None, None], f_prior)

    def add(carry: tuple, keys: Array) -> tuple[tuple, None]:
        (posterior, prior), total = carry
        posterior = inference.advance(keys[0], kernel, posterior, _THINNING)
        prior = inference.advance(keys[1], prior_kernel, prior, _THINNING)
        z = jax.lax.stop_gradient(posterior.position[-1].reshape(starts.shape))
        z_prior = jax.lax.stop_gradient(prior.position)
        gradient = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0, 0))(params, x, z, z_prior)
        return ((posterior, prior), jax.tree.map(jnp.add, total, gradient)), None

    keys = jax.random.split(jax.random.fold_in(rng_key, 1), (counted, 2))
    zeros = jax.tree.map(lambda leaf: jnp.zeros((x.shape[0], *leaf.shape)), params)
    (_, total), _ = jax.lax.scan(add, (states, zeros), keys)
    return jax.tree.map(lambda leaf: leaf / counted, total)
