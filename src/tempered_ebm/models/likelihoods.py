"""Observation models: full log-densities of data given what a generator puts out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


class Likelihood(Protocol):
    """What a latent-variable model asks of an observation model."""

    def log_prob(self, x: Array, output: Array, *, event_ndim: int) -> Array:
        """Full log-density of ``x``, summed over the trailing ``event_ndim`` axes."""
        ...

    def mean(self, output: Array) -> Array:
        """Expected observation."""
        ...

    def sample(self, rng_key: PRNGKey, output: Array) -> Array:
        """Draw an observation."""
        ...


def _event_shape(x: Array, output: Array, event_ndim: int) -> tuple[int, ...]:
    """Shape of one observation, which ``x`` and ``output`` must agree on."""
    events = x.shape[x.ndim - event_ndim :], output.shape[output.ndim - event_ndim :]
    if events[0] != events[1]:
        raise InputError(
            f"x has observations of shape {events[0]}; expected {events[1]}, as the generator "
            "puts out"
        )
    return events[0]


@dataclass(frozen=True)
class Gaussian:
    """Independent normals around the generator's output; made by :func:`gaussian`.

    Attributes:
        sigma: standard deviation, in units of the data.
    """

    sigma: float

    def log_prob(
        self, x: Float[Array, "..."], output: Float[Array, "..."], *, event_ndim: int
    ) -> Float[Array, "..."]:
        """Full log-density of ``x``, with its normalising constant.

        Args:
            x: observations; leading axes broadcast against those of ``output``.
            output: means, ending in the same ``event_ndim`` axes.
            event_ndim: number of trailing axes that make up one observation.

        Returns:
            One value per observation, in nats.

        Raises:
            InputError: if the event axes of the two do not match.
        """
        shape = _event_shape(x, output, event_ndim)
        axes = tuple(range(-event_ndim, 0))
        squares = jnp.sum(((x - output) / self.sigma) ** 2, axis=axes)
        return -0.5 * squares - math.prod(shape) * (
            jnp.log(self.sigma) + 0.5 * math.log(2 * math.pi)
        )

    def mean(self, output: Float[Array, "..."]) -> Float[Array, "..."]:
        """Expected observation: the output itself."""
        return output

    def sample(self, rng_key: PRNGKey, output: Float[Array, "..."]) -> Float[Array, "..."]:
        """Draw observations around ``output``."""
        return output + self.sigma * jax.random.normal(rng_key, output.shape, output.dtype)


def gaussian(sigma: float) -> Gaussian:
    r"""Gaussian likelihood as a full log-density.

    .. math:: \log p(x|z) = -\frac{\|x - g(z)\|^2}{2\sigma^2} - \frac D2 \log(2\pi\sigma^2)

    The constant matters: a temperature multiplies it too, and an evidence without it
    is of another model.

    Args:
        sigma: standard deviation, positive, in units of the data.

    Raises:
        InputError: if ``sigma`` is not positive and finite.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> likelihood = te.likelihoods.gaussian(sigma=0.3)
        >>> images = jnp.zeros((5, 8, 8, 1))
        >>> likelihood.log_prob(images, images, event_ndim=3).shape
        (5,)
    """
    checks.positive("sigma", sigma)
    return Gaussian(sigma)


@dataclass(frozen=True)
class Bernoulli:
    """Independent coins whose log-odds the generator puts out; made by :func:`bernoulli`."""

    def log_prob(
        self, x: Float[Array, "..."], output: Float[Array, "..."], *, event_ndim: int
    ) -> Float[Array, "..."]:
        """Log-probability of ``x``.

        Args:
            x: observations of 0 and 1; leading axes broadcast against those of ``output``.
            output: log-odds of 1, ending in the same ``event_ndim`` axes.
            event_ndim: number of trailing axes that make up one observation.

        Returns:
            One value per observation, in nats.

        Raises:
            InputError: if the event axes of the two do not match.
        """
        _event_shape(x, output, event_ndim)
        values = x * output - jax.nn.softplus(output)
        return jnp.sum(values, axis=tuple(range(-event_ndim, 0)))

    def mean(self, output: Float[Array, "..."]) -> Float[Array, "..."]:
        """Probability of 1."""
        return jax.nn.sigmoid(output)

    def sample(self, rng_key: PRNGKey, output: Float[Array, "..."]) -> Float[Array, "..."]:
        """Draw observations of 0 and 1."""
        return jax.random.bernoulli(rng_key, jax.nn.sigmoid(output)).astype(output.dtype)


def bernoulli() -> Bernoulli:
    r"""Bernoulli likelihood of binary observations, given log-odds.

    .. math:: \log p(x|z) = \sum_i x_i g_i(z) - \log(1 + e^{g_i(z)})

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> likelihood = te.likelihoods.bernoulli()
        >>> float(likelihood.log_prob(jnp.ones((1, 2)), jnp.zeros((1, 2)), event_ndim=1)[0])
        -1.3862943649291992
    """
    return Bernoulli()
