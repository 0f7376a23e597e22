"""TensorFlow Probability on JAX: ``UncalibratedLangevin`` and its Metropolis-adjusted kernel.

Its step is ``z' = z + (ε/2) ∇log p(z) + sqrt(ε) ξ``: ε = 2h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from benchmarks.peers import densities
from benchmarks.work import Prepared, jax_program


def factory(
    logdensity: densities.Name,
    params: Any,
    position: Array,
    step_size: float,
    num_steps: int,
    metropolis: bool,
) -> Callable[[], Prepared]:
    """``sample_chain`` over a batch of chains, the last state kept; see :mod:`benchmarks.peers`."""

    def prepare() -> Prepared:
        import tensorflow_probability.substrates.jax as tfp

        log_prob = densities.in_jax(logdensity, params)
        if metropolis:
            kernel = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(log_prob, 2 * step_size)
        else:
            kernel = tfp.mcmc.UncalibratedLangevin(
                log_prob, 2 * step_size, compute_acceptance=False
            )

        def run(rng_key: Array, position: Array) -> Array:
            return tfp.mcmc.sample_chain(
                num_results=1,
                num_burnin_steps=num_steps - 1,
                current_state=position,
                kernel=kernel,
                trace_fn=None,
                seed=rng_key,
            )[0]

        return jax_program(run, jax.random.key(0), position)()

    return prepare
