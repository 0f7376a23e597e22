"""Missing data: latent values from which a mask takes the density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
)
from numpyro.infer import init_to_uniform
from numpyro.infer.util import log_density
from numpyro.primitives import Messenger

from numpyro import handlers
from tempered_ebm import _closures
from tempered_ebm.numpyro.sites import Fixed, Model
from tempered_ebm.target import forward_mode
from tempered_ebm.types import PRNGKey

_NUM_LOOKS = 3


class _Flags(NamedTuple):
    """What the values of a site are, and how many last axes are one event in the model."""

    counted: Bool[np.ndarray, "*batch"]
    imputed: Bool[np.ndarray, "*batch"]
    idle: Bool[np.ndarray, "*batch"]
    event_ndim: int


class Missing(NamedTuple):
    r"""What masked latent values are to the integral of a model.

    A masked latent value has no density of its own. Where it enters nothing else, such as the
    latent twin of an observed row under ``obs_mask``, it is *idle*: it is held fixed, and is no
    part of the integral. Where it is a value of an observed site, it is *imputed*, and the joint
    density is proper. Its own density then both multiplies the prior and divides the likelihood,

    .. math:: p(\theta)\, L(\theta, y)
        = [p(\theta)\, p(y \mid \theta)] \; [L(\theta, y) / p(y \mid \theta)]

    which leaves the integral as it is and makes the prior a normalised one that can be sampled.

    Attributes:
        sites: flags of the masked latent sites with idle or imputed values, by name.
    """

    sites: dict[str, _Flags]

    def in_prior(self, model: Model) -> Model:
        """Return the model in which imputed values have their own density."""

        def change(msg: dict, name: str, flags: _Flags) -> None:
            base = _unmasked(msg["fn"])[0]
            if msg["name"] != name:  # The Jacobian, one for each event.
                batch = flags.idle.shape[: flags.idle.ndim - flags.event_ndim]
                msg["fn"] = base.mask(~flags.idle.reshape(*batch, -1)[..., 0])
                return
            # What is neither counted nor idle is flat, as the model has it.
            is_flat = not (flags.counted | flags.idle).all()
            masked = (MaskedDistribution if is_flat else Fixed)(base, jnp.asarray(flags.counted))
            msg["fn"] = masked.to_event(flags.event_ndim)

        return _Changed(model, self.sites, change) if self.sites else model

    def in_likelihood(self, model: Model) -> Model:
        """Return the model in which imputed values have the inverse of their own density."""

        def change(msg: dict, name: str, flags: _Flags) -> None:
            masked = _unmasked(msg["fn"])[0].mask(flags.imputed)
            msg["fn"] = masked.to_event(flags.event_ndim)
            msg["scale"] = -1.0 if msg["scale"] is None else -msg["scale"]

        return _Changed(model, self.sites, change) if self.sites else model

    def is_imputed(self, name: str) -> bool:
        """Return whether a site has imputed values."""
        return name in self.sites and bool(self.sites[name].imputed.any())

    def without_idle(self, position: dict[str, Array]) -> dict[str, Array]:
        """Return an unconstrained position without its idle values."""
        kept = dict(position)
        for name, (_, _, idle, _) in self.sites.items():
            if idle.all():
                del kept[name]
            elif idle.any():
                kept[name] = position[name].reshape(idle.size, -1)[np.flatnonzero(~idle)]
        return kept

    def with_idle(self, position: dict[str, Array], whole: dict[str, Array]) -> dict[str, Array]:
        """Return an unconstrained position with the idle values of a whole one."""
        filled = dict(position)
        for name, (_, _, idle, _) in self.sites.items():
            if idle.any():
                rows = whole[name].reshape(idle.size, -1)
                if name in position:
                    rows = rows.at[np.flatnonzero(~idle)].set(position[name])
                filled[name] = rows.reshape(whole[name].shape)
        return filled


NOTHING_MISSING = Missing({})


class _Changed(Messenger):
    """A model in which distributions of some latent sites and their Jacobians are changed."""

    def __init__(
        self, model: Model, sites: dict[str, _Flags], change: Callable[[dict, str, _Flags], None]
    ) -> None:
        super().__init__(model)
        self._sites, self._change = sites, change

    def process_message(self, msg: dict) -> None:
        """Change the site, or its Jacobian, which NumPyro adds as a factor."""
        for name, flags in self._sites.items():
            if msg["type"] == "sample" and msg["name"] in (name, f"_{name}_log_det"):
                self._change(msg, name, flags)


def find(
    model: Model,
    args: tuple,
    kwargs: dict,
    names: tuple[str, ...],
    rng_key: PRNGKey,
    is_forward: bool = False,
) -> Missing:
    """Return what the masked latent sites of a model are to its integral.

    A value is idle if the density of everything else has no gradient in it at three random
    places, and does not notice a NaN there.

    Args:
        model: with its plates and parameters frozen.
        args: its positional arguments.
        kwargs: its keyword arguments.
        names: masked latent sites.
        rng_key: key of the places.
        is_forward: whether derivatives are taken in forward mode.
    """
    event_ndims: dict[str, int] = {}

    def look(key: PRNGKey) -> tuple:
        seeded = handlers.seed(model, key)
        started = handlers.substitute(seeded, substitute_fn=init_to_uniform())
        trace = handlers.trace(started).get_trace(*args, **kwargs)
        latent = {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
        values = {name: site["value"] for name, site in latent.items()}
        masks, shapes = {}, {}
        for name in names:
            base, mask = _unmasked(latent[name]["fn"])
            shapes[name] = values[name].shape[: values[name].ndim - base.event_dim]
            masks[name] = jnp.broadcast_to(mask, shapes[name])
            event_ndims[name] = latent[name]["fn"].event_dim - base.event_dim

        def density(chosen: dict) -> Array:
            return log_density(seeded, args, kwargs, {**values, **chosen})[0]

        def observed(chosen: dict) -> Array:
            trace = log_density(seeded, args, kwargs, {**values, **chosen})[1]
            seen = [
                s["value"] for s in trace.values() if s["type"] == "sample" and s["is_observed"]
            ]
            return sum((_weighted(value) for value in seen), start=jnp.zeros(()))

        def enters(fn: Callable[[dict], Array]) -> dict:
            grads = jax.grad(forward_mode(fn) if is_forward else fn)(chosen)
            return {n: (g.reshape(*shapes[n], -1) != 0).any(-1) for n, g in grads.items()}

        chosen = {name: values[name] for name in names}
        in_density = enters(density)
        nan = {}
        for name, value in chosen.items():
            is_idle = ~masks[name] & ~in_density[name]
            is_idle = _append_axes(is_idle, value.ndim - is_idle.ndim)
            nan[name] = jnp.where(is_idle, jnp.nan, value)
        return masks, in_density, enters(observed), density(chosen) == density(nan)

    seen = _closures.call(jax.vmap(look), jax.random.split(rng_key, _NUM_LOOKS))
    masks, in_density, in_values, is_blind = jax.tree.map(np.asarray, seen)
    sites = {}
    for name in names:
        mask, enters = masks[name].all(0), in_density[name].any(0)
        imputed = ~mask & enters & in_values[name].any(0)
        event = tuple(range(mask.ndim - event_ndims[name], mask.ndim))
        idle = (~mask & ~enters & is_blind.all()).all(event, keepdims=True)
        idle = np.broadcast_to(idle, mask.shape)
        if (imputed | idle).any() and (masks[name] == mask).all():
            sites[name] = _Flags(mask | imputed, imputed, idle, event_ndims[name])
    return Missing(sites)


def _unmasked(fn: Distribution) -> tuple[Distribution, Any]:
    """Return a distribution without its masks, and where they let its density through."""
    if not isinstance(fn, MaskedDistribution | Independent | ExpandedDistribution):
        return fn, True
    base, mask = _unmasked(fn.base_dist)
    ndim = fn.event_dim - base.event_dim  # Axes of the event that are axes of the batch now.
    if isinstance(fn, MaskedDistribution):
        outer = fn._mask if np.ndim(fn._mask) == 0 else _append_axes(fn._mask, ndim)
        mask = jnp.logical_and(mask, outer)
    elif isinstance(fn, ExpandedDistribution):
        base = base.expand(fn.batch_shape + base.batch_shape[len(base.batch_shape) - ndim :])
    return base, mask


def _append_axes(array: Array, num: int) -> Array:
    return array.reshape(array.shape + (1,) * num)


def _weighted(value: Any) -> Array:
    """Return a sum in which no two values have the same weight."""
    value = jnp.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros(())
    return jnp.sum(value * jnp.cos(jnp.arange(value.size)).reshape(value.shape))
