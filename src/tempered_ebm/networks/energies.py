"""Energy networks in Haiku."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import haiku as hk
import jax
from jaxtyping import Array, Float

from tempered_ebm.errors import InputError


def mlp_energy(
    widths: Sequence[int] = (200, 200), *, activation: Callable[[Array], Array] = jax.nn.gelu
) -> hk.Transformed:
    """The latent energy network of Pang et al. (2020): an MLP with one output.

    The output is the *negative* energy ``f(z)`` of ``p(z) ∝ exp(f(z)) N(z; 0, I)``. The
    activation is smooth by default: the Langevin chain needs its gradient to be
    continuous. There is no batch normalisation and no dropout, so ``f`` is a function.

    Args:
        widths: sizes of the hidden layers.
        activation: elementwise.

    Returns:
        A Haiku pair ``init(rng_key, z)``, ``apply(params, z)`` for ``z`` of shape
        (n, latent_dim), giving (n,).

    Raises:
        InputError: if ``widths`` is empty or holds a size below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import mlp_energy
        >>> net = mlp_energy((32,))
        >>> params = net.init(jax.random.key(0), jnp.zeros((1, 8)))
        >>> net.apply(params, jnp.zeros((3, 8))).shape
        (3,)
    """
    if not widths or min(widths) < 1:
        raise InputError(f"widths must be at least one positive size, got {tuple(widths)}")

    def forward(z: Float[Array, "n latent_dim"]) -> Float[Array, "n"]:
        return hk.nets.MLP([*widths, 1], activation=activation)(z)[:, 0]

    return hk.without_apply_rng(hk.transform(forward))
