"""The latent-space energy-based prior model of Pang et al. (2020), from its pieces."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import evidence, inference, learning, schedules
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import EvidenceReport
from tempered_ebm.kernels import mala, replica_exchange, tempered, ula
from tempered_ebm.kernels.presets import ChainSettings, pang2020, require_chain
from tempered_ebm.learning.estimators import require_estimator
from tempered_ebm.models import latent_evidence
from tempered_ebm.models._blocks import in_blocks
from tempered_ebm.models.likelihoods import Likelihood, require_likelihood
from tempered_ebm.networks.adapters import as_network
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Network, Params, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class LatentEBMParams(NamedTuple):
    """Parameters of the two networks.

    Attributes:
        prior: α, parameters of the prior network ``f_α``.
        generator: β, parameters of the generator ``g_β``.
    """

    prior: Params
    generator: Params


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
        swap_acceptance_rate: of neighbouring temperatures, averaged along the chains, shape
            (K - 1,); None without replica exchange.
    """

    temperatures: Float[Array, "K"]
    posterior: tempered.TemperedState
    prior: ula.ULAState | mala.MALAState
    posterior_statistic: Float[Array, "K C batch"]
    prior_statistic: Float[Array, "M"]
    swap_acceptance_rate: Float[Array, "K-1"] | None = None


class _ChainEnds(NamedTuple):
    """Last states of chains, and averages along them; the latter as in :class:`Draws`."""

    state: Any
    statistic: Array
    swap_acceptance_rate: Array | None


def _over_leading_axes(
    network: Network, params: Params, z: Float[Array, "*lead d"], name: str
) -> Array:
    lead, rows = z.shape[:-1], z.reshape(-1, z.shape[-1])
    output = network.apply(params, rows)
    if output.shape[:1] != rows.shape[:1]:
        raise InputError(
            f"{name} returned shape {output.shape} for latent vectors of shape {rows.shape}; "
            f"expected a leading axis of {rows.shape[0]}"
        )
    return output.reshape(lead + output.shape[1:])


@dataclass(frozen=True, eq=False)
class LatentEBM:
    r"""A generator whose latent prior is an energy-based model.

    .. math::
        p_\alpha(z) = \frac{1}{Z_\alpha} e^{f_\alpha(z)} N(z; 0, I), \qquad
        p_\beta(x|z) = \text{likelihood}(x; g_\beta(z)),

    trained with draws from short Langevin chains (Pang et al. 2020). Methods compile
    once per model object and shape; samples carry no gradient. A temperature t here is the power
    of the likelihood, from the prior at 0 to the posterior at 1; all chains follow their density
    itself, :math:`p^{1/T}` with T = 1.

    Attributes:
        prior_network: network (n, latent_dim) -> (n,) or (n, 1) of f, the *negative* energy: larger
            means more probable. Metrics and figures show the energy, -f.
        generator: network (n, latent_dim) -> (n, ...) of the likelihood's parameters.
        likelihood: observation model, such as :func:`tempered_ebm.likelihoods.gaussian`.
        latent_dim: dimension of z.
        prior_chain: length and step size of the prior chains.
        posterior_chain: length and step size of the posterior chains at t = 1.
        metropolis: whether the chains are Metropolis-adjusted (MALA) or not (ULA).
        replica_exchange: whether the posterior chains of neighbouring temperatures swap places,
            where there is a ladder (:func:`tempered_ebm.replica_exchange`).
        temperature_block: number of temperatures whose likelihoods are evaluated at once, to save
            memory; None for all of them. Draws depend on it by rounding alone.

    Raises:
        InputError: for an argument of another kind, a size or step size that is not positive, or a
            chain with other settings than these two.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> ebm = te.models.LatentEBM(
        ...     prior_network=te.networks.mlp_network((32,)),
        ...     generator=te.networks.mlp_generator((8, 8, 1), widths=(32,)),
        ...     likelihood=te.likelihoods.gaussian(sigma=0.3),
        ...     latent_dim=4,
        ... )
        >>> params = ebm.init(jax.random.key(0))
        >>> ebm.generate(jax.random.key(1), params, num_samples=3).shape
        (3, 8, 8, 1)
    """

    prior_network: Any
    generator: Any
    likelihood: Likelihood
    latent_dim: int
    prior_chain: ChainSettings = pang2020.prior
    posterior_chain: ChainSettings = pang2020.posterior
    metropolis: bool = False
    replica_exchange: bool = False
    temperature_block: int | None = None

    def __post_init__(self) -> None:
        checks.at_least("latent_dim", self.latent_dim, 1)
        if self.temperature_block is not None:
            checks.at_least("temperature_block", self.temperature_block, 1)
        for name in ("prior_chain", "posterior_chain"):
            chain = getattr(self, name)
            require_chain(name, chain)
            if chain != ChainSettings(chain.num_steps, chain.step_size):
                raise InputError(f"{name} takes num_steps and step_size alone, got {chain}")
        require_likelihood(self.likelihood)
        for name in ("prior_network", "generator"):
            object.__setattr__(self, name, as_network(getattr(self, name), name))

    def init(self, rng_key: PRNGKey) -> LatentEBMParams:
        """Draw initial parameters.

        Raises:
            InputError: if the prior network does not return one value per latent vector, or
                the generator one output each.
        """
        prior_key, generator_key = jax.random.split(rng_key)
        # Unequal axes, so that a network that confuses them has the wrong shape.
        z = jnp.zeros((self.latent_dim + 1, self.latent_dim))
        params = LatentEBMParams(
            self.prior_network.init(prior_key, z), self.generator.init(generator_key, z)
        )
        self.negative_energy(params, z)
        self._output(params, z)
        return params

    def negative_energy(
        self, params: LatentEBMParams, z: Float[Array, "*lead d"]
    ) -> Float[Array, "*lead"]:
        """Evaluate ``f_α(z)``, the negative energy, one value per latent vector.

        Raises:
            InputError: if the network returns anything but one value per latent vector.
        """
        value = _over_leading_axes(self.prior_network, params.prior, z, "prior_network")
        lead = z.shape[:-1]
        if value.shape not in (lead, (*lead, 1)):
            raise InputError(
                f"prior_network returned shape {value.shape} for latent vectors of shape "
                f"{z.shape}; expected one value each, {lead} or {(*lead, 1)}"
            )
        return value.reshape(lead)

    def logprior(
        self, params: LatentEBMParams, z: Float[Array, "*lead d"]
    ) -> Float[Array, "*lead"]:
        """Evaluate ``f_α(z) + log N(z; 0, I)``, that is ``log p_α(z) + log Z_α``, in nats."""
        log_normal = -0.5 * jnp.sum(z**2, -1) - 0.5 * self.latent_dim * math.log(2 * math.pi)
        return self.negative_energy(params, z) + log_normal

    def decode(self, params: LatentEBMParams, z: Float[Array, "*lead d"]) -> Float[Array, "..."]:
        """Return the expected observation ``E[x | z]`` of each latent vector."""
        return self.likelihood.mean(self._output(params, z))

    def _output(self, params: LatentEBMParams, z: Float[Array, "*lead d"]) -> Array:
        return _over_leading_axes(self.generator, params.generator, z, "generator")

    def loglikelihood(
        self, params: LatentEBMParams, x: Float[Array, "batch ..."], z: Float[Array, "*lead d"]
    ) -> Float[Array, "*lead"]:
        """Evaluate ``log p_β(x | z)`` in nats; the last leading axis of ``z`` is the batch.

        If ``z`` has axes before that one, ``temperature_block`` entries of the first are evaluated
        at once.
        """
        # All at once by default: no block has been clearly faster on CPU, and blocks save memory.
        size = self.temperature_block
        if size is None or z.ndim < 3 or z.shape[0] <= size:
            return self._loglikelihood((params, x), z)
        return in_blocks(self._loglikelihood, size, (params, x), z)

    def _loglikelihood(self, operands: tuple[LatentEBMParams, Array], z: Array) -> Array:
        params, x = operands
        return self.likelihood.log_prob(x, self._output(params, z), event_ndim=x.ndim - 1)

    def log_joint(
        self, params: LatentEBMParams, x: Float[Array, "batch ..."], z: Float[Array, "*lead d"]
    ) -> Float[Array, "*lead"]:
        """Evaluate ``log p(x, z) + log Z_α``, without the normaliser of the prior, in nats."""
        return self.logprior(params, z) + self.loglikelihood(params, x, z)

    def target(self, params: LatentEBMParams, x: Float[Array, "batch ..."]) -> TemperedTarget:
        """Return the tempered path from the prior to the posterior of each observation.

        Positions have shape (..., batch, latent_dim).
        """
        return TemperedTarget(
            lambda z: self.logprior(params, z), lambda z: self.loglikelihood(params, x, z)
        )

    def step_sizes(self, temperatures: Float[Array, "*K"]) -> Float[Array, "*K"]:
        r"""Return the step size at each temperature.

        .. math:: 1/h_t = (1-t)/h_{prior} + t/h_{posterior}

        The precision of a Gaussian :math:`q_t` is linear in t, and the stable step is
        inverse to it.
        """
        prior, posterior = self.prior_chain.step_size, self.posterior_chain.step_size
        return 1.0 / ((1 - temperatures) / prior + temperatures / posterior)

    def prior_kernel(self, params: LatentEBMParams) -> SamplingAlgorithm:
        """Return the Langevin kernel of the prior chains."""
        build = mala.as_top_level_api if self.metropolis else ula.as_top_level_api
        return build(lambda z: self.logprior(params, z), self.prior_chain.step_size)

    def posterior_kernel(
        self,
        params: LatentEBMParams,
        x: Float[Array, "batch ..."],
        temperatures: Float[Array, "K"],
    ) -> SamplingAlgorithm:
        """Return the kernel of the posterior chains, all temperatures in one batch."""
        if self.replica_exchange and temperatures.shape[0] > 1:
            return replica_exchange.as_top_level_api(
                self.target(params, x),
                temperatures,
                self.step_sizes(temperatures),
                metropolis=self.metropolis,
            )
        build = tempered.tempered_mala if self.metropolis else tempered.tempered_ula
        return build(self.target(params, x), temperatures, self.step_sizes(temperatures))

    @functools.partial(jax.jit, static_argnames=("self", "shape"))
    def _run(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        posterior_of: tuple[Array, Array] | None,
        shape: tuple[int, ...],
        initial: Array | None,
    ) -> _ChainEnds:
        """Run chains of the prior, or of the posterior of observations along a ladder.

        They start from ``initial``, or from draws of N(0, I) of this shape.
        """
        start_key, run_key = jax.random.split(rng_key)
        if initial is None:
            initial = jax.random.normal(start_key, shape)
        if posterior_of is None:
            kernel, chain = self.prior_kernel(params), self.prior_chain
        else:
            kernel, chain = self.posterior_kernel(params, *posterior_of), self.posterior_chain

        def statistics(state: Any, info: Any) -> tuple[Array, Array | None]:
            local = info.acceptance_rate if self.metropolis else info.drift_norm
            return local, getattr(info, "swap_acceptance_rate", None)

        state, moments = inference.run_with_moments(
            run_key, kernel, kernel.init(initial), chain.num_steps, statistic_fn=statistics
        )
        return _ChainEnds(state, *moments.mean)

    def sample_prior(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        num_samples: int,
        initial: Float[Array, "num_samples d"] | None = None,
    ) -> Float[Array, "num_samples d"]:
        """Return latent vectors at the ends of prior chains.

        Args:
            rng_key: key of start and chain.
            params: parameters of the model.
            num_samples: number of chains.
            initial: where they start; draws from N(0, I) by default.

        Raises:
            InputError: if ``num_samples`` is below 1, or ``initial`` is not one start each.
        """
        checks.at_least("num_samples", num_samples, 1)
        shape = (num_samples, self.latent_dim)
        if initial is not None:
            checks.shape("initial", initial, shape)
        return self._run(rng_key, params, None, shape, initial).state.position

    def sample_posterior(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        x: Float[Array, "batch ..."],
        temperatures: Float[Array, "K"] | None = None,
        initial: Float[Array, "*K batch d"] | None = None,
    ) -> Float[Array, "*K batch d"]:
        """Return latent vectors at the ends of tempered posterior chains, one per observation.

        Args:
            rng_key: key of start and chains.
            params: parameters of the model.
            x: observations; the leading axis is the batch.
            temperatures: ladder; all temperatures run in one batch. Without one, t = 1.
            initial: where the chains start; draws from N(0, I) by default.

        Returns:
            Shape (K, batch, latent_dim), or (batch, latent_dim) without a ladder.

        Raises:
            InputError: if ``temperatures`` is not a ladder, ``x`` does not fit the generator, or
                ``initial`` is not one start per chain.
        """
        checks.floating("x", x)
        ladder = jnp.ones(1) if temperatures is None else schedules.validate(temperatures)
        shape = (ladder.shape[0], x.shape[0], self.latent_dim)
        if initial is not None:
            lead = () if temperatures is None else ladder.shape
            checks.shape("initial", initial, (*lead, x.shape[0], self.latent_dim))
            initial = initial.reshape(shape)
        z = self._run(rng_key, params, (x, ladder), shape, initial).state.position
        return z[0] if temperatures is None else z

    def generate(
        self, rng_key: PRNGKey, params: LatentEBMParams, num_samples: int
    ) -> Float[Array, "num_samples ..."]:
        """Return expected observations at latent vectors from the prior chains.

        Args:
            rng_key: key of start and chains.
            params: parameters of the model.
            num_samples: number of observations.

        Raises:
            InputError: if ``num_samples`` is below 1.
        """
        return self.decode(params, self.sample_prior(rng_key, params, num_samples))

    def reconstruct(
        self, rng_key: PRNGKey, params: LatentEBMParams, x: Float[Array, "batch ..."]
    ) -> Float[Array, "batch ..."]:
        """Return expected observations at latent vectors from the posterior chains of ``x``.

        Args:
            rng_key: key of start and chains.
            params: parameters of the model.
            x: observations; the leading axis is the batch.

        Raises:
            InputError: if ``x`` does not fit the generator.
        """
        return self.decode(params, self.sample_posterior(rng_key, params, x))

    def draw(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        x: Float[Array, "batch ..."],
        temperatures: Float[Array, "K"] | None = None,
        *,
        num_chains: int = 1,
        num_prior: int | None = None,
        initial_posterior: Float[Array, "K C batch d"] | None = None,
        initial_prior: Float[Array, "M d"] | None = None,
    ) -> Draws:
        """Run the chains that a learning gradient needs, without a gradient of their own.

        Args:
            rng_key: key of all chains.
            params: parameters of the model.
            x: observations; the leading axis is the batch.
            temperatures: temperatures of the posterior chains; t = 1 alone by default.
            num_chains: independent posterior chains (ladders of them) per observation, C.
            num_prior: number of prior chains; as many as observations by default.
            initial_posterior: where the posterior chains start; N(0, I) by default.
            initial_prior: where the prior chains start; N(0, I) by default.

        Raises:
            InputError: if a count is below 1 or a start does not have the chains' shape.
        """
        checks.floating("x", x)
        ladder = jnp.ones(1) if temperatures is None else temperatures
        num_prior = x.shape[0] if num_prior is None else num_prior
        checks.at_least("num_prior", num_prior, 1)
        checks.at_least("num_chains", num_chains, 1)
        shape = (ladder.shape[0], num_chains, x.shape[0], self.latent_dim)
        prior_shape = (num_prior, self.latent_dim)
        if initial_posterior is not None:
            checks.shape("initial_posterior", initial_posterior, shape)
        if initial_prior is not None:
            checks.shape("initial_prior", initial_prior, prior_shape)
        keys = jax.random.split(rng_key)
        frozen = jax.lax.stop_gradient((params, x, ladder, initial_posterior, initial_prior))
        params, x, ladder, initial_posterior, initial_prior = frozen
        posterior = self._run(keys[0], params, (x, ladder), shape, initial_posterior)
        prior = self._run(keys[1], params, None, prior_shape, initial_prior)
        fields = tempered.TemperedState._fields
        draws = Draws(
            ladder,
            tempered.TemperedState(*(getattr(posterior.state, name) for name in fields)),
            prior.state,
            posterior.statistic,
            prior.statistic,
            posterior.swap_acceptance_rate,
        )
        return jax.lax.stop_gradient(draws)

    def objective(
        self,
        params: LatentEBMParams,
        x: Float[Array, "batch ..."],
        draws: Draws,
        estimator: learning.Estimator,
    ) -> Float[Array, ""]:
        """Return the estimator's surrogate objective at frozen draws, to be maximised."""
        z = draws.posterior.position
        return estimator.objective(
            draws.temperatures,
            self.loglikelihood(params, x, z),
            self.negative_energy(params, z),
            self.negative_energy(params, draws.prior.position),
        )

    def loss(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        x: Float[Array, "batch ..."],
        *,
        estimator: learning.Estimator | None = None,
        temperatures: Float[Array, "K"] | None = None,
        num_chains: int | None = None,
    ) -> Float[Array, ""]:
        """Return minus the surrogate objective at fresh draws; ``jax.grad`` is the estimator.

        Args:
            rng_key: key of all chains.
            params: parameters of the model.
            x: observations; the leading axis is the batch.
            estimator: one of :mod:`tempered_ebm.learning`; ``posterior()`` by default.
            temperatures: ladder, for the estimators that use one, and for any estimator when
                the chains exchange replicas.
            num_chains: independent posterior chains per observation; as many as the estimator
                needs by default.

        Raises:
            InputError: if the estimator needs a ladder and none is given, or it is not one; if
                it needs more chains.
        """
        estimator = require_estimator(learning.posterior() if estimator is None else estimator)
        num_chains = estimator.min_chains if num_chains is None else num_chains
        checks.at_least("num_chains", num_chains, estimator.min_chains)
        if estimator.uses_ladder and temperatures is None:
            raise InputError(
                f"temperatures must be a ladder for the estimator {estimator.name!r}, got None"
            )
        if temperatures is not None and (estimator.uses_ladder or self.replica_exchange):
            temperatures = schedules.validate(temperatures)
        else:
            temperatures = None
        draws = self.draw(rng_key, params, x, temperatures, num_chains=num_chains)
        return -self.objective(params, x, draws, estimator)

    def log_normalizer(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        *,
        num_ensembles: int = 32,
        **options: Any,
    ) -> EvidenceReport:
        r"""Estimate the log normaliser :math:`\log Z_\alpha` of the learned prior.

        .. math:: \log Z_\alpha = \log E_{N(0, I)}[e^{f_\alpha(z)}]

        :meth:`logprior` less this is the normalised log density :math:`\log p_\alpha(z)`.

        Args:
            rng_key: key of starts and run.
            params: parameters of the model.
            num_ensembles: independent ensembles.
            **options: further arguments of :func:`tempered_ebm.log_evidence`.

        Returns:
            The report of :func:`tempered_ebm.log_normalizer`.
        """
        return evidence.log_normalizer(
            rng_key,
            lambda z: self.negative_energy(params, z),
            self.latent_dim,
            num_ensembles=num_ensembles,
            options=options,
        )

    def log_evidence(
        self,
        rng_key: PRNGKey,
        params: LatentEBMParams,
        x: Float[Array, "batch ..."],
        *,
        temperatures: Float[Array, "K"] | None = None,
        num_chains: int = 16,
        num_warmup: int = 500,
        num_samples: int = 500,
    ) -> evidence.EvidenceEstimate:
        r"""Estimate log p(x) of each observation, all of their ladders in one batch.

        Replica exchange between Metropolis-adjusted chains, whatever ``metropolis`` says: every
        chain of every observation has a ladder of its own. Each is annealed once, from a draw of
        N(0, I) at t = 0 to t = 1, which gives it a start at every temperature. Step sizes are
        tuned per temperature while the chains warm up and then frozen.
        :func:`tempered_ebm.mbar` turns the log-likelihoods into log p(x), without an error of
        discretisation; ``lower_bound`` and ``upper_bound`` are the Riemann sums of
        thermodynamic integration. The normaliser :math:`Z_\alpha` of the prior cancels: the
        path starts at the normalised :math:`p_\alpha`, and :math:`\log Z_0 = 0`. The standard
        error is taken over independent chains, and so grows where chains stay in different
        modes.

        Args:
            rng_key: key of all chains.
            params: parameters of the model.
            x: observations; the leading axis is the batch.
            temperatures: ladder; 24 temperatures of power 5 by default.
            num_chains: independent chains per observation and temperature.
            num_warmup: discarded steps per temperature, in the annealing and again after it.
            num_samples: steps that are kept.

        Returns:
            An estimate whose fields lead with the batch axis.

        Raises:
            InputError: if ``temperatures`` is not a ladder or a count is below 1.

        Warns:
            UserWarning: if neighbours on the ladder hardly swap for some observation, outside
                of ``jit``.
        """
        checks.floating("x", x)
        counts = {"num_chains": num_chains, "num_warmup": num_warmup, "num_samples": num_samples}
        for name, count in counts.items():
            checks.at_least(name, count, 1)
        ladder = schedules.power(24, 5.0) if temperatures is None else temperatures
        ladder = schedules.validate(ladder)
        draws = latent_evidence.loglikelihood_draws(
            rng_key, self, params, x, ladder, *counts.values()
        )
        latent_evidence.warn_of_rare_swaps(ladder, draws)
        return latent_evidence.estimate_each(ladder, draws)
