"""Restoration of observations by chains on a density: inpainting and denoising."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.kernels.presets import ChainSettings, require_chain
from tempered_ebm.models.data_ebm import DataEBM, require_shape, run_chain
from tempered_ebm.types import Params, PRNGKey


def inpaint(
    model: DataEBM,
    rng_key: PRNGKey,
    params: Params,
    observed: Float[Array, "n ..."],
    is_observed: Bool[Array, "*n ..."],
    initial: Float[Array, "n ..."],
) -> Float[Array, "n ..."]:
    r"""Return observations with missing parts filled in, by chains on their conditional density.

    .. math:: p(x_{missing} \mid x_{observed}) \propto p(x_{observed}, x_{missing})

    The chains follow the density as a function of the missing coordinates alone; the observed ones
    are inserted before every evaluation and are returned bit for bit.

    Args:
        model: density of the observations; its chain settings are used.
        rng_key: key of the chains.
        params: parameters of the model.
        observed: observations; missing coordinates may have any value.
        is_observed: which coordinates are observed, for each observation or for all of them.
        initial: where the missing coordinates start, shaped like ``observed``.

    Raises:
        InputError: if shapes do not fit.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> ebm = te.models.DataEBM(te.networks.mlp_network((8,)), event_shape=(2,))
        >>> params = ebm.init(jax.random.key(0))
        >>> x, mask = jnp.ones((5, 2)), jnp.array([True, False])
        >>> filled = te.models.inpaint(ebm, jax.random.key(1), params, x, mask, 0 * x)
        >>> bool((filled[:, 0] == 1).all()), bool((filled[:, 1] == 1).any())
        (True, False)
    """
    require_shape("observed", observed, model.event_shape)
    checks.shape("initial", initial, observed.shape)
    mask = jnp.asarray(is_observed)
    if mask.dtype != bool or mask.shape not in (observed.shape, observed.shape[1:]):
        raise InputError(
            f"is_observed must be boolean of shape {observed.shape} or {observed.shape[1:]}, got "
            f"{mask.dtype} of shape {mask.shape}"
        )
    return _inpaint(model, rng_key, params, observed, mask, initial)


@functools.partial(jax.jit, static_argnames="model")
def _inpaint(
    model: DataEBM, rng_key: PRNGKey, params: Params, observed: Array, mask: Array, initial: Array
) -> Array:
    def whole(x: Array) -> Array:
        return jnp.where(mask, observed, x)

    end = run_chain(
        rng_key,
        model.chain,
        lambda x: model.logdensity(params, whole(x)),
        initial,
        lambda x: model.negative_energy(params, whole(x)),
    )
    return whole(end.position)


def denoise(
    model: DataEBM,
    rng_key: PRNGKey,
    params: Params,
    noisy: Float[Array, "n ..."],
    noise_scale: float,
    prior_weight: float = 1.0,
) -> Float[Array, "n ..."]:
    r"""Return observations without their normal noise, by chains on the posterior.

    .. math:: p(x \mid y) \propto p(x)^w\, N(y; x, \sigma^2 I)

    Chains start at the noisy observations. A chain whose effective temperature T is not 1 follows
    that posterior to the power 1/T, the likelihood included. A step size that
    fits p is too large for the likelihood where h/σ² is above 2: :func:`denoising_chain` has one
    that fits both.

    Args:
        model: density of clean observations; its chain settings are used.
        rng_key: key of the chains.
        params: parameters of the model.
        noisy: observations with noise.
        noise_scale: σ, positive.
        prior_weight: w, positive; at 1 the posterior.

    Raises:
        InputError: if ``noisy`` is not observations, or σ or w is not positive.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> ebm = te.models.DataEBM(te.networks.mlp_network((8,)), event_shape=(2,))
        >>> params = ebm.init(jax.random.key(0))
        >>> te.models.denoise(ebm, jax.random.key(1), params, jnp.ones((5, 2)), 0.1).shape
        (5, 2)
    """
    checks.all_positive(noise_scale=noise_scale, prior_weight=prior_weight)
    require_shape("noisy", noisy, model.event_shape)
    return _denoise(model, rng_key, params, noisy, noise_scale, prior_weight)


@functools.partial(jax.jit, static_argnames="model")
def _denoise(
    model: DataEBM,
    rng_key: PRNGKey,
    params: Params,
    noisy: Array,
    noise_scale: Array | float,
    prior_weight: Array | float,
) -> Array:
    axes = tuple(range(1, noisy.ndim))

    def log_posterior(x: Array) -> Array:
        misfit = 0.5 * jnp.sum(((x - noisy) / noise_scale) ** 2, axes)
        return prior_weight * model.logdensity(params, x) - misfit

    end = run_chain(
        rng_key, model.chain, log_posterior, noisy, lambda x: model.negative_energy(params, x)
    )
    return end.position


def denoising_chain(
    chain: ChainSettings, noise_scale: float, prior_weight: float = 1.0
) -> ChainSettings:
    r"""Return settings of a chain for :func:`denoise`, from one that fits the density alone.

    .. math:: h' = \left(\frac{w}{h} + \frac{1}{\sigma^2}\right)^{-1}, \qquad
              s'^2 = 2 h' w T, \qquad T = \frac{s^2}{2h}

    Precisions add: if steps of h are stable on p, those of h' are stable on the posterior. The
    temperature is wT, so that p has the power 1/T that the chain gives it alone, and the likelihood
    1/(wT): w = 1 raises the posterior as a whole, and w = 1/T leaves the likelihood as it is. A
    chain without a noise scale of its own stays at temperature 1.

    Args:
        chain: settings that fit the density; a bound on the drift is multiplied by w.
        noise_scale: σ, positive.
        prior_weight: w, positive.

    Raises:
        InputError: if σ or w is not positive.

    Example:
        >>> from tempered_ebm.models import ChainSettings, denoising_chain
        >>> round(denoising_chain(ChainSettings(step_size=1.0), 0.5).step_size, 6)
        0.2
    """
    require_chain("chain", chain)
    checks.all_positive(noise_scale=noise_scale, prior_weight=prior_weight)

    def both(step_size: float) -> float:
        return 1 / (prior_weight / step_size + 1 / noise_scale**2)

    last = None if chain.final_step_size is None else both(chain.final_step_size)
    first, noise = both(chain.step_size), chain.noise_scale
    if noise is not None:
        temperature = prior_weight * chain.effective_temperature
        noise = math.sqrt(2 * (first if last is None else last) * temperature)
    drift = None if chain.max_drift is None else chain.max_drift * prior_weight
    return chain._replace(step_size=first, final_step_size=last, noise_scale=noise, max_drift=drift)
