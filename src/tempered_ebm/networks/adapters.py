"""Adapt Haiku, Flax or plain ``(init, apply)`` networks to :class:`tempered_ebm.types.Network`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tempered_ebm.errors import InputError
from tempered_ebm.types import Network, Params, PRNGKey


class PureNetwork(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: ``(rng_key, inputs) -> params``.
        apply: ``(params, inputs) -> outputs``.
    """

    init: Callable[[PRNGKey, Array], Params]
    apply: Callable[[Params, Array], Array]


def require_output(name: str, output: Array, x: Array, expected: tuple, words: str = "") -> Array:
    """Return what a network made of observations if it has the expected shape.

    Raises:
        InputError: naming the network, both shapes and the one expected, with what it means.
    """
    if output.shape != expected:
        raise InputError(
            f"{name} returned shape {output.shape} for observations of shape {x.shape}; "
            f"expected {expected}{words}"
        )
    return output


def as_network(network: Any, name: str = "network") -> Network:
    """Return a network as two pure functions ``init`` and ``apply``.

    A module of Flax Linen is such an object; one of Flax NNX or Equinox becomes one by splitting
    it into its arrays, which are the parameters, and the rest.

    Args:
        network: ``hk.without_apply_rng(hk.transform(fn))``, ``hk.transform(fn)``, any
            object with ``init(rng_key, inputs)`` and ``apply(params, inputs)``, or a
            function of the inputs that calls Haiku modules.
        name: name of the argument in an error.

    Raises:
        InputError: if it is none of these.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> linear = te.networks.PureNetwork(
        ...     init=lambda rng_key, z: jax.random.normal(rng_key, z.shape[1:]),
        ...     apply=lambda params, z: z @ params,
        ... )
        >>> network = te.networks.as_network(linear)
        >>> network.apply(network.init(jax.random.key(0), jnp.ones((1, 4))), jnp.ones((3, 4))).shape
        (3,)
    """
    if hasattr(network, "init") and hasattr(network, "apply"):
        apply = network.apply
        if "rng" in inspect.signature(apply).parameters:
            return PureNetwork(network.init, lambda params, inputs: apply(params, None, inputs))
        return PureNetwork(network.init, apply)
    if callable(network):
        import haiku as hk

        transformed = hk.without_apply_rng(hk.transform(network))
        return PureNetwork(transformed.init, transformed.apply)
    raise InputError(
        f"{name} must have init and apply, or be a function that calls Haiku modules, got "
        f"{network!r}"
    )


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


def in_bfloat16(network: Any, name: str = "network") -> PureNetwork:
    """Return a network that casts parameters and inputs to bfloat16, and its output back.

    Parameters, and gradients with respect to parameters and inputs, keep the dtype that they
    have outside. The output has 8 significant bits.

    Args:
        network: any network that :func:`as_network` takes.
        name: name of the argument in an error.

    Raises:
        InputError: if it is no network.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> from tempered_ebm.networks import in_bfloat16
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
