"""What an estimator of the learning gradient is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float

Objective: TypeAlias = Callable[
    [
        Float[Array, "K"],
        Float[Array, "K C batch"],
        Float[Array, "K C batch"],
        Float[Array, "M"],
    ],
    Float[Array, ""],
]


class Estimator(NamedTuple):
    """A named estimator of the learning gradient.

    Attributes:
        name: what logs and configurations call it.
        uses_ladder: whether it needs draws at every temperature, or at t = 1 alone.
        objective: ``(temperatures (K,), loglikelihood (K, C, batch), negative_energy
            (K, C, batch), prior_negative_energy (M,)) -> scalar`` to maximise. The values
            are differentiable functions of the parameters at frozen draws: ℓ and f at
            draws of each ``q_t``, from C independent chains (or ladders) per observation,
            and f at draws of the prior.
        min_chains: least C that it works with.
    """

    name: str
    uses_ladder: bool
    objective: Objective
    min_chains: int = 1
