r"""The parts common to all Langevin kernels: proposal, Metropolis test, top-level object.

The overdamped Langevin diffusion :math:`dz = \nabla \log p(z)\,dt + \sqrt{2}\,dW`
leaves ``p`` invariant. Its Euler-Maruyama step of size ``h`` is the proposal of
every kernel here (Roberts and Tweedie 1996):

.. math:: z' = z + h\,\nabla \log p(z) + \sqrt{2h}\,\xi, \qquad \xi \sim N(0, I)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.kernels._noise import NoiseSource, jax_random_noise
from tempered_ebm.types import PerChain, Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

State = TypeVar("State")
Settings = ParamSpec("Settings")


class SamplingAPI(Generic[Settings]):
    """A sampler as BlackJAX's own ``blackjax.mala``: a callable that has its parts.

    Calling it binds a density and settings, and returns a ``SamplingAlgorithm``. Hosts that
    choose the settings themselves, such as ``blackjax.window_adaptation``, use the parts.

    Attributes:
        init: ``(position, density, ...) -> state``.
        build_kernel: ``(...) -> kernel``, with ``kernel(rng_key, state, density, settings...)``
            returning the next state and what the step reports.
    """

    def __init__(
        self,
        build: Callable[Settings, SamplingAlgorithm],
        name: str,
        init: Callable,
        build_kernel: Callable,
    ) -> None:
        self._build = build
        # Takes over the docstring, and the signature by way of __wrapped__.
        functools.update_wrapper(self, build)
        self.__name__ = self.__qualname__ = name
        self.init = init
        self.build_kernel = build_kernel

    def __call__(self, *args: Settings.args, **kwargs: Settings.kwargs) -> SamplingAlgorithm:
        """Build the algorithm."""
        return self._build(*args, **kwargs)

    def __repr__(self) -> str:
        names = ", ".join(inspect.signature(self).parameters)
        return f"<tempered_ebm.{self.__name__}({names}), with .init and .build_kernel>"

    def __reduce__(self) -> str:
        # Pickled by reference, as the function is that it stands for.
        return self._build.__name__


def sampling_api(
    name: str, init: Callable, build_kernel: Callable
) -> Callable[[Callable[Settings, SamplingAlgorithm]], SamplingAPI[Settings]]:
    """Make a :class:`SamplingAPI` of the decorated function.

    Args:
        name: public name of the sampler.
        init: what evaluates the density at a position.
        build_kernel: what builds the transition kernel.
    """
    return lambda build: SamplingAPI(build, name, init, build_kernel)


class LangevinInfo(NamedTuple):
    """Information about an unadjusted Langevin step.

    Attributes:
        drift_norm: Euclidean norm of the drift that moved each chain, of the chain shape.
        effective_temperature: the temperature ``T = σ²/(2h)`` that noise of scale ``σ``
            and step size ``h`` amount to, of the chain shape: for small steps the chain
            samples ``p**(1/T)``. It is no power on a likelihood.
    """

    drift_norm: Float[Array, "*chains"]
    effective_temperature: Float[Array, "*chains"]


class MetropolisInfo(NamedTuple):
    """Information about a Metropolis-adjusted Langevin step.

    Attributes:
        acceptance_rate: acceptance probability of the proposal, of the chain shape.
        is_accepted: whether the proposal was accepted, of the chain shape.
    """

    acceptance_rate: Float[Array, "*chains"]
    is_accepted: Bool[Array, "*chains"]


def step_size_from_noise_scale(noise_scale: PerChain) -> PerChain:
    """Return the step size ``h = s**2 / 2`` of a chain written with noise scale ``s``.

    Code for energy-based models, that of Pang et al. (2020) among it, writes
    ``z' = z + (s**2 / 2) ∇log p(z) + s ξ``; this library writes ``z' = z + h ∇log p(z) +
    sqrt(2h) ξ``. Both are the same chain when ``h = s**2 / 2``.

    Args:
        noise_scale: standard deviation ``s`` of the noise, in units of the position.

    Raises:
        InputError: if the noise scale is not positive and finite.

    Example:
        >>> import tempered_ebm as te
        >>> round(te.step_size_from_noise_scale(0.4), 6)
        0.08
    """
    checks.positive("noise_scale", noise_scale)
    scale = jnp.asarray(noise_scale) if jnp.ndim(noise_scale) else noise_scale
    return 0.5 * scale**2


def effective_temperature(step_size: PerChain, noise_scale: PerChain) -> PerChain:
    r"""Return the temperature :math:`T = \sigma^2/(2h)` of a chain with decoupled noise.

    ``z' = z + h ∇log p(z) + σ ξ`` is the Euler-Maruyama step of a diffusion that leaves
    :math:`p^{1/T}` invariant. Code that sets ``h`` and ``σ`` apart, that of Du and Mordatch
    (2019) and Grathwohl et al. (2020) among it, samples at this hidden temperature. It is
    the ``noise_temperature`` of :func:`tempered_ebm.ula`, and not the ``temperature`` of a
    tempered path, which is a power on the likelihood.

    Args:
        step_size: ``h``.
        noise_scale: standard deviation ``σ`` of the noise, in units of the position.

    Raises:
        InputError: if an argument is not positive and finite.

    Example:
        >>> import tempered_ebm as te
        >>> round(te.effective_temperature(step_size=1.0, noise_scale=0.01), 8)
        5e-05
    """
    checks.positive("step_size", step_size)
    checks.positive("noise_scale", noise_scale)
    scale, h = (jnp.asarray(v) if jnp.ndim(v) else v for v in (noise_scale, step_size))
    return scale**2 / (2 * h)


def propose(
    rng_key: PRNGKey,
    position: Position,
    drift: Position,
    step_size: PerChain,
    *,
    inverse_mass_matrix: Position | None = None,
    noise_temperature: PerChain = 1.0,
    noise_scale: PerChain | None = None,
    noise: NoiseSource = jax_random_noise,
) -> Position:
    r"""Draw :math:`z + h\,u + \sqrt{2hTD}\,\xi` with one noise draw for all chains.

    Args:
        rng_key: key of the noise.
        position: ``z``.
        drift: ``u``, already multiplied by ``D``, shaped like the position.
        step_size: ``h``, scalar or one value per chain.
        inverse_mass_matrix: diagonal ``D``, or None for the identity.
        noise_temperature: ``T``, scalar or one value per chain.
        noise_scale: ``σ`` in the place of :math:`\sqrt{2hT}`, scalar or one value per chain.
        noise: source of ``ξ``.
    """
    draw = noise.like(rng_key, position)
    if inverse_mass_matrix is not None:
        draw = chains.scale(jax.tree.map(jnp.sqrt, inverse_mass_matrix), draw)

    def move(z: Array, u: Array, xi: Array) -> Array:
        h = chains.expand(step_size, z, name="step_size")
        if noise_scale is None:
            T = chains.expand(noise_temperature, z, name="noise_temperature")
            scale = jnp.sqrt(2 * h * T)
        else:
            scale = chains.expand(noise_scale, z, name="noise_scale")
        return z + h * u.astype(z.dtype) + scale * xi

    return jax.tree.map(move, position, drift, draw)


def log_acceptance_ratio(
    position: Position,
    logdensity: Float[Array, "*chains"],
    grad: Position,
    new_position: Position,
    new_logdensity: Float[Array, "*chains"],
    new_grad: Position,
    step_size: PerChain,
    inverse_mass_matrix: Position | None = None,
) -> Float[Array, "*chains"]:
    r"""Return the logarithm of the Metropolis-Hastings ratio of a Langevin proposal.

    With :math:`\Delta = z' - z`, :math:`g = \nabla\log p(z)`, :math:`g'` at ``z'`` and the
    diagonal :math:`D` of a preconditioned proposal :math:`N(z + hDg, 2hD)`, expanding the
    two Gaussian proposal densities leaves

    .. math::
        \log r = \log p(z') - \log p(z) - \tfrac12 \Delta\cdot(g + g')
                 - \tfrac h4 \left(g'\cdot D g' - g\cdot D g\right),

    which neither divides by ``h`` nor subtracts squared distances, and is
    antisymmetric in ``(z, z')`` by inspection. On a Gaussian the first three terms
    cancel.

    Returns:
        The log ratio, of the chain shape; NaN counts as a rejection.
    """
    ndim = logdensity.ndim
    displacement = jax.tree.map(jnp.subtract, new_position, position)
    grad_sum = jax.tree.map(jnp.add, grad, new_grad)
    h = chains.expand(step_size, logdensity, name="step_size")
    new_square = chains.inner(new_grad, chains.scale(inverse_mass_matrix, new_grad), ndim)
    square = chains.inner(grad, chains.scale(inverse_mass_matrix, grad), ndim)
    return (
        new_logdensity
        - logdensity
        - 0.5 * chains.inner(displacement, grad_sum, ndim)
        - 0.25 * h * (new_square - square)
    )


def log_uniform(
    rng_key: PRNGKey, like: Float[Array, "..."], noise: NoiseSource = jax_random_noise
) -> Float[Array, "..."]:
    """Draw logarithms of uniforms, in single precision or better, and finite.

    A uniform of exactly 0, one in 2**23 in single precision, would accept anything.
    """
    dtype = jnp.promote_types(like.dtype, jnp.float32)
    uniform = noise.uniform(rng_key, like.shape, dtype)
    return jnp.log(jnp.maximum(uniform, jnp.finfo(dtype).eps / 2))


def metropolis(
    rng_key: PRNGKey,
    log_ratio: Float[Array, "*chains"],
    proposal: State,
    state: State,
    noise: NoiseSource = jax_random_noise,
) -> tuple[State, MetropolisInfo]:
    """Accept ``proposal`` chain by chain with probability ``min(1, exp(log_ratio))``.

    Args:
        rng_key: key of the uniforms, one per chain.
        log_ratio: log Metropolis-Hastings ratio; NaN rejects.
        proposal: state to move to; every leaf leads with the chain shape.
        state: state to stay at.
        noise: source of the uniforms.
    """
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    is_accepted = log_uniform(rng_key, log_ratio, noise) < log_ratio
    acceptance_rate = jnp.exp(jnp.minimum(log_ratio, 0.0))
    return chains.select(is_accepted, proposal, state), MetropolisInfo(acceptance_rate, is_accepted)
