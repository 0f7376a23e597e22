"""One training update of a latent EBM as a pure function: chains, gradient, optimiser, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm import learning
from tempered_ebm.models import Draws, LatentEBM, LatentEBMParams
from tempered_ebm.training.state import TrainState, advance, begin
from tempered_ebm.types import PRNGKey


class Chains(NamedTuple):
    """Persistent chains.

    Attributes:
        posterior: one chain per training image and temperature, (n, K, d).
        prior: (batch, d).
    """

    posterior: Float[Array, "n K d"]
    prior: Float[Array, "batch d"]


Update = Callable[[TrainState, PRNGKey, "Array | None", Array, Array], TrainState]
"""``(state, rng_key, temperatures (K,), images (n, ...), index (batch,)) -> state``."""

Shard = Callable[[Array, int], Array]
"""``(array, axis) -> array`` divided over devices along an axis."""


def _metrics(
    model: LatentEBM, params: LatentEBMParams, x: Array, draws: Draws
) -> dict[str, Float[Array, ""]]:
    """Averages over the draws of one update; energies are minus f."""
    z, z_prior = draws.posterior.position[-1], draws.prior.position
    statistic = "acceptance_rate" if model.metropolis else "drift_norm"
    metrics = {
        "loglikelihood": draws.posterior.loglikelihood[-1].mean(),
        "reconstruction_error": jnp.mean((model.decode(params, z) - x) ** 2),
        "posterior_energy": -model.negative_energy(params, z).mean(),
        "prior_energy": -model.negative_energy(params, z_prior).mean(),
        f"posterior_{statistic}": draws.posterior_statistic[-1].mean(),
        f"prior_{statistic}": draws.prior_statistic.mean(),
        "posterior_second_moment": jnp.mean(z**2),
        "prior_second_moment": jnp.mean(z_prior**2),
    }
    if draws.temperatures.shape[0] > 1:
        for k, value in enumerate(draws.posterior.loglikelihood.mean(-1)):
            metrics[f"loglikelihood_{k}"] = value
    return metrics


def metric_names(
    model: LatentEBM, num_temperatures: int, image_shape: tuple[int, ...]
) -> tuple[str, ...]:
    """Names of the metrics of an update, in the order of their columns."""

    def metrics(rng_key: PRNGKey) -> dict[str, Array]:
        params, x = model.init(rng_key), jnp.zeros((1, *image_shape))
        return _metrics(
            model, params, x, model.draw(rng_key, params, x, jnp.ones(num_temperatures))
        )

    gradients = ("prior_gradient_norm", "generator_gradient_norm")
    return ("loss", *jax.eval_shape(metrics, jax.random.key(0)), *gradients)


def _starts(
    rng_key: PRNGKey, chains: Chains | None, index: Array, num_temperatures: int, d: int
) -> tuple[Float[Array, "K batch d"], Float[Array, "batch d"]]:
    """Where the posterior and prior chains of one update start."""
    if chains is not None:
        return chains.posterior[index].swapaxes(0, 1), chains.prior
    posterior_key, prior_key = jax.random.split(rng_key)
    return (
        jax.random.normal(posterior_key, (num_temperatures, len(index), d)),
        jax.random.normal(prior_key, (len(index), d)),
    )


def _restart_lost(rng_key: PRNGKey, chains: Array) -> Array:
    """Restart from N(0, I) every chain that is no longer finite."""
    lost = ~jnp.all(jnp.isfinite(chains), axis=-1, keepdims=True)
    return jnp.where(lost, jax.random.normal(rng_key, chains.shape), chains)


def _keep_ends(rng_key: PRNGKey, chains: Chains, index: Array, draws: Draws) -> Chains:
    """Put the ends of one update's chains back where they started."""
    posterior_key, prior_key = jax.random.split(rng_key)
    ends = _restart_lost(posterior_key, draws.posterior.position.swapaxes(0, 1))
    return Chains(
        chains.posterior.at[index].set(ends, unique_indices=True),
        _restart_lost(prior_key, draws.prior.position),
    )


def build_update(
    model: LatentEBM,
    estimator: learning.Estimator,
    optimizer: optax.GradientTransformation,
    *,
    average_decay: float | None = None,
    shard: Shard | None = None,
) -> Update:
    """Build the update ``(state, rng_key, temperatures, images, index) -> state``.

    It is a pure function, to be mapped over ``state``, ``rng_key``, ``temperatures`` and
    ``index`` by ``jax.vmap`` if many runs share a program. The key of update ``i`` is
    ``fold_in(rng_key, i)``: the state needs no key. The chains run outside the
    differentiated objective.

    Args:
        model: the model; its chains have their training length.
        estimator: of the learning gradient.
        optimizer: wrapped in ``optax.apply_if_finite``.
        average_decay: decay of the moving average of the parameters, if the state keeps one.
        shard: divides the examples and chains of a batch over devices; by default there is one.
    """
    shard = shard or (lambda array, axis: array)

    def update(
        state: TrainState,
        rng_key: PRNGKey,
        temperatures: Float[Array, "K"] | None,
        images: Float[Array, "n ..."],
        index: Int[Array, "batch"],
    ) -> TrainState:
        draw_key, restart_key = jax.random.split(jax.random.fold_in(rng_key, state.step))
        x, chains = shard(images[index], 0), state.chains
        rungs = 1 if temperatures is None else temperatures.shape[0]
        posterior, prior = _starts(restart_key, chains, index, rungs, model.latent_dim)
        draws = model.draw(
            draw_key,
            state.params,
            x,
            temperatures,
            initial_posterior=shard(posterior, 1),
            initial_prior=shard(prior, 0),
        )
        loss, grads = jax.value_and_grad(
            lambda params: -model.objective(params, x, draws, estimator)
        )(state.params)
        metrics = {
            "loss": loss,
            **_metrics(model, state.params, x, draws),
            "prior_gradient_norm": optax.tree.norm(grads.prior),
            "generator_gradient_norm": optax.tree.norm(grads.generator),
        }
        if chains is not None:
            chains = _keep_ends(restart_key, chains, index, draws)
        return advance(state, optimizer, grads, chains, metrics, average_decay=average_decay)

    return update


def build_step(
    model: LatentEBM, estimator: learning.Estimator, optimizer: optax.GradientTransformation
) -> Update:
    """Compile :func:`build_update` on its own; the state is donated."""
    return jax.jit(build_update(model, estimator, optimizer), donate_argnums=0)


def init_state(
    model: LatentEBM,
    optimizer: optax.GradientTransformation,
    num_temperatures: int,
    rng_key: PRNGKey,
    *,
    num_images: int,
    batch_size: int,
    persistent: bool,
    names: tuple[str, ...],
    averages: bool = False,
) -> TrainState:
    """Initial parameters, and persistent chains from N(0, I) if asked for.

    Args:
        model: the model.
        optimizer: as for :func:`build_update`.
        num_temperatures: rungs of the ladder of the posterior chains.
        rng_key: key of parameters and chains.
        num_images: training images.
        batch_size: images in a batch.
        persistent: whether chains persist between updates.
        names: the :func:`metric_names`.
        averages: whether to keep a moving average of the parameters.
    """
    params_key, posterior_key, prior_key = jax.random.split(rng_key, 3)
    chains = None
    if persistent:
        d = model.latent_dim
        chains = Chains(
            jax.random.normal(posterior_key, (num_images, num_temperatures, d)),
            jax.random.normal(prior_key, (batch_size, d)),
        )
    return begin(model.init(params_key), optimizer, chains, names, averages=averages)
