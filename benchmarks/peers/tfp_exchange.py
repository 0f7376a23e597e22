"""TensorFlow Probability's ``ReplicaExchangeMC`` on JAX, with its Langevin kernel on every rung.

After its swaps it evaluates all replicas once more: two gradients a step and replica.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import Array

import tempered_ebm as te
from benchmarks.work import Prepared, jax_program


def factory(
    target: te.TemperedTarget,
    temperatures: Array,
    step_sizes: Array,
    position: Array,
    num_steps: int,
) -> Callable[[], Prepared]:
    """Ladders of MALA chains whose even and odd pairs swap in turn; the cold rung's end is kept.

    Args:
        target: prior and likelihood of ``(..., d)`` positions.
        temperatures: ladder from 0 to 1, (K,).
        step_sizes: h on every rung, (K,).
        position: starts of one rung, (N, d).
        num_steps: steps of every chain.
    """

    def prepare() -> Prepared:
        import tensorflow_probability.substrates.jax as tfp

        # The coldest replica comes first.
        inverse_temperatures, h = temperatures[::-1], step_sizes[::-1]
        kernel = tfp.mcmc.ReplicaExchangeMC(
            target_log_prob_fn=None,
            untempered_log_prob_fn=target.logprior_fn,
            tempered_log_prob_fn=target.loglikelihood_fn,
            inverse_temperatures=inverse_temperatures,
            make_kernel_fn=lambda log_prob: tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(
                log_prob, 2 * h[:, None, None]
            ),
            swap_proposal_fn=tfp.mcmc.even_odd_swap_proposal_fn(1.0),
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
