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
from tempered_ebm.training.learner import Shard
from tempered_ebm.training.state import TrainState, advance, begin
from tempered_ebm.types import PRNGKey


class Chains(NamedTuple):
    """Persistent chains.

    Attributes:
        posterior: C chains (ladders of them) per training image, (n, K, C, d).
        prior: (batch, d).
    """

    posterior: Float[Array, "n K C d"]
    prior: Float[Array, "batch d"]


Update = Callable[[TrainState, PRNGKey, "Array | None", Array, Array], TrainState]
"""``(state, rng_key, temperatures (K,), images (n, ...), index (batch,)) -> state``."""


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
        for k, value in enumerate(draws.posterior.loglikelihood.mean((1, 2))):
            metrics[f"loglikelihood_{k}"] = value
    if draws.swap_acceptance_rate is not None:
        metrics["swap_acceptance_rate"] = draws.swap_acceptance_rate.mean()
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


class GradientEstimate(NamedTuple):
    """One estimate of the learning gradient, and where it came from.

    Attributes:
        loss: minus the surrogate objective.
        gradient: of the loss.
        images: the batch.
        draws: the chains behind it.
    """

    loss: Float[Array, ""]
    gradient: LatentEBMParams
    images: Float[Array, "batch ..."]
    draws: Draws


Gradient = Callable[
    [PRNGKey, LatentEBMParams, Chains | None, Array | None, Array, Array], GradientEstimate
]


def build_gradient(
    model: LatentEBM,
    estimator: learning.Estimator,
    *,
    num_chains: int = 1,
    shard: Shard | None = None,
) -> Gradient:
    """Build ``(rng_key, params, chains, temperatures, images, index) -> GradientEstimate``.

    The chains run outside the differentiated objective, from where ``chains`` stand or from
    N(0, I). A pure function: repeats with other keys say how noisy an update is.

    Args:
        model: the model; its chains have their training length.
        estimator: of the learning gradient.
        num_chains: independent posterior chains (ladders of them) per image.
        shard: divides the examples and chains of a batch over devices; by default there is one.
    """
    shard = shard or (lambda array, axis: array)

    def estimate(
        rng_key: PRNGKey,
        params: LatentEBMParams,
        chains: Chains | None,
        temperatures: Float[Array, "K"] | None,
        images: Float[Array, "n ..."],
        index: Int[Array, "batch"],
    ) -> GradientEstimate:
        draw_key, start_key = jax.random.split(rng_key)
        x = shard(images[index], 0)
        rungs = 1 if temperatures is None else temperatures.shape[0]
        posterior, prior = _starts(start_key, chains, index, (rungs, num_chains, model.latent_dim))
        draws = model.draw(
            draw_key,
            params,
            x,
            temperatures,
            num_chains=num_chains,
            initial_posterior=shard(posterior, 2),
            initial_prior=shard(prior, 0),
        )
        loss, gradient = jax.value_and_grad(
            lambda params: -model.objective(params, x, draws, estimator)
        )(params)
        return GradientEstimate(loss, gradient, x, draws)

    return estimate


def _starts(
    rng_key: PRNGKey, chains: Chains | None, index: Array, shape: tuple[int, int, int]
) -> tuple[Float[Array, "K C batch d"], Float[Array, "batch d"]]:
    """Where the posterior and prior chains of one update start; ``shape`` is (K, C, d)."""
    if chains is not None:
        return jnp.moveaxis(chains.posterior[index], 0, 2), chains.prior
    posterior_key, prior_key = jax.random.split(rng_key)
    *lead, d = shape
    return (
        jax.random.normal(posterior_key, (*lead, len(index), d)),
        jax.random.normal(prior_key, (len(index), d)),
    )


def _restart_lost(rng_key: PRNGKey, chains: Array) -> Array:
    """Restart from N(0, I) every chain that is no longer finite."""
    lost = ~jnp.all(jnp.isfinite(chains), axis=-1, keepdims=True)
    return jnp.where(lost, jax.random.normal(rng_key, chains.shape), chains)


def _keep_ends(rng_key: PRNGKey, chains: Chains, index: Array, draws: Draws) -> Chains:
    """Put the ends of one update's chains back where they started."""
    posterior_key, prior_key = jax.random.split(rng_key)
    ends = _restart_lost(posterior_key, jnp.moveaxis(draws.posterior.position, 2, 0))
    return Chains(
        chains.posterior.at[index].set(ends, unique_indices=True),
        _restart_lost(prior_key, draws.prior.position),
    )


def build_update(
    model: LatentEBM,
    estimator: learning.Estimator,
    optimizer: optax.GradientTransformation,
    *,
    num_chains: int = 1,
    average_decay: float | None = None,
    shard: Shard | None = None,
) -> Update:
    """Build the update ``(state, rng_key, temperatures, images, index) -> state``.

    It is a pure function, to be mapped over ``state``, ``rng_key``, ``temperatures`` and
    ``index`` by ``jax.vmap`` if many runs share a program. The key of update ``i`` is
    ``fold_in(rng_key, i)``: the state needs no key.

    Args:
        model: the model; its chains have their training length.
        estimator: of the learning gradient.
        optimizer: wrapped in ``optax.apply_if_finite``.
        num_chains: independent posterior chains (ladders of them) per image.
        average_decay: decay of the moving average of the parameters, if the state keeps one.
        shard: divides the examples and chains of a batch over devices; by default there is one.
    """
    gradient = build_gradient(model, estimator, num_chains=num_chains, shard=shard)

    def update(
        state: TrainState,
        rng_key: PRNGKey,
        temperatures: Float[Array, "K"] | None,
        images: Float[Array, "n ..."],
        index: Int[Array, "batch"],
    ) -> TrainState:
        gradient_key, restart_key = jax.random.split(jax.random.fold_in(rng_key, state.step))
        loss, grads, x, draws = gradient(
            gradient_key, state.params, state.chains, temperatures, images, index
        )
        metrics = {
            "loss": loss,
            **_metrics(model, state.params, x, draws),
            "prior_gradient_norm": optax.tree.norm(grads.prior),
            "generator_gradient_norm": optax.tree.norm(grads.generator),
        }
        chains = state.chains
        if chains is not None:
            chains = _keep_ends(restart_key, chains, index, draws)
        return advance(state, optimizer, grads, chains, metrics, average_decay=average_decay)

    return update


def build_step(
    model: LatentEBM,
    estimator: learning.Estimator,
    optimizer: optax.GradientTransformation,
    *,
    num_chains: int = 1,
) -> Update:
    """Compile :func:`build_update` on its own; the state is donated."""
    update = build_update(model, estimator, optimizer, num_chains=num_chains)
    return jax.jit(update, donate_argnums=0)


def init_state(
    model: LatentEBM,
    optimizer: optax.GradientTransformation,
    num_temperatures: int,
    rng_key: PRNGKey,
    *,
    num_chains: int = 1,
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
        num_chains: independent posterior chains (ladders of them) per image.
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
            jax.random.normal(posterior_key, (num_images, num_temperatures, num_chains, d)),
            jax.random.normal(prior_key, (batch_size, d)),
        )
    return begin(model.init(params_key), optimizer, chains, names, averages=averages)
