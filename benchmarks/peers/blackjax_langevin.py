"""BlackJAX's Langevin kernels: one chain each, vmapped in a scan, keys split chain by chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blackjax
import jax
from jax import Array

from benchmarks.peers import densities
from benchmarks.work import Prepared, jax_program


def factory(
    name: densities.Name,
    params: Any,
    position: Array,
    step_size: float,
    num_steps: int,
    metropolis: bool,
) -> Callable[[], Prepared]:
    """``blackjax.mala``, or ``blackjax.sgld`` with the whole gradient.

    Args:
        name: the log-density.
        params: its parameters.
        position: starts, (N, d).
        step_size: ``h`` of ``z' = z + h ∇log p(z) + sqrt(2h) ξ``.
        num_steps: steps of a call.
        metropolis: whether steps are adjusted.
    """
    logdensity = densities.in_jax(name, params)
    num_chains = position.shape[0]
    if metropolis:
        kernel = blackjax.mala(logdensity, step_size)

        def start(position: Array) -> Any:
            return jax.vmap(kernel.init)(position)

        def step(state: Any, rng_key: Array) -> tuple[Any, None]:
            return jax.vmap(kernel.step)(jax.random.split(rng_key, num_chains), state)[0], None
    else:
        sgld = blackjax.sgld(lambda z, _: jax.grad(logdensity)(z))

        def start(position: Array) -> Any:
            return position

        def step(state: Any, rng_key: Array) -> tuple[Any, None]:
            def move(key: Array, z: Array) -> Array:
                return sgld.step(key, z, None, step_size)

            return jax.vmap(move)(jax.random.split(rng_key, num_chains), state), None

    def run(rng_key: Array, position: Array) -> Any:
        keys = jax.random.split(rng_key, num_steps)
        return jax.lax.scan(step, start(position), keys)[0]

    return jax_program(run, jax.random.key(0), position)
