"""Short-run chains with the settings of the papers that made them known.

Papers on energy-based models write the step as ``z' = z + a ∇log p(z) + σ ξ`` and choose ``a``
and ``σ`` apart. A preset keeps both and says which temperature they amount to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tempered_ebm.kernels import langevin, ula
from tempered_ebm.types import LogDensityFn

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class ChainPreset(NamedTuple):
    """Settings of a short Langevin run.

    Attributes:
        step_size: factor ``h`` of the gradient.
        noise_scale: standard deviation ``σ`` of the noise.
        num_steps: steps of a run.
        max_drift: bound on every coordinate of the gradient, or None.
        source: where the numbers are from.
    """

    step_size: float
    noise_scale: float
    num_steps: int
    max_drift: float | None
    source: str

    @property
    def effective_temperature(self) -> float:
        """Temperature ``σ²/(2h)`` that the chain has where its drift is not clipped."""
        return float(langevin.effective_temperature(self.step_size, self.noise_scale))

    def kernel(self, logdensity_fn: LogDensityFn) -> SamplingAlgorithm:
        """An unadjusted chain with these settings.

        Args:
            logdensity_fn: ``position -> log-density``, scalar or one value per chain; the
                negative energy of a model.

        Example:
            >>> import jax, jax.numpy as jnp, tempered_ebm as te
            >>> kernel = te.presets.jem.kernel(lambda x: -0.5 * jnp.sum(x**2, -1))
            >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.ones((5, 2))))
            >>> round(float(info.effective_temperature[0]), 8)
            5e-05
        """
        drift = None
        if self.max_drift is not None:
            import optax

            drift = optax.clip(self.max_drift)
        return ula.as_top_level_api(
            logdensity_fn, self.step_size, drift=drift, noise_scale=self.noise_scale
        )


class LatentPreset(NamedTuple):
    """Settings of the two chains of a latent-space energy-based prior model.

    Attributes:
        prior: chain on the prior.
        posterior: chain on the posterior of a latent vector given an observation.
        likelihood_scale: standard deviation of the Gaussian likelihood.
    """

    prior: ChainPreset
    posterior: ChainPreset
    likelihood_scale: float


_PANG = "Pang et al. (2020)"

pang2020 = LatentPreset(
    prior=ChainPreset(0.4**2 / 2, 0.4, 60, None, _PANG),
    posterior=ChainPreset(0.1**2 / 2, 0.1, 20, None, _PANG),
    likelihood_scale=0.3,
)
"""Both chains at temperature 1, started from N(0, I)."""

igebm = ChainPreset(10.0, 0.005, 60, 0.01, "Du and Mordatch (2019), released code, CIFAR-10")
"""Images in [0, 1]. The released code also clamps them there after every step, which no
Markov chain of a density does; add it outside if you need it."""

jem = ChainPreset(1.0, 0.01, 20, None, "Grathwohl et al. (2020)")
"""Images in [-1, 1]; chains start from a replay buffer, 5 % of them from uniform noise."""
