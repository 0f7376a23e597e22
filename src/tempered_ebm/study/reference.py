"""A long-run reference for the gradient of log p(x)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import inference, learning, schedules
from tempered_ebm.kernels import mala, replica_exchange
from tempered_ebm.models import LatentEBM, LatentEBMParams
from tempered_ebm.types import PRNGKey

_NUM_TEMPERATURES = 6
_THINNING = 10
_NUM_PRIOR = 64


class _Draws(NamedTuple):
    posterior: Float[Array, "num_batches batch d"]
    prior: Float[Array, "num_batches M d"]


def reference_gradients(
    rng_key: PRNGKey,
    model: LatentEBM,
    params: LatentEBMParams,
    x: Float[Array, "num_batches batch ..."],
    starts: Float[Array, "num_batches batch d"],
    prior_starts: Float[Array, "num_batches M d"],
    num_steps: int,
) -> LatentEBMParams:
    r"""Gradient of log p(x), averaged over each minibatch, along long adjusted chains.

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
    ladder = schedules.power(_NUM_TEMPERATURES, 3.0)
    flat = x.reshape(-1, *x.shape[2:])
    kernel = replica_exchange.as_top_level_api(
        model.target(params, flat), ladder, model.step_sizes(ladder)
    )
    start = starts.reshape(-1, starts.shape[-1])
    start = jnp.broadcast_to(start, (_NUM_TEMPERATURES, *start.shape))
    prior_kernel = mala.as_top_level_api(
        lambda z: model.logprior(params, z), model.prior_chain.step_size
    )
    copies = -(-_NUM_PRIOR // prior_starts.shape[1])
    prior_start = jnp.tile(prior_starts, (1, copies, 1))
    discarded = num_steps // 3
    counted = max(1, (num_steps - discarded) // _THINNING)
    states = (
        inference.advance(posterior_key, kernel, kernel.init(start), discarded),
        inference.advance(prior_key, prior_kernel, prior_kernel.init(prior_start), discarded),
    )

    def loss(params: LatentEBMParams, x: Array, draws: _Draws) -> Array:
        ell = model.loglikelihood(params, x, draws.posterior)
        f, f_prior = (model.negative_energy(params, z) for z in draws)
        objective = learning.posterior().objective
        return -objective(jnp.ones(1), ell[None, None], f[None, None], f_prior)

    def add(carry: tuple, keys: Array) -> tuple[tuple, None]:
        (posterior, prior), total = carry
        posterior = inference.advance(keys[0], kernel, posterior, _THINNING)
        prior = inference.advance(keys[1], prior_kernel, prior, _THINNING)
        z = posterior.position[-1].reshape(starts.shape)
        draws = jax.lax.stop_gradient(_Draws(z, prior.position))
        gradient = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, x, draws)
        return ((posterior, prior), jax.tree.map(jnp.add, total, gradient)), None

    keys = jax.random.split(jax.random.fold_in(rng_key, 1), (counted, 2))
    zeros = jax.tree.map(lambda leaf: jnp.zeros((x.shape[0], *leaf.shape)), params)
    (_, total), _ = jax.lax.scan(add, (states, zeros), keys)
    return jax.tree.map(lambda leaf: leaf / counted, total)
