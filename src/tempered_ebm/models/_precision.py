"""Networks whose matrix products are in bfloat16, behind a door that is float32 on both sides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tempered_ebm.networks.adapters import PureNetwork, as_network
from tempered_ebm.types import Params


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


def in_bfloat16(network: Any, name: str = "network") -> PureNetwork:
    """A network that casts parameters and inputs to bfloat16, and its output back.

    Parameters, and gradients with respect to parameters and inputs, keep the dtype of
    what was put in. The output has 8 significant bits.

    Args:
        network: whatever a model takes as a network.
        name: what an error calls it.

    Raises:
        InputError: if it is no network.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> from tempered_ebm.models.precision import in_bfloat16
        >>> network = in_bfloat16(te.networks.mlp_network((8,)))
        >>> params = network.init(jax.random.key(0), jnp.zeros((1, 4)))
        >>> network.apply(params, jnp.zeros((3, 4))).dtype
        dtype('float32')
    """
    inner = as_network(network, name)

    def apply(params: Params, inputs: Array) -> Array:
        output = inner.apply(_cast(params, jnp.bfloat16), _cast(inputs, jnp.bfloat16))
        return _cast(output, inputs.dtype)

    return PureNetwork(inner.init, apply)
