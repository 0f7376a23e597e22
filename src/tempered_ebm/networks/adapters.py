"""The door through which networks of any framework enter a model."""

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


def as_network(network: Any, name: str) -> Network:
    """Accept a Haiku pair, any object with ``init`` and ``apply``, or a Haiku function.

    Args:
        network: ``hk.without_apply_rng(hk.transform(fn))``, ``hk.transform(fn)``, any
            object with ``init(rng_key, inputs)`` and ``apply(params, inputs)``, or a
            function of the inputs that calls Haiku modules.
        name: what an error calls it.

    Raises:
        InputError: if it is none of these.
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
