"""Array aliases and protocols shared by all packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import jax
from jaxtyping import Array, Float

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm as SamplingAlgorithm

PRNGKey: TypeAlias = jax.Array
"""A JAX key, as made by ``jax.random.key``."""

Position: TypeAlias = Any
"""A pytree of floating arrays. Chain axes lead on every leaf."""

LogDensityFn: TypeAlias = Callable[[Position], Array]
"""``position -> log-density``: a scalar for one chain, one value per chain for a batch."""

PriorSampler: TypeAlias = "Callable[[PRNGKey, tuple[int, ...]], Position]"
"""``(rng_key, chain_shape) -> position``: independent draws, leading with the chain shape."""

PerChain: TypeAlias = "float | Float[Array, '*chains']"
"""A scalar, or one value per chain (a prefix of the chain axes is enough)."""

Params: TypeAlias = Any
"""The parameters of a network, as a pytree of arrays."""


class Network(Protocol):
    """A pair of pure functions: what the models ask of any neural network."""

    def init(self, rng_key: PRNGKey, inputs: Array) -> Params:
        """Draw initial parameters for inputs of this shape."""
        ...

    def apply(self, params: Params, inputs: Array) -> Array:
        """Evaluate the network; the leading axis of ``inputs`` is a batch axis."""
        ...
