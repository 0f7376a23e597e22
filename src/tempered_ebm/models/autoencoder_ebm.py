"""Autoencoders with an energy-based model of their codes."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import evidence
from tempered_ebm.evidence import EvidenceReport
from tempered_ebm.kernels.presets import ChainSettings
from tempered_ebm.models.data_ebm import DataEBM
from tempered_ebm.models.likelihoods import Likelihood, require_likelihood
from tempered_ebm.networks.adapters import as_network, require_output
from tempered_ebm.types import Params, PRNGKey

_DEFAULT_CHAIN = ChainSettings(num_steps=20, step_size=0.1, metropolis=True)


class AutoencoderEBMParams(NamedTuple):
    """Parameters of the three networks, and the scale of the codes.

    Attributes:
        encoder: parameters of the encoder.
        decoder: parameters of the decoder.
        prior: parameters of the prior network.
        location: mean of the encoder's outputs over the training set, (d,).
        scale: their standard deviation, (d,).
    """

    encoder: Params
    decoder: Params
    prior: Params
    location: Float[Array, "d"]
    scale: Float[Array, "d"]


@dataclass(frozen=True, eq=False)
class AutoencoderEBM:
    r"""A deterministic autoencoder, and a density of its standardised codes.

    .. math::
        z = (e(x) - m) / s, \qquad x \sim \text{likelihood}(d(m + s z)), \qquad
        p(z) = \frac{1}{Z} e^{f(z)} N(z; 0, I)

    The autoencoder is trained by the likelihood alone, the energy -f by contrastive divergence on
    the codes of a frozen autoencoder: no gradient of the one enters the other. With mean m and
    standard deviation s of the training codes, N(0, I) is a baseline of the right scale, so that
    :math:`\log Z` and the likelihood of held-out codes show what f adds.

    Attributes:
        encoder: network (n, ...) -> (n, latent_dim).
        decoder: network (n, latent_dim) -> (n, ...) of the likelihood's parameters.
        prior_network: network (n, latent_dim) -> (n,) or (n, 1) of f, the *negative* energy.
        likelihood: observation model, such as :func:`tempered_ebm.likelihoods.bernoulli`.
        latent_dim: dimension of the code.
        chain: settings of the chains on codes.

    Raises:
        InputError: for a network that is none, or settings out of range.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> model = te.models.AutoencoderEBM(
        ...     encoder=te.networks.mlp_encoder(4, widths=(32,)),
        ...     decoder=te.networks.mlp_decoder((8, 8, 1), widths=(32,)),
        ...     prior_network=te.networks.mlp_network((32,)),
        ...     likelihood=te.likelihoods.bernoulli(),
        ...     latent_dim=4,
        ... )
        >>> params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        >>> model.generate(jax.random.key(1), params, 3, num_steps=50).shape
        (3, 8, 8, 1)
    """

    encoder: Any
    decoder: Any
    prior_network: Any
    likelihood: Likelihood
    latent_dim: int
    chain: ChainSettings = _DEFAULT_CHAIN

    def __post_init__(self) -> None:
        checks.at_least("latent_dim", self.latent_dim, 1)
        require_likelihood(self.likelihood)
        for name in ("encoder", "decoder"):
            object.__setattr__(self, name, as_network(getattr(self, name), name))
        _ = self.codes

    @functools.cached_property
    def codes(self) -> DataEBM:
        """The density of standardised codes, with the parameters ``params.prior``."""
        return DataEBM(self.prior_network, (self.latent_dim,), self.chain, base_scale=1.0)

    def init(self, rng_key: PRNGKey, x: Float[Array, "n ..."]) -> AutoencoderEBMParams:
        """Draw initial parameters; codes have location 0 and scale 1 until they are measured.

        Args:
            rng_key: key of all networks.
            x: observations, for their shape.

        Raises:
            InputError: if the encoder does not return one code per observation.
        """
        keys = jax.random.split(rng_key, 3)
        d = self.latent_dim
        params = AutoencoderEBMParams(
            self.encoder.init(keys[0], x),
            self.decoder.init(keys[1], jnp.zeros((1, d))),
            self.codes.init(keys[2]),
            jnp.zeros(d),
            jnp.ones(d),
        )
        self.encode(params, x)
        return params

    def _raw_codes(self, params: AutoencoderEBMParams, x: Array) -> Array:
        checks.floating("x", x)
        output = self.encoder.apply(params.encoder, x)
        return require_output("encoder", output, x, (x.shape[0], self.latent_dim))

    def encode(self, params: AutoencoderEBMParams, x: Float[Array, "n ..."]) -> Float[Array, "n d"]:
        """Return the standardised code of each observation.

        Raises:
            InputError: if the encoder does not return one code per observation.
        """
        return (self._raw_codes(params, x) - params.location) / params.scale

    def decode(self, params: AutoencoderEBMParams, z: Float[Array, "n d"]) -> Float[Array, "n ..."]:
        """Return the expected observation ``E[x | z]`` of each standardised code."""
        return self.likelihood.mean(
            self.decoder.apply(params.decoder, params.location + params.scale * z)
        )

    def standardize(
        self, params: AutoencoderEBMParams, x: Float[Array, "n ..."]
    ) -> AutoencoderEBMParams:
        """Return parameters whose location and scale are those of the codes of ``x``."""
        codes = self._raw_codes(params, x)
        return params._replace(location=codes.mean(0), scale=codes.std(0) + 1e-6)

    def reconstruction_loss(
        self, params: AutoencoderEBMParams, x: Float[Array, "n ..."]
    ) -> Float[Array, ""]:
        """Return minus the mean log-likelihood of ``x`` given its own code, in nats."""
        output = self.decoder.apply(params.decoder, self._raw_codes(params, x))
        return -jnp.mean(self.likelihood.log_prob(x, output, event_ndim=x.ndim - 1))

    def energy_loss(
        self,
        params: AutoencoderEBMParams,
        x: Float[Array, "n ..."],
        negatives: Float[Array, "m d"],
    ) -> Float[Array, ""]:
        """Return the contrastive loss of the energy at frozen codes and negatives.

        Args:
            params: parameters; only those of the energy have a gradient.
            x: observations.
            negatives: ends of chains on codes.
        """
        z = jax.lax.stop_gradient(self.encode(params, x))
        return self.codes.contrastive_loss(params.prior, z, negatives)

    def sample_codes(
        self,
        rng_key: PRNGKey,
        params: AutoencoderEBMParams,
        num_samples: int,
        *,
        num_steps: int | None = None,
    ) -> Float[Array, "num_samples d"]:
        """Return ends of chains on codes that start from N(0, I).

        Args:
            rng_key: key of starts and chains.
            params: parameters of the model.
            num_samples: number of chains.
            num_steps: their length; that of training by default.
        """
        start_key, chain_key = jax.random.split(rng_key)
        initial = jax.random.normal(start_key, (num_samples, self.latent_dim))
        codes = self.codes
        if num_steps is not None:
            codes = dataclasses.replace(codes, chain=self.chain._replace(num_steps=num_steps))
        return codes.run_chains(chain_key, params.prior, initial).position

    def generate(
        self,
        rng_key: PRNGKey,
        params: AutoencoderEBMParams,
        num_samples: int,
        *,
        num_steps: int | None = None,
    ) -> Float[Array, "num_samples ..."]:
        """Return expected observations at :meth:`sample_codes`."""
        z = self.sample_codes(rng_key, params, num_samples, num_steps=num_steps)
        return self.decode(params, z)

    def log_normalizer(
        self,
        rng_key: PRNGKey,
        params: AutoencoderEBMParams,
        *,
        num_ensembles: int = 32,
        **options: Any,
    ) -> EvidenceReport:
        r"""Estimate :math:`\log Z = \log E_{N(0, I)}[e^{f(z)}]` by tempering.

        ``codes.logdensity`` less this is the normalised log density of codes.

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
            lambda z: self.codes.negative_energy(params.prior, z[None])[0],
            self.latent_dim,
            num_ensembles=num_ensembles,
            options=options,
        )
