"""Chains that a learning gradient is formed from: their settings, and where they end."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

from tempered_ebm.kernels import mala, presets, tempered, ula


class ChainSettings(NamedTuple):
    """Length and step size of a Langevin chain.

    Attributes:
        num_steps: number of steps.
        step_size: ``h`` of ``z' = z + h ∇log p + sqrt(2h) ξ``.
    """

    num_steps: int
    step_size: float


PRIOR_CHAIN = ChainSettings(presets.pang2020.prior.num_steps, presets.pang2020.prior.step_size)
"""Pang et al. (2020, section 3): 60 steps of noise scale 0.4, ``h = 0.4**2 / 2``."""

POSTERIOR_CHAIN = ChainSettings(
    presets.pang2020.posterior.num_steps, presets.pang2020.posterior.step_size
)
"""Pang et al. (2020, section 3): 20 steps of noise scale 0.1, ``h = 0.1**2 / 2``."""


class Draws(NamedTuple):
    """Frozen draws from which a learning gradient is formed.

    Attributes:
        temperatures: ladder of the posterior draws, shape (K,); a single 1 without a ladder.
        posterior: last states of the tempered posterior chains, chain shape (K, C, batch):
            C independent chains, or ladders, per observation.
        prior: last states of the prior chains, chain shape (M,).
        posterior_statistic: acceptance rate (adjusted chains) or drift norm (unadjusted),
            averaged along each posterior chain, shape (K, C, batch).
        prior_statistic: the same for the prior chains, shape (M,).
        swap_acceptance_rate: of neighbouring rungs, averaged along the chains, shape (K - 1,);
            None without replica exchange.
    """

    temperatures: Float[Array, "K"]
    posterior: tempered.TemperedState
    prior: ula.ULAState | mala.MALAState
    posterior_statistic: Float[Array, "K C batch"]
    prior_statistic: Float[Array, "M"]
    swap_acceptance_rate: Float[Array, "K-1"] | None = None
