"""Settings of short-run chains, and those of the papers that made such chains known.

Papers on energy-based models write the step as ``z' = z + a ∇log p(z) + σ ξ`` and choose ``a``
and ``σ`` apart, which follows :math:`p^{1/T}` with T = σ²/(2a). That temperature T has nothing to
do with the temperature t of a tempered target, the power of the likelihood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import langevin, mala, ula
from tempered_ebm.types import LogDensityFn

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class ChainSettings(NamedTuple):
    """Settings of a Langevin chain, ``z' = z + h u(∇log p(z)) + σ ξ``.

    Attributes:
        num_steps: number of steps of a run.
        step_size: ``h`` of the first step.
        final_step_size: ``h`` of the last one, approached geometrically; by default all are alike.
        noise_scale: ``σ``, decoupled from the step; ``sqrt(2h)``, temperature 1, by default.
        max_drift: bound on every coordinate of the gradient, which is what ``u`` is; none by
            default. A clipped chain has another law.
        metropolis: whether every step is corrected (MALA), which leaves no choice of noise, drift
            or final step size.
    """

    num_steps: int = 40
    step_size: float = 0.01
    final_step_size: float | None = None
    noise_scale: float | None = None
    max_drift: float | None = None
    metropolis: bool = False

    @property
    def effective_temperature(self) -> float:
        """Temperature T = ``σ²/(2h)`` of the last step, where its drift is not clipped."""
        if self.noise_scale is None:
            return 1.0
        last = self.step_size if self.final_step_size is None else self.final_step_size
        return float(langevin.effective_temperature(last, self.noise_scale))

    def kernel(self, logdensity_fn: LogDensityFn) -> SamplingAlgorithm:
        """Return the kernel of a chain with these settings.

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
        if self.metropolis:
            return mala.as_top_level_api(logdensity_fn, self.step_size)
        import optax

        step_size: Any = self.step_size
        if self.final_step_size is not None:
            step_size = optax.exponential_decay(
                self.step_size, max(self.num_steps - 1, 1), self.final_step_size / self.step_size
            )
        drift = None if self.max_drift is None else optax.clip(self.max_drift)
        return ula.as_top_level_api(
            logdensity_fn, step_size, drift=drift, noise_scale=self.noise_scale
        )


def require_chain(name: str, chain: Any) -> None:
    """Require settings of a chain that are in range.

    Args:
        name: name of the argument in an error.
        chain: the settings.

    Raises:
        InputError: naming the setting, its value and what was expected.
    """
    if not isinstance(chain, ChainSettings):
        raise InputError(f"{name} must be ChainSettings(num_steps, step_size, ...), got {chain!r}")
    checks.at_least(f"{name}.num_steps", chain.num_steps, 1)
    checks.positive(f"{name}.step_size", chain.step_size)
    for field in ("final_step_size", "noise_scale", "max_drift"):
        value = getattr(chain, field)
        if value is None:
            continue
        checks.positive(f"{name}.{field}", value)
        if chain.metropolis:
            raise InputError(
                f"{name}.{field} changes the law of a chain that {name}.metropolis corrects; "
                f"expected one of them, got {value}"
            )


class _LatentChains(NamedTuple):
    """Settings of the two chains of a latent-space energy-based prior model.

    Attributes:
        prior: chain on the prior.
        posterior: chain on the posterior of a latent vector given an observation.
        likelihood_scale: standard deviation of the Gaussian likelihood.
    """

    prior: ChainSettings
    posterior: ChainSettings
    likelihood_scale: float


pang2020 = _LatentChains(
    prior=ChainSettings(60, 0.4**2 / 2),
    posterior=ChainSettings(20, 0.1**2 / 2),
    likelihood_scale=0.3,
)
"""Pang et al. (2020, section 3): noise scales 0.4 and 0.1 at temperature 1, from N(0, I)."""

igebm = ChainSettings(60, 10.0, noise_scale=0.005, max_drift=0.01)
"""Du and Mordatch (2019), released code, CIFAR-10: images in [0, 1]. That code also clamps them
there after every step, which no Markov chain of a density does; add it outside if you need it."""

jem = ChainSettings(20, 1.0, noise_scale=0.01)
"""Grathwohl et al. (2020): images in [-1, 1]; chains start from a replay buffer, 5 % of them from
uniform noise."""
