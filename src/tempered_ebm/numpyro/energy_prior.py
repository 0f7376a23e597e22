"""An energy-based model as the prior inside a NumPyro model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, constraints

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey


class EnergyPrior(Distribution):
    r"""A distribution on real vectors or arrays, given by an unnormalised log-density.

    .. math:: \log p(z) = f(z) + \log p_0(z) - \log Z

    ``f`` is ``negative_energy_fn``, the *negative* energy (larger is more probable), and ``p0`` the
    base, such as the N(0, I) of a latent EBM prior (Pang et al. 2020). ``log_prob`` leaves out
    ``log Z``, which is not known. Draws given data do not depend on it, and it cancels in
    :func:`tempered_ebm.numpyro.log_evidence`, whose path begins at this prior; but the
    parameters of ``f`` cannot be inferred along with ``z``, and an integral of ``exp log_prob`` by
    other means is too large by Z. :func:`tempered_ebm.log_normalizer` estimates log Z.

    Args:
        negative_energy_fn: ``z -> f(z)``, a scalar for one ``z`` of shape ``event_shape``; it is
            mapped over plates and batches.
        event_shape: shape of one ``z``.
        base: distribution of that event shape and no batch shape, or None for ``f`` alone.
        sampler: ``(rng_key, sample_shape) -> draws`` of shape ``sample_shape +
            event_shape``; without it, ``sample`` raises.
        validate_args: as in NumPyro.

    Raises:
        InputError: if the base has another event shape, or a batch shape; by ``log_prob``,
            if ``negative_energy_fn`` returns no scalar; by ``sample``, ``NotImplementedError``
            without a sampler.

    Example:
        >>> import jax.numpy as jnp, numpyro.distributions as dist, tempered_ebm as te
        >>> base = dist.Normal(0.0, 1.0).expand([2]).to_event(1)
        >>> prior = te.numpyro.EnergyPrior(lambda z: 0.5 * z.sum(), (2,), base=base)
        >>> prior.log_prob(jnp.zeros((3, 2))).shape
        (3,)
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    pytree_data_fields = ("base",)
    pytree_aux_fields = ("negative_energy_fn", "sampler")

    def __init__(
        self,
        negative_energy_fn: Callable[[Array], Array],
        event_shape: tuple[int, ...],
        *,
        base: Distribution | None = None,
        sampler: Callable[[PRNGKey, tuple[int, ...]], Array] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        checks.function("negative_energy_fn", negative_energy_fn, "of one z")
        if not isinstance(event_shape, tuple | list):
            raise InputError(f"event_shape must be a tuple of integers, got {event_shape!r}")
        for size in event_shape:
            checks.at_least("event_shape", size, 0)
        event_shape = tuple(event_shape)
        if not isinstance(base, Distribution | None):
            raise InputError(f"base must be a NumPyro distribution or None, got {base!r}")
        if sampler is not None:
            checks.function("sampler", sampler, "(rng_key, sample_shape) -> draws")
        if base is not None and (base.event_shape, base.batch_shape) != (event_shape, ()):
            raise InputError(
                f"base must have event shape {event_shape} and no batch shape, got "
                f"{base.event_shape} and {base.batch_shape}"
            )
        self.negative_energy_fn = negative_energy_fn
        self.base = base
        self.sampler = sampler
        super().__init__((), event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """All real arrays of the event shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def sample(self, key: PRNGKey, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw with the sampler given to the constructor."""
        if self.sampler is None:
            raise NotImplementedError(
                "an EnergyPrior has no exact sampler; run a Markov chain on it, or give one: "
                "EnergyPrior(..., sampler=lambda rng_key, sample_shape: ...)"
            )
        return self.sampler(key, sample_shape)

    def log_prob(self, value: Array) -> Float[Array, "..."]:
        """Unnormalised log-density, one value for each leading index."""
        batch = jnp.shape(value)[: jnp.ndim(value) - len(self.event_shape)]
        events = jnp.reshape(value, (math.prod(batch), *self.event_shape))
        values = jax.vmap(self.negative_energy_fn)(events)
        if values.ndim != 1:
            raise InputError(
                "negative_energy_fn must return a scalar for one z of shape "
                f"{self.event_shape}, got shape {values.shape[1:]}"
            )
        log_prob = values.reshape(batch)
        return log_prob if self.base is None else log_prob + self.base.log_prob(value)
