"""Energy-based models of the data themselves."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import inference, schedules
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import replica_exchange
from tempered_ebm.kernels.presets import ChainSettings, require_chain
from tempered_ebm.networks.adapters import as_network
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Params, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class ChainEnd(NamedTuple):
    """Last states of chains, and a statistic of their steps.

    Attributes:
        position: last positions, (n, ...).
        negative_energy: f there, (n,).
        gradient: gradient of log p in x there, (n, ...).
        gradient_norm: its norm, (n,).
        statistic: acceptance rate (MALA) or drift norm (ULA), averaged along each chain, (n,).
    """

    position: Float[Array, "n ..."]
    negative_energy: Float[Array, "n"]
    gradient: Float[Array, "n ..."]
    gradient_norm: Float[Array, "n"]
    statistic: Float[Array, "n"]


class LadderEnd(NamedTuple):
    """Last states of ladders of replicas.

    Attributes:
        position: positions of all replicas, (n, K, ...).
        model: ends of the replicas at t = 1, the model.
        swap_acceptance_rate: acceptance rate of swaps of neighbours, averaged along the chains,
            (K - 1, ...).
    """

    position: Float[Array, "n K ..."]
    model: ChainEnd
    swap_acceptance_rate: Float[Array, "..."]


@dataclass(frozen=True, eq=False)
class DataEBM:
    r"""A density of the data given by a network up to its normaliser.

    .. math:: p_\theta(x) = \frac{1}{Z_\theta} e^{f_\theta(x)} \, r(x)

    with ``r`` flat, or N(0, s² I) if ``base_scale`` is s, which keeps the density normalisable
    whatever a Lipschitz ``f`` does far from the data. Maximum likelihood (Hinton 2002):

    .. math:: \nabla_\theta E_{data}[\log p_\theta(x)]
              = E_{data}[\nabla_\theta f_\theta(x)] - E_{p_\theta}[\nabla_\theta f_\theta(x)],

    with draws of the second term from short Langevin chains. Chains that start at the data give
    contrastive divergence, which is biased by their length; chains that persist
    (:mod:`tempered_ebm.replay`) give persistent contrastive divergence.

    Chains at t = 1 alone do not cross from mode to mode, and then the weights of modes are not
    learned. With ``temperatures`` every chain is a ladder of replicas between the reference
    normal, which is drawn from exactly, and the model (:func:`tempered_ebm.replica_exchange`,
    every step Metropolis-adjusted): :meth:`run_ladders`. The temperature t of a ladder is the power
    of :math:`e^f`; that of a chain with a noise scale of its own is the T of :math:`p^{1/T}`
    (:attr:`ChainSettings.effective_temperature`).

    Attributes:
        network: network (n, ...) -> (n,) or (n, 1) of f, the *negative* energy: larger means
            more probable.
        event_shape: shape of one observation.
        chain: settings of the chains.
        base_scale: standard deviation s of the reference normal; no reference by default.
        temperatures: ladder from the reference normal (0) to the model (1); none by default.

    Raises:
        InputError: for a network that is none, or settings out of range.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> ebm = te.models.DataEBM(te.networks.mlp_network((32,)), event_shape=(2,))
        >>> params = ebm.init(jax.random.key(0))
        >>> x = jnp.zeros((5, 2))
        >>> negatives = ebm.run_chains(jax.random.key(1), params, x).position
        >>> ebm.contrastive_loss(params, x, negatives).shape
        ()
    """

    network: Any
    event_shape: tuple[int, ...]
    chain: ChainSettings = ChainSettings()  # noqa: RUF009
    base_scale: float | None = None
    temperatures: Float[Array, "K"] | None = None

    def __post_init__(self) -> None:
        require_chain("chain", self.chain)
        if self.base_scale is not None:
            checks.positive("base_scale", self.base_scale)
        if self.temperatures is not None:
            object.__setattr__(self, "temperatures", schedules.validate(self.temperatures))
            if self.base_scale is None:
                raise InputError("base_scale must be given with temperatures, got None")
        object.__setattr__(self, "network", as_network(self.network, "network"))
        object.__setattr__(self, "event_shape", tuple(self.event_shape))

    def init(self, rng_key: PRNGKey) -> Params:
        """Draw initial parameters.

        Raises:
            InputError: if the network does not return one value per observation.
        """
        # Unequal axes, so that a network that confuses them has the wrong shape.
        x = jnp.zeros((math.prod(self.event_shape) + 1, *self.event_shape))[:7]
        params = self.network.init(rng_key, x)
        self.negative_energy(params, x)
        return params

    def negative_energy(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n"]:
        """Evaluate ``f(x)``, the negative energy, one value per observation.

        Raises:
            InputError: if the network returns anything else.
        """
        value = self.network.apply(params, x)
        n = x.shape[0]
        if value.shape not in ((n,), (n, 1)):
            raise InputError(
                f"network returned shape {value.shape} for observations of shape {x.shape}; "
                f"expected one value each, {(n,)} or {(n, 1)}"
            )
        return value.reshape(n)

    def logdensity(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n"]:
        """Evaluate ``log p(x) + log Z``, f plus the log density of the reference, in nats."""
        return self.negative_energy(params, x) + self._log_base(x)

    def _log_base(self, x: Float[Array, "n ..."]) -> Float[Array, "n"]:
        if self.base_scale is None:
            return jnp.zeros(x.shape[0], x.dtype)
        d = math.prod(self.event_shape)
        squares = jnp.sum((x / self.base_scale) ** 2, tuple(range(1, x.ndim)))
        return -0.5 * squares - d * math.log(self.base_scale * math.sqrt(2 * math.pi))

    def kernel(self, params: Params) -> SamplingAlgorithm:
        """Return the Langevin kernel of the chains."""
        return self.chain.kernel(lambda x: self.logdensity(params, x))

    def run_chains(
        self, rng_key: PRNGKey, params: Params, initial: Float[Array, "n ..."]
    ) -> ChainEnd:
        """Run chains and return where they end, without a gradient.

        Args:
            rng_key: key of the chains.
            params: parameters of the network.
            initial: where they start.

        Raises:
            InputError: if ``initial`` is not observations.
        """
        require_shape("initial", initial, self.event_shape)
        params, initial = jax.lax.stop_gradient((params, initial))
        return jax.lax.stop_gradient(self._run_chains(rng_key, params, initial))

    @functools.partial(jax.jit, static_argnames="self")
    def _run_chains(self, rng_key: PRNGKey, params: Params, initial: Array) -> ChainEnd:
        return run_chain(
            rng_key,
            self.chain,
            lambda x: self.logdensity(params, x),
            initial,
            lambda x: self.negative_energy(params, x),
        )

    def run_ladders(
        self, rng_key: PRNGKey, params: Params, initial: Float[Array, "n K ..."]
    ) -> LadderEnd:
        r"""Run a ladder of replicas for each chain, without a gradient.

        The step size at temperature t is :math:`1/h_t = (1-t)/s^2 + t/h`, with the ``step_size`` h
        of the chain at the model: precisions add along the path.

        Args:
            rng_key: key of the chains.
            params: parameters of the network.
            initial: where the replicas of every chain start.

        Raises:
            InputError: if the model has no ladder, or ``initial`` does not fit it.
        """
        if self.temperatures is None or self.base_scale is None:
            raise InputError("temperatures must be given to the model to run ladders, got None")
        shape = (self.temperatures.shape[0], *self.event_shape)
        require_shape("initial", initial, shape)
        params, initial = jax.lax.stop_gradient((params, initial))
        return jax.lax.stop_gradient(self._run_ladders(rng_key, params, initial))

    @functools.partial(jax.jit, static_argnames="self")
    def _run_ladders(self, rng_key: PRNGKey, params: Params, initial: Array) -> LadderEnd:
        t = jnp.asarray(self.temperatures)
        scale = self.base_scale or 1.0

        # The ladder has two leading axes, and the network one.
        def flat(fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
            def evaluate(x: Array) -> Array:
                lead = x.shape[: x.ndim - len(self.event_shape)]
                return fn(x.reshape(-1, *self.event_shape)).reshape(lead)

            return evaluate

        target = TemperedTarget(
            flat(self._log_base), flat(lambda x: self.negative_energy(params, x))
        )
        kernel = replica_exchange.as_top_level_api(
            target,
            t,
            1 / ((1 - t) / scale**2 + t / self.chain.step_size),
            sample_prior=lambda key, lead: (
                scale * jax.random.normal(key, (*lead, *self.event_shape))
            ),
        )
        state, moments = inference.run_with_moments(
            rng_key,
            kernel,
            kernel.init(jnp.moveaxis(initial, 1, 0)),
            self.chain.num_steps,
            statistic_fn=lambda state, info: (info.acceptance_rate, info.swap_acceptance_rate),
        )
        acceptance, swaps = moments.mean
        gradient = state.logprior_grad[-1] + state.loglikelihood_grad[-1]
        end = _chain_end(state.position[-1], state.loglikelihood[-1], gradient, acceptance[-1])
        return LadderEnd(jnp.moveaxis(state.position, 0, 1), end, swaps)

    def contrastive_loss(
        self,
        params: Params,
        x: Float[Array, "n ..."],
        negatives: Float[Array, "m ..."],
        *,
        energy_penalty: float = 0.0,
    ) -> Float[Array, ""]:
        r"""Return the loss whose descent is the ascent of the likelihood at frozen negatives.

        .. math:: E_{x^-}[f(x^-)] - E_{x}[f(x)] + \lambda (E_{x}[f(x)^2] + E_{x^-}[f(x^-)^2])

        The penalty (Du and Mordatch 2019, section 3.3) fixes the constant that f is free to have,
        keeps energies small, and biases the gradient.

        Args:
            params: parameters of the network.
            x: data.
            negatives: ends of chains; no gradient passes through them.
            energy_penalty: λ, at least 0.
        """
        negatives = jax.lax.stop_gradient(negatives)
        checks.floating("x", x)
        # One pass: the network sees both halves in one batch.
        value = self.negative_energy(params, jnp.concatenate([x, negatives]))
        up, down = value[: x.shape[0]], value[x.shape[0] :]
        penalty = energy_penalty * (jnp.mean(up**2) + jnp.mean(down**2))
        return jnp.mean(down) - jnp.mean(up) + penalty

    def score_matching_loss(
        self, rng_key: PRNGKey, params: Params, x: Float[Array, "n ..."], noise_scale: float
    ) -> Float[Array, ""]:
        r"""Return the loss of denoising score matching, which needs no chains and no normaliser.

        .. math:: \tfrac12 E \lVert \sigma \nabla_x \log p_\theta(x + \sigma\xi) + \xi \rVert^2

        (Vincent 2011, equation 11, times σ²). Its minimum is the score of the data convolved with
        N(0, σ² I): the model of smoothed data, blind to the weights of modes that are far apart.

        Args:
            rng_key: key of the noise ξ.
            params: parameters of the network.
            x: data.
            noise_scale: σ, positive.
        """
        checks.floating("x", x)
        checks.positive("noise_scale", noise_scale)
        noise = jax.random.normal(rng_key, x.shape, x.dtype)
        score = jax.grad(lambda y: self.logdensity(params, y).sum())(x + noise_scale * noise)
        axes = tuple(range(1, x.ndim))
        return 0.5 * jnp.mean(jnp.sum((noise_scale * score + noise) ** 2, axes))


def require_shape(name: str, x: Array, shape: tuple[int, ...]) -> None:
    r"""Require floating-point numbers of shape (n, \*shape)."""
    checks.floating(name, x)
    if x.shape[1:] != shape:
        raise InputError(f"{name} must have shape (n, {', '.join(map(str, shape))}), got {x.shape}")


def run_chain(
    rng_key: PRNGKey,
    chain: ChainSettings,
    logdensity_fn: Callable[[Array], Array],
    initial: Float[Array, "n ..."],
    negative_energy_fn: Callable[[Array], Array],
) -> ChainEnd:
    """Run chains from ``initial`` on any log-density and return where they end."""
    kernel = chain.kernel(logdensity_fn)
    state, moments = inference.run_with_moments(
        rng_key,
        kernel,
        kernel.init(initial),
        chain.num_steps,
        statistic_fn=lambda _, info: info.acceptance_rate if chain.metropolis else info.drift_norm,
    )
    negative_energy = negative_energy_fn(state.position)
    return _chain_end(state.position, negative_energy, state.logdensity_grad, moments.mean)


def _chain_end(
    position: Array, negative_energy: Array, gradient: Array, statistic: Array
) -> ChainEnd:
    norm = jnp.sqrt(jnp.sum(gradient**2, tuple(range(1, gradient.ndim))))
    return ChainEnd(position, negative_energy, gradient, norm, statistic)
