"""Observation models: full log-densities of data given the output of a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


class Likelihood(Protocol):
    """Interface of an observation model, as latent-variable models use it."""

    def log_prob(self, x: Array, output: Array, *, event_ndim: int) -> Array:
        """Evaluate the full log-density of ``x``, summed over the trailing ``event_ndim`` axes."""
        ...

    def mean(self, output: Array) -> Array:
        """Return the expected observation."""
        ...

    def sample(self, rng_key: PRNGKey, output: Array) -> Array:
        """Draw an observation."""
        ...


def require_likelihood(value: Any) -> None:
    """Require an observation model, an object with the methods of :class:`Likelihood`."""
    expected = "an observation model, such as tempered_ebm.likelihoods.gaussian(0.3)"
    if isinstance(value, type):
        raise InputError(f"likelihood must be {expected}, got the class {value!r}")
    checks.has_methods("likelihood", value, ("log_prob", "mean", "sample"), expected)


def _event_shape(x: Array, output: Array, event_ndim: int) -> tuple[int, ...]:
    """Return the shape of one observation, the same in ``x`` and ``output``."""
    events = x.shape[x.ndim - event_ndim :], output.shape[output.ndim - event_ndim :]
    if events[0] != events[1]:
        raise InputError(
            f"x has observations of shape {events[0]}; expected {events[1]}, as the "
            "generator returns them"
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
        """Evaluate the log-density of ``x``, with its normalising constant.

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
        """Return the expected observation, the output itself."""
        return output

    def sample(self, rng_key: PRNGKey, output: Float[Array, "..."]) -> Float[Array, "..."]:
        """Draw observations around ``output``."""
        return output + self.sigma * jax.random.normal(rng_key, output.shape, output.dtype)


def gaussian(sigma: float) -> Gaussian:
    r"""Return a Gaussian likelihood, a full log-density.

    .. math:: \log p(x|z) = -\frac{\|x - g(z)\|^2}{2\sigma^2} - \frac D2 \log(2\pi\sigma^2)

    A temperature t multiplies the constant too, and an evidence without it is that of another
    model.

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
    """Independent binary values whose log-odds are the output; made by :func:`bernoulli`."""

    def log_prob(
        self, x: Float[Array, "..."], output: Float[Array, "..."], *, event_ndim: int
    ) -> Float[Array, "..."]:
        """Evaluate the log-probability of ``x``.

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
        """Return the probability of 1."""
        return jax.nn.sigmoid(output)

    def sample(self, rng_key: PRNGKey, output: Float[Array, "..."]) -> Float[Array, "..."]:
        """Draw observations of 0 and 1."""
        return jax.random.bernoulli(rng_key, jax.nn.sigmoid(output)).astype(output.dtype)


def bernoulli() -> Bernoulli:
    r"""Return a Bernoulli likelihood of binary observations, given log-odds.

    .. math:: \log p(x|z) = \sum_i x_i g_i(z) - \log(1 + e^{g_i(z)})

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> likelihood = te.likelihoods.bernoulli()
        >>> float(likelihood.log_prob(jnp.ones((1, 2)), jnp.zeros((1, 2)), event_ndim=1)[0])
        -1.3862943649291992
    """
    return Bernoulli()
