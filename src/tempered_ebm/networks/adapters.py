"""Adapt Haiku, Flax or plain ``(init, apply)`` networks to :class:`tempered_ebm.types.Network`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

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
