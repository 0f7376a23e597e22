"""Training by thermodynamic integration, one temperature after another, written plainly in JAX.

It models the published design of such code (JAX-ThermoEBM, 2024), and is our own: a ``scan`` over
the temperatures inside the differentiated loss; at each of them chains from N(0, I) of the whole
batch, behind ``stop_gradient``; gradients of the log-density of a single latent vector, mapped over
the batch; XLA's own transposed convolution; expected log-likelihoods, and with them the contrast of
f between posterior and prior draws, added up by the trapezoidal rule. The prior's chains run once
in a step. Nothing is computed that the step does not need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from jax import Array

from benchmarks.peers.torch_pang import Setting


class State(NamedTuple):
    """What a step changes: parameters (energy network, generator), optimiser, key."""

    params: tuple[Any, Any]
    optimizer_state: Any
    rng_key: Array


def networks(setting: Setting) -> tuple[hk.Transformed, hk.Transformed]:
    """Energy network, one value per vector, and deconvolutional generator, both of (n, d)."""
    height, breadth, channels = setting.image_shape
    doublings = 0
    while height % 2 == 0 and breadth % 2 == 0 and min(height, breadth) > 4:
        height, breadth, doublings = height // 2, breadth // 2, doublings + 1
    widths = [setting.width * 2**i for i in range(doublings, 0, -1)] + [channels]

    def generate(z: Array) -> Array:
        x = hk.Linear(height * breadth * widths[0])(z).reshape(-1, height, breadth, widths[0])
        for width in widths[1:]:
            x = hk.Conv2DTranspose(width, 4, stride=2, padding="SAME")(jax.nn.gelu(x))
        return jnp.tanh(x)

    def negative_energy(z: Array) -> Array:
        return hk.nets.MLP([*setting.energy_widths, 1], activation=jax.nn.gelu)(z)[:, 0]

    return (
        hk.without_apply_rng(hk.transform(negative_energy)),
        hk.without_apply_rng(hk.transform(generate)),
    )


def build(
    setting: Setting, optimizer: optax.GradientTransformation, temperatures: Array, rng_key: Array
) -> tuple[State, Callable[[State, Array], State]]:
    """Initial state, and ``(state, images (n, height, width, channels)) -> state``."""
    energy, generator = networks(setting)

    def log_normal(z: Array) -> Array:
        return -0.5 * jnp.sum(z**2)

    def f(params: Any, z: Array) -> Array:
        return energy.apply(params[0], z[None])[0]

    def loglikelihood(params: Any, z: Array, x: Array) -> Array:
        residual = x - generator.apply(params[1], z[None])[0]
        return -0.5 * jnp.sum(residual**2) / setting.sigma**2

    def chains(
        rng_key: Array, gradient: Callable[[Array], Array], num_steps: int, s: float
    ) -> Array:
        start_key, run_key = jax.random.split(rng_key)
        shape = (setting.batch, setting.latent_dim)

        def step(z: Array, key: Array) -> tuple[Array, None]:
            return z + 0.5 * s**2 * gradient(z) + s * jax.random.normal(key, shape), None

        start = jax.random.normal(start_key, shape)
        z, _ = jax.lax.scan(step, start, jax.random.split(run_key, num_steps))
        return jax.lax.stop_gradient(z)

    def prior_draws(rng_key: Array, params: Any) -> Array:
        gradient = jax.vmap(jax.grad(lambda z: f(params, z) + log_normal(z)))
        return chains(rng_key, gradient, setting.prior_steps, setting.prior_noise)

    def posterior_draws(rng_key: Array, params: Any, t: Array, images: Array) -> Array:
        def log_density(z: Array, x: Array) -> Array:
            return t * loglikelihood(params, z, x) + f(params, z) + log_normal(z)

        gradient = jax.vmap(jax.grad(log_density))
        return chains(
            rng_key,
            lambda z: gradient(z, images),
            setting.posterior_steps,
            setting.posterior_noise,
        )

    def loss(params: Any, rng_key: Array, images: Array) -> Array:
        prior_key, ladder_key = jax.random.split(rng_key)
        prior_mean = jnp.mean(jax.vmap(f, (None, 0))(params, prior_draws(prior_key, params)))

        def rung(carry: tuple, item: tuple) -> tuple[tuple, None]:
            integral, last, last_t = carry
            t, key = item
            z = posterior_draws(key, params, t, images)
            values = jax.vmap(loglikelihood, (None, 0, 0))(params, z, images)
            values += jax.vmap(f, (None, 0))(params, z)
            mean = jnp.mean(values) - prior_mean
            return (integral + 0.5 * (t - last_t) * (mean + last), mean, t), None

        keys = jax.random.split(ladder_key, len(temperatures))
        first = (0.0, 0.0, temperatures[0])
        (integral, _, _), _ = jax.lax.scan(rung, first, (temperatures, keys))
        return -integral

    def step(state: State, images: Array) -> State:
        rng_key, draw_key = jax.random.split(state.rng_key)
        gradient = jax.grad(loss)(state.params, draw_key, images)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params)
        return State(optax.apply_updates(state.params, updates), optimizer_state, rng_key)

    z = jnp.zeros((1, setting.latent_dim))
    params_key, rng_key = jax.random.split(rng_key)
    params = (energy.init(params_key, z), generator.init(params_key, z))
    return State(params, optimizer.init(params), rng_key), step
