"""The variational autoencoder of Kingma and Welling (2014), as a baseline of the latent EBM."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.kernels.presets import ChainSettings
from tempered_ebm.models.latent_ebm import LatentEBM, LatentEBMParams
from tempered_ebm.models.likelihoods import Likelihood, require_likelihood
from tempered_ebm.networks.adapters import PureNetwork, as_network, require_output
from tempered_ebm.types import Params, PRNGKey


class VAEParams(NamedTuple):
    """Parameters of the two networks.

    Attributes:
        encoder: parameters of the encoder.
        generator: parameters of the generator.
    """

    encoder: Params
    generator: Params


_ZERO_NETWORK = PureNetwork(lambda rng_key, z: {}, lambda params, z: jnp.zeros(z.shape[:1]))


@dataclass(frozen=True, eq=False)
class VAE:
    r"""A generator with the prior N(0, I) and an encoder for its posterior.

    .. math::
        p(z) = N(z; 0, I), \quad p_\beta(x|z) = \text{likelihood}(x; g_\beta(z)), \quad
        q_\phi(z|x) = N(z; m_\phi(x), \operatorname{diag} s_\phi(x)^2),

    trained on the evidence lower bound

    .. math::
        \log p(x) \ge E_{q_\phi}[\log p_\beta(x|z)] - KL(q_\phi(z|x) \,\|\, N(0, I)), \quad
        KL = \tfrac12 \sum_i (m_i^2 + s_i^2 - 1 - 2 \log s_i)

    (Kingma and Welling 2014, equation 3 and appendix B), with one reparametrised draw of z.
    All but the prior and the posterior draws is as in :class:`LatentEBM`, so that it is a baseline
    of the same size.

    Attributes:
        encoder: network (n, ...) -> (n, 2 latent_dim), mean and log standard deviation.
        generator: network (n, latent_dim) -> (n, ...) of the likelihood's parameters.
        likelihood: observation model, such as :func:`tempered_ebm.likelihoods.gaussian`.
        latent_dim: dimension of z.

    Raises:
        InputError: for a network that is none, or a latent dimension below 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> vae = te.models.VAE(
        ...     encoder=te.networks.mlp_encoder(8, widths=(32,)),
        ...     generator=te.networks.mlp_generator((8, 8, 1), widths=(32,)),
        ...     likelihood=te.likelihoods.gaussian(sigma=0.3),
        ...     latent_dim=4,
        ... )
        >>> params = vae.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        >>> vae.generate(jax.random.key(1), params, num_samples=3).shape
        (3, 8, 8, 1)
    """

    encoder: Any
    generator: Any
    likelihood: Likelihood
    latent_dim: int

    def __post_init__(self) -> None:
        checks.at_least("latent_dim", self.latent_dim, 1)
        require_likelihood(self.likelihood)
        for name in ("encoder", "generator"):
            object.__setattr__(self, name, as_network(getattr(self, name), name))

    def init(self, rng_key: PRNGKey, x: Float[Array, "n ..."]) -> VAEParams:
        """Draw initial parameters.

        Args:
            rng_key: key of both networks.
            x: observations, for their shape.

        Raises:
            InputError: if the encoder does not return two values per latent dimension.
        """
        encoder_key, generator_key = jax.random.split(rng_key)
        params = VAEParams(
            self.encoder.init(encoder_key, x),
            self.generator.init(generator_key, jnp.zeros((1, self.latent_dim))),
        )
        self.encode(params, x)
        return params

    def encode(
        self, params: VAEParams, x: Float[Array, "batch ..."]
    ) -> tuple[Float[Array, "batch d"], Float[Array, "batch d"]]:
        """Return mean and log standard deviation of the approximate posterior of each observation.

        Raises:
            InputError: if the encoder does not return two values per latent dimension.
        """
        checks.floating("x", x)
        output = self.encoder.apply(params.encoder, x)
        expected = (x.shape[0], 2 * self.latent_dim)
        require_output("encoder", output, x, expected, ", mean and log standard deviation")
        mean, log_sd = jnp.split(output, 2, axis=-1)
        return mean, log_sd

    def sample_posterior(
        self, rng_key: PRNGKey, params: VAEParams, x: Float[Array, "batch ..."]
    ) -> Float[Array, "batch d"]:
        """Return one draw from the approximate posterior of each observation."""
        return _draw(rng_key, *self.encode(params, x))

    def decode(self, params: VAEParams, z: Float[Array, "n d"]) -> Float[Array, "n ..."]:
        """Return the expected observation ``E[x | z]`` of each latent vector."""
        return self.likelihood.mean(self.generator.apply(params.generator, z))

    def evidence_terms(
        self, rng_key: PRNGKey, params: VAEParams, x: Float[Array, "batch ..."]
    ) -> tuple[Float[Array, "batch"], Float[Array, "batch"]]:
        """Return the log-likelihood at one posterior draw and the KL divergence, in nats.

        The mean of their difference is the evidence lower bound.
        """
        mean, log_sd = self.encode(params, x)
        output = self.generator.apply(params.generator, _draw(rng_key, mean, log_sd))
        loglikelihood = self.likelihood.log_prob(x, output, event_ndim=x.ndim - 1)
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) - 1 - 2 * log_sd, axis=-1)
        return loglikelihood, kl

    def loss(
        self, rng_key: PRNGKey, params: VAEParams, x: Float[Array, "batch ..."]
    ) -> Float[Array, ""]:
        """Return minus the evidence lower bound at one draw each, averaged over observations."""
        loglikelihood, kl = self.evidence_terms(rng_key, params, x)
        return jnp.mean(kl - loglikelihood)

    @functools.partial(jax.jit, static_argnames=("self", "num_samples"))
    def generate(
        self, rng_key: PRNGKey, params: VAEParams, num_samples: int
    ) -> Float[Array, "num_samples ..."]:
        """Return expected observations at latent vectors from N(0, I).

        Args:
            rng_key: key of the latent vectors.
            params: parameters of the model.
            num_samples: number of observations.
        """
        return self.decode(params, jax.random.normal(rng_key, (num_samples, self.latent_dim)))

    @functools.partial(jax.jit, static_argnames="self")
    def reconstruct(
        self, rng_key: PRNGKey, params: VAEParams, x: Float[Array, "batch ..."]
    ) -> Float[Array, "batch ..."]:
        """Return expected observations at one posterior draw of each observation."""
        return self.decode(params, self.sample_posterior(rng_key, params, x))

    def as_latent_ebm(self, posterior_chain: ChainSettings) -> LatentEBM:
        """Return the same generative model as a latent EBM whose energy is zero.

        Its evidence is that of this model, estimated without the encoder:
        ``vae.as_latent_ebm(chain).log_evidence(rng_key, latent_ebm_params(params), x)``.

        Args:
            posterior_chain: length and step size of its posterior chains.
        """
        return LatentEBM(
            prior_network=_ZERO_NETWORK,
            generator=self.generator,
            likelihood=self.likelihood,
            latent_dim=self.latent_dim,
            posterior_chain=posterior_chain,
        )


def latent_ebm_params(params: VAEParams) -> LatentEBMParams:
    """Return the parameters of :meth:`VAE.as_latent_ebm`."""
    return LatentEBMParams(prior={}, generator=params.generator)


def _draw(rng_key: PRNGKey, mean: Array, log_sd: Array) -> Array:
    return mean + jnp.exp(log_sd) * jax.random.normal(rng_key, mean.shape)
