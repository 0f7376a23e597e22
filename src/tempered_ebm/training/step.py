"""One training update as a pure function: chains, learning gradient, optimiser, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm import learning
from tempered_ebm.models import Draws, LatentEBM, LatentEBMParams
from tempered_ebm.types import PRNGKey


class Chains(NamedTuple):
    """Persistent chains.

    Attributes:
        posterior: C chains (ladders of them) per training image, (n, K, C, d).
        prior: (batch, d).
    """

    posterior: Float[Array, "n K C d"]
    prior: Float[Array, "batch d"]


class TrainState(NamedTuple):
    """All that changes during training; a checkpoint of it resumes bit for bit.

    Attributes:
        step: updates made.
        params: parameters of the model.
        optimizer_state: state of the optimiser.
        chains: persistent chains, or None for short runs.
        metric_sums: metrics summed over the updates since the last logged row.
    """

    step: Int[Array, ""]
    params: LatentEBMParams
    optimizer_state: Any
    chains: Chains | None
    metric_sums: dict[str, Float[Array, ""]]


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


def _restart_lost(rng_key: PRNGKey, chains: Array) -> Array:
    """Restart from N(0, I) every chain that is no longer finite."""
    lost = ~jnp.all(jnp.isfinite(chains), axis=-1, keepdims=True)
    return jnp.where(lost, jax.random.normal(rng_key, chains.shape), chains)


def build_update(
    model: LatentEBM,
    estimator: learning.Estimator,
    optimizer: optax.GradientTransformation,
    *,
    num_chains: int = 1,
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
        num_chains: independent posterior chains (ladders of them) per image.
    """

    def update(
        state: TrainState,
        rng_key: PRNGKey,
        temperatures: Float[Array, "K"] | None,
        images: Float[Array, "n ..."],
        index: Int[Array, "batch"],
    ) -> TrainState:
        draw_key, restart_key = jax.random.split(jax.random.fold_in(rng_key, state.step))
        x, chains = images[index], state.chains
        draws = model.draw(
            draw_key,
            state.params,
            x,
            temperatures,
            num_chains=num_chains,
            initial_posterior=None
            if chains is None
            else jnp.moveaxis(chains.posterior[index], 0, 2),
            initial_prior=None if chains is None else chains.prior,
        )
        loss, grads = jax.value_and_grad(
            lambda params: -model.objective(params, x, draws, estimator)
        )(state.params)
        updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
        metrics = {
            "loss": loss,
            **_metrics(model, state.params, x, draws),
            "prior_gradient_norm": optax.tree.norm(grads.prior),
            "generator_gradient_norm": optax.tree.norm(grads.generator),
            "skipped_updates": 1.0 * ~optimizer_state.last_finite,
        }
        return TrainState(
            state.step + 1,
            optax.apply_updates(state.params, updates),
            optimizer_state,
            None if chains is None else _keep_ends(restart_key, chains, index, draws),
            {name: state.metric_sums[name] + value for name, value in metrics.items()},
        )

    return update


def _keep_ends(rng_key: PRNGKey, chains: Chains, index: Array, draws: Draws) -> Chains:
    """Put the ends of one update's chains back where they started."""
    posterior_key, prior_key = jax.random.split(rng_key)
    ends = _restart_lost(posterior_key, jnp.moveaxis(draws.posterior.position, 2, 0))
    return Chains(
        chains.posterior.at[index].set(ends, unique_indices=True),
        _restart_lost(prior_key, draws.prior.position),
    )


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
) -> TrainState:
    """Initial parameters, and persistent chains from N(0, I) if asked for."""
    params_key, posterior_key, prior_key = jax.random.split(rng_key, 3)
    params = model.init(params_key)
    d = model.latent_dim
    chains = None
    if persistent:
        chains = Chains(
            jax.random.normal(posterior_key, (num_images, num_temperatures, num_chains, d)),
            jax.random.normal(prior_key, (batch_size, d)),
        )
    names = ["loss", "prior_gradient_norm", "generator_gradient_norm", "skipped_updates"]
    x = jnp.zeros((1, *model.decode(params, jnp.zeros((1, d))).shape[1:]))
    names += jax.eval_shape(
        lambda: _metrics(
            model, params, x, model.draw(rng_key, params, x, jnp.ones(num_temperatures))
        )
    )
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        optimizer.init(params),
        chains,
        {name: jnp.zeros(()) for name in names},
    )
