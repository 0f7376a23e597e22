"""The latent EBM of a configuration, its learning gradient, and its update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm import learning
from tempered_ebm.models import ChainSettings, Draws, LatentEBM, LatentEBMParams, likelihoods
from tempered_ebm.networks import in_bfloat16, mlp_network
from tempered_ebm.training import state as states
from tempered_ebm.training.devices import shard_batch
from tempered_ebm.training.latent.config import (
    LatentConfig,
    LatentOptimizerConfig,
    RateConfig,
    UpdateConfig,
)
from tempered_ebm.training.networks import ACTIVATIONS, build_generator
from tempered_ebm.training.state import Learner, TrainState, advance, begin
from tempered_ebm.training.task import NUM_PICTURED
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


def build_model(
    config: LatentConfig, image_shape: tuple[int, int, int], *, sampling: bool = False
) -> LatentEBM:
    """Return the model of a resolved configuration.

    Args:
        config: resolved configuration.
        image_shape: (height, width, channels).
        sampling: whether it samples and evaluates, by long chains in float32, or trains,
            by short ones in the configured precision.
    """
    model, chain = config.model, config.chain
    generator: Any = build_generator(model, image_shape)
    activation = ACTIVATIONS[model.activation]
    network: Any = mlp_network(model.energy_widths or (1,), activation=activation)
    if config.update.precision == "bf16" and not sampling:
        network, generator = in_bfloat16(network), in_bfloat16(generator)
    prior_steps = chain.sampling_steps if sampling else chain.prior_steps
    posterior_steps = chain.sampling_steps if sampling else chain.posterior_steps
    return LatentEBM(
        prior_network=network,
        generator=generator,
        likelihood=likelihoods.gaussian(model.sigma),
        latent_dim=model.latent_dim or 1,
        prior_chain=ChainSettings(prior_steps, chain.prior_step_size),
        posterior_chain=ChainSettings(posterior_steps, chain.posterior_step_size),
        metropolis=chain.metropolis,
        replica_exchange=config.learning.replica_exchange,
        temperature_block=config.learning.temperature_block,
    )


def build_estimator(config: LatentConfig) -> learning.Estimator:
    """Return the estimator of the learning gradient of a configuration."""
    name = config.learning.estimator
    options = (config.learning.path_weight,) if name == "path" else ()
    return getattr(learning, name)(*options)


def build_optimizer(
    config: LatentOptimizerConfig,
    rates: RateConfig | None = None,
    update: UpdateConfig | None = None,
) -> optax.GradientTransformation:
    """Return AdamW for each network; an update that is not finite is skipped.

    The energy network uses a first-moment decay of 0.5, as in Pang et al. (2020).

    Args:
        config: learning rates and weight decay; ``num_steps`` is resolved.
        rates: schedules of the learning rates; cosine by default.
        update: largest gradient norms, one for each network; none by default.
    """
    rates, update = rates or RateConfig(), update or UpdateConfig()
    num_steps, decay = config.num_steps or 1, config.weight_decay
    prior = states.rate_schedule(
        rates.prior_rate_schedule, config.prior_learning_rate, num_steps, rates
    )
    generator = states.rate_schedule(
        rates.generator_rate_schedule, config.generator_learning_rate, num_steps, rates
    )
    both = optax.partition(
        {
            "prior": states.adamw(prior, 0.5, decay, update.prior_clip),
            "generator": states.adamw(generator, 0.9, decay, update.generator_clip),
        },
        lambda params: LatentEBMParams(
            jax.tree.map(lambda _: "prior", params.prior),
            jax.tree.map(lambda _: "generator", params.generator),
        ),
    )
    return states.skip_nonfinite(both)


def _metrics(
    model: LatentEBM, params: LatentEBMParams, x: Array, draws: Draws
) -> dict[str, Float[Array, ""]]:
    """Return averages over the draws of one update; energies are minus f."""
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
    """Return the names of the metrics of an update, in the order of their columns."""

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
) -> Gradient:
    """Build ``(rng_key, params, chains, temperatures, images, index) -> GradientEstimate``.

    The chains run outside the differentiated objective, from where ``chains`` stand or from
    N(0, I). A pure function: repeats with other keys say how noisy an update is.

    Args:
        model: the model; its chains have their training length.
        estimator: of the learning gradient.
        num_chains: independent posterior chains (ladders of them) per image.
    """

    def estimate(
        rng_key: PRNGKey,
        params: LatentEBMParams,
        chains: Chains | None,
        temperatures: Float[Array, "K"] | None,
        images: Float[Array, "n ..."],
        index: Int[Array, "batch"],
    ) -> GradientEstimate:
        draw_key, start_key = jax.random.split(rng_key)
        x = shard_batch(images[index])
        rungs = 1 if temperatures is None else temperatures.shape[0]
        posterior, prior = _starts(start_key, chains, index, (rungs, num_chains, model.latent_dim))
        draws = model.draw(
            draw_key,
            params,
            x,
            temperatures,
            num_chains=num_chains,
            initial_posterior=shard_batch(posterior, 2),
            initial_prior=shard_batch(prior),
        )
        loss, gradient = jax.value_and_grad(
            lambda params: -model.objective(params, x, draws, estimator)
        )(params)
        return GradientEstimate(loss, gradient, x, draws)

    return estimate


def _starts(
    rng_key: PRNGKey, chains: Chains | None, index: Array, shape: tuple[int, int, int]
) -> tuple[Float[Array, "K C batch d"], Float[Array, "batch d"]]:
    """Return where the posterior and prior chains of an update start; ``shape`` is (K, C, d)."""
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
    """
    gradient = build_gradient(model, estimator, num_chains=num_chains)

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
    """Return initial parameters, and persistent chains from N(0, I) if asked for.

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


def _build_measure(
    gradient: Gradient, temperatures: Array | None, num_repeats: int
) -> Callable[[PRNGKey, TrainState, Array, Array], dict[str, Array]]:
    """Build the statistics of the gradient of an update, from where the chains of the run stand."""

    def measure(rng_key: PRNGKey, state: TrainState, images: Array, index: Array) -> dict:
        def once(key: PRNGKey, index: Array) -> LatentEBMParams:
            return gradient(key, state.params, state.chains, temperatures, images, index).gradient

        keys = jax.random.split(rng_key, (len(index), num_repeats))
        estimates = jax.vmap(jax.vmap(once, in_axes=(0, None)))(keys, index)
        single = jax.tree.map(lambda leaf: leaf[0, 0], estimates)
        legacy = learning.parameter_groups(single)
        return {
            f"{group}_{name}": value
            for group, statistics in learning.gradient_statistics(estimates).items()
            for name, value in (
                *statistics._asdict().items(),
                ("legacy_variance", learning.legacy_gradient_variance(legacy[group])),
            )
            if not name.startswith("squared_bias")
        }

    return measure


def build_learner(
    config: LatentConfig, image_shape: tuple[int, int, int], num_images: int
) -> Learner:
    """Return a latent EBM as the training loop sees it.

    Args:
        config: resolved configuration.
        image_shape: (height, width, channels).
        num_images: training images.
    """
    model = build_model(config, image_shape)
    sampler = build_model(config, image_shape, sampling=True)
    optimizer = build_optimizer(config.optimizer, config.rates, config.update)
    estimator = build_estimator(config)
    temperatures = config.learning.ladder() if config.learning.uses_ladder else None
    rungs = 1 if temperatures is None else len(temperatures)
    names = metric_names(model, rungs, image_shape)
    num_chains, decay = config.learning.num_chains or 1, config.update.average_decay
    latent_update = build_update(
        model, estimator, optimizer, num_chains=num_chains, average_decay=decay
    )

    def init(rng_key: PRNGKey) -> TrainState:
        return init_state(
            model,
            optimizer,
            rungs,
            rng_key,
            num_chains=num_chains,
            num_images=num_images,
            batch_size=config.optimizer.batch_size,
            persistent=config.chain.chains == "persistent",
            names=names,
            averages=decay is not None,
        )

    def update(state: TrainState, rng_key: PRNGKey, images: Array, index: Array) -> TrainState:
        return latent_update(state, rng_key, temperatures, images, index)

    def validate(rng_key: PRNGKey, params: LatentEBMParams, x: Array) -> dict[str, Array]:
        error = jnp.mean((sampler.reconstruct(rng_key, params, x) - x) ** 2)
        return {"validation_reconstruction_error": error}

    def picture(rng_key: PRNGKey, state: TrainState) -> Array:
        params = states.sampling_params(state)
        if state.chains is None:
            return model.generate(rng_key, params, NUM_PICTURED)
        return model.decode(params, state.chains.prior[:NUM_PICTURED])

    return Learner(
        metric_names=names,
        init=init,
        update=update,
        watched=states.WatchedMetrics(
            ("loss", "posterior_energy", "prior_energy"),
            ("posterior_second_moment", "prior_second_moment"),
        ),
        shown="reconstruction_error",
        validation_names=("validation_reconstruction_error",),
        validate=validate,
        measure=_build_measure(
            build_gradient(model, estimator, num_chains=num_chains),
            temperatures,
            config.logging.gradient_repeats,
        ),
        picture=picture,
    )
