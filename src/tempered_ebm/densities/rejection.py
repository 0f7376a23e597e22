"""Exact draws by rejection, for any number of samples at once."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.types import PRNGKey


def rejection_sampler(
    propose: Callable[[PRNGKey, int], tuple[Float[Array, "n 2"], Float[Array, "n"]]],
) -> Callable[[PRNGKey, int], Float[Array, "num_samples 2"]]:
    """Turn proposals into exact draws (von Neumann 1951).

    Args:
        propose: ``(rng_key, n) -> (z, log_accept)``: independent proposals (n, 2) and the
            logarithms (n,) of their acceptance probabilities, density over envelope.

    Returns:
        ``(rng_key, num_samples) -> (num_samples, 2)``. Every lane proposes until it has
        accepted, so that no draw depends on how long another took.
    """

    def unfinished(carry: tuple) -> Array:
        return ~jnp.all(carry[2])

    def retry(carry: tuple) -> tuple:
        key, z, done = carry
        key, propose_key, accept_key = jax.random.split(key, 3)
        proposal, log_accept = propose(propose_key, len(done))
        accept = jnp.log(jax.random.uniform(accept_key, done.shape)) < log_accept
        z = jnp.where((accept & ~done)[:, None], proposal, z)
        return key, z, done | accept

    def sample(rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples 2"]:
        start = (rng_key, jnp.zeros((num_samples, 2)), jnp.zeros(num_samples, bool))
        return jax.lax.while_loop(unfinished, retry, start)[1]

    return sample
