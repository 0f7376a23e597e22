"""A tempered path from a prior to a posterior, as one object.

This is the only place where the temperature multiplies a log-likelihood.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm import _closures
from tempered_ebm.errors import InputError
from tempered_ebm.types import LogDensityFn, PerChain, Position


class Evaluation(NamedTuple):
    """Both halves of a tempered log-density at one position, kept apart.

    Attributes:
        logprior: log prior density, of the chain shape.
        loglikelihood: log-likelihood ℓ, of the chain shape.
        logprior_grad: gradient of the log prior, shaped like the position.
        loglikelihood_grad: gradient of the log-likelihood, shaped like the position.
    """

    logprior: Float[Array, "*chains"]
    loglikelihood: Float[Array, "*chains"]
    logprior_grad: Position
    loglikelihood_grad: Position


class TemperedTarget(NamedTuple):
    r"""The family of densities between a prior and a posterior.

    .. math:: q_t(z) \propto p(z) \, \exp(t\,\ell(z)), \qquad t \in [0, 1]

    The temperature ``t`` is the power on the likelihood: 0 gives the prior, 1 the posterior. At
    ``t = 0`` the likelihood is not seen at all, even where it is ``-inf`` or NaN
    (Friel and Pettitt 2008).

    Attributes:
        logprior_fn: ``position -> log p(z)``, shape ``()`` or one value per chain. Kernels need
            it up to a constant; :func:`tempered_ebm.log_evidence` needs it normalised.
        loglikelihood_fn: ``position -> ℓ(z)``, the full log-likelihood; same shape.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     logprior_fn=lambda z: -0.5 * jnp.sum(z**2, -1),
        ...     loglikelihood_fn=lambda z: -0.5 * jnp.sum((z - 2.0) ** 2, -1),
        ... )
        >>> float(target.logdensity(jnp.ones(1), 0.5))
        -0.75
    """

    logprior_fn: LogDensityFn
    loglikelihood_fn: LogDensityFn

    def evaluate(self, position: Position) -> Evaluation:
        """Evaluate both functions and both gradients, each exactly once.

        Raises:
            InputError: if the two functions disagree about the chain shape.
        """
        logprior, logprior_grad = chains.value_and_grad(
            self.logprior_fn, position, name="logprior_fn"
        )
        loglikelihood, loglikelihood_grad = chains.value_and_grad(
            self.loglikelihood_fn, position, name="loglikelihood_fn"
        )
        if logprior.shape != loglikelihood.shape:
            raise InputError(
                f"logprior_fn returned shape {logprior.shape} and loglikelihood_fn shape "
                f"{loglikelihood.shape}; expected the same chain shape from both"
            )
        return Evaluation(logprior, loglikelihood, logprior_grad, loglikelihood_grad)

    def logdensity(self, position: Position, temperature: PerChain) -> Float[Array, "*chains"]:
        """Unnormalised ``log q_t`` at ``position``."""
        return temper(temperature, self.logprior_fn(position), self.loglikelihood_fn(position))


def check_target(target: TemperedTarget) -> None:
    """Require a :class:`TemperedTarget` of two functions.

    Raises:
        InputError: if ``target`` is something else, or one of its halves is no function.
    """
    if not isinstance(target, TemperedTarget):
        raise InputError(f"target must be a TemperedTarget, got {target!r}")
    for name, half in target._asdict().items():
        checks.function(name, half, "of a position")


def temper(
    temperature: PerChain, prior_term: Float[Array, "..."], likelihood_term: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Combine a prior term and a likelihood term: ``prior + t * likelihood``.

    Serves values and, leaf by leaf, gradients. A product with ``t = 0`` is 0, also
    for ``-inf`` and NaN. (Differentiating the value itself is another matter: the chain rule
    multiplies zero by the gradient of ℓ. The kernels temper gradients.)

    Args:
        temperature: scalar, or one value per chain, matched from the left.
        prior_term: log prior or its gradient.
        likelihood_term: log-likelihood or its gradient, of the same shape.
    """
    t = chains.expand(temperature, likelihood_term)
    return prior_term + jnp.where(t == 0, jnp.zeros_like(likelihood_term), t * likelihood_term)


def tempered_logdensity(
    cache: Any, temperature: PerChain
) -> tuple[Float[Array, "*chains"], Position]:
    """Value and gradient of ``log q_t`` from the two halves; evaluates nothing.

    Args:
        cache: both halves at one position and their gradients: an :class:`Evaluation`, or the
            state of a tempered chain, which has its four fields.
        temperature: scalar, or one value per chain.
    """
    value = temper(temperature, cache.logprior, cache.loglikelihood)
    temper_leaf = functools.partial(temper, temperature)
    return value, jax.tree.map(temper_leaf, cache.logprior_grad, cache.loglikelihood_grad)


def forward_mode(logdensity_fn: LogDensityFn) -> LogDensityFn:
    """Return a log-density of one position whose derivatives are all taken in forward mode.

    For a log-density with a loop of unknown length (``jax.lax.while_loop``), which has no
    derivatives in reverse mode. A gradient costs one Jacobian-vector product for each coordinate.

    Args:
        logdensity_fn: ``position -> value``, a scalar for one position; ``jax.vmap`` the result
            for a batch of chains.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> def logdensity(z):  # z is halved until it is below one
        ...     return -jax.lax.while_loop(lambda x: x > 1.0, lambda x: x / 2.0, z) ** 2
        >>> float(jax.grad(te.forward_mode(logdensity))(2.0))
        -1.0
    """

    def differentiable(position: Position) -> Array:
        # Data that the function closes over are operands of the rule, not parts of it.
        return _forward(_closures.close(logdensity_fn, position), position)

    return differentiable


@jax.custom_jvp
def _forward(logdensity_fn: LogDensityFn, position: Position) -> Array:
    return logdensity_fn(position)


@_forward.defjvp
def _forward_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """Take the whole gradient, so that what depends on the tangent is linear and transposes."""
    logdensity_fn, position = primals
    vector, unravel = ravel_pytree(position)

    def twice(vector: Array) -> tuple[Array, Array]:
        value = logdensity_fn(unravel(vector))
        return value, value

    grad, value = jax.jacfwd(twice, has_aux=True)(vector)
    return value, grad @ ravel_pytree(tangents[1])[0]
