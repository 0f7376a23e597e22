"""NumPyro's Hamiltonian Monte Carlo with one leapfrog step, which is MALA with h = ε²/2."""

from __future__ import annotations

import math
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
    """Vectorised chains without adaptation, the last state kept; see :mod:`benchmarks.peers`.

    NumPyro has no unadjusted Langevin kernel: preparing one raises ``ImportError``.
    """

    def prepare() -> Prepared:
        from numpyro.infer import HMC

        if not metropolis:
            raise ImportError("NumPyro has no unadjusted Langevin kernel")
        log_prob = densities.in_jax(logdensity, params)
        kernel = HMC(
            potential_fn=lambda z: -log_prob(z),
            step_size=math.sqrt(2 * step_size),
            num_steps=1,
            trajectory_length=None,
            adapt_step_size=False,
            adapt_mass_matrix=False,
        )
        keys = jax.random.split(jax.random.key(0), len(position))
        state = kernel.init(keys, 0, position, (), {})

        def run(state: Any) -> Array:
            def step(state: Any, _: None) -> tuple[Any, None]:
                return kernel.sample(state, (), {}), None

            return jax.lax.scan(step, state, length=num_steps)[0].z

        return jax_program(run, state)()

    return prepare
