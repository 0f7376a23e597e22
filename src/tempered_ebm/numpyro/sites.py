"""Sites of a NumPyro model, from one run of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import ImproperUniform, MaskedDistribution, Unit, constraints
from numpyro.infer import init_to_uniform

from numpyro import handlers
from tempered_ebm import _checks as checks
from tempered_ebm import _closures
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey

Model = Callable[..., Any]

_BOUNDED = tuple(
    type(support)
    for support in (
        constraints.simplex,
        constraints.corr_cholesky,
        constraints.corr_matrix,
        constraints.circular,
        constraints.sphere,
        constraints.l1_ball,
    )
)


_LOCATION_SCALE = (dist.Normal, dist.Cauchy, dist.Laplace, dist.Gumbel)


class Sites(NamedTuple):
    """Names and properties of the sites of a model.

    Attributes:
        latent: names of the latent sites.
        observed: names of the observed sites, factors among them.
        factors: names of the factors.
        scaled: names of sites whose log density is scaled.
        without_sampler: why a latent site cannot be drawn from the prior, by name.
        improper: names of latent sites with a flat density on an unbounded support, of which
            there is no distribution.
        masked: names of latent sites whose density is masked.
        constants: plates and parameters, to be kept as they are.
        hierarchical: names of latent sites of a location-scale family whose scale is random.
    """

    latent: tuple[str, ...]
    observed: tuple[str, ...]
    factors: tuple[str, ...]
    scaled: tuple[str, ...]
    without_sampler: dict[str, str]
    improper: tuple[str, ...]
    masked: tuple[str, ...]
    constants: dict[str, Any]
    hierarchical: tuple[str, ...] = ()

    def choose_likelihood(self, names: Collection[str] | None) -> tuple[str, ...]:
        """Return the likelihood sites in the order of the model."""
        if names is None:
            names = set(self.observed) - set(self.factors)
            if not names:
                others = f", or likelihood_sites=, one or more of {list(self.observed)}"
                raise InputError(
                    "model has no observed site, so there is no likelihood to temper; pass the "
                    f"data{others if self.observed else ''}"
                )
        check_names(names)
        wanted = {names} if isinstance(names, str) else set(names)
        if not wanted <= set(self.observed):
            raise InputError(
                f"likelihood_sites must name observed sites or factors of the model, which are "
                f"{list(self.observed)}, got {sorted(wanted - set(self.observed))}"
            )
        return tuple(name for name in self.observed if name in wanted)


def check_names(names: Any) -> None:
    """Require names of likelihood sites, one or several."""
    are_names = isinstance(names, Collection) and not isinstance(names, np.ndarray)
    if not (are_names and all(isinstance(name, str) for name in names)):
        raise InputError(f"likelihood_sites must be names of sites, got {names!r}")


def inspect(model: Model, args: tuple, kwargs: dict, rng_key: PRNGKey) -> Sites:
    """Return the sites of a model, from one run of it.

    Raises:
        InputError: for a discrete latent site, and for data that do not fit their distribution.
    """
    facts: dict[str, Sites] = {}

    def run(key: PRNGKey) -> tuple[dict[str, Any], dict[str, Any]]:
        started = handlers.substitute(handlers.seed(model, key), substitute_fn=init_to_uniform())
        trace = handlers.trace(started).get_trace(*args, **kwargs)
        sites = facts["sites"] = _describe(trace)
        kept = ("plate", "param", "mutable")
        constants = {name: site["value"] for name, site in trace.items() if site["type"] in kept}
        bases = {name: _without_batches(trace[name]["fn"]) for name in sites.latent}
        return constants, {
            name: base.scale
            for name, base in bases.items()
            if isinstance(base, _LOCATION_SCALE)
            and name not in sites.scaled
            and f"{name}_decentered" not in trace
        }

    # Compiling one program takes a fraction of the time of compiling its operations.
    with checks.traceable("model"):
        constants, scales = _closures.call(run, rng_key)
    # The scale of a hierarchical prior is another one in another run.
    others = _closures.call(run, jax.random.fold_in(rng_key, 1))[1] if scales else {}
    hierarchical = tuple(n for n in scales if not np.array_equal(scales[n], others[n]))
    return facts["sites"]._replace(constants=constants, hierarchical=hierarchical)


def _describe(trace: dict[str, dict]) -> Sites:
    samples = {name: site for name, site in trace.items() if site["type"] == "sample"}
    observed = {name: site for name, site in samples.items() if site["is_observed"]}
    latent = {name: site for name, site in samples.items() if not site["is_observed"]}
    for name, site in latent.items():
        if site["fn"].support.is_discrete:
            raise InputError(
                f"model must have continuous latent sites only, got the discrete site {name!r} "
                f"({_name(site['fn'])}); sum it out in the model, or observe it"
            )
    for name, site in observed.items():
        try:
            site["fn"].log_prob(site["value"])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"model must have data that fit the distribution of site {name!r} "
                f"({_name(site['fn'])}), got {str(error).splitlines()[0]}"
            ) from error
    reasons = {name: _why_not_sampled(site["fn"]) for name, site in latent.items()}
    return Sites(
        latent=tuple(latent),
        observed=tuple(observed),
        factors=tuple(name for name, site in observed.items() if _is_factor(site["fn"])),
        scaled=tuple(name for name, site in samples.items() if _is_scaled(site)),
        without_sampler={name: reason for name, reason in reasons.items() if reason},
        improper=tuple(name for name, site in latent.items() if _is_improper(site["fn"])),
        masked=tuple(name for name, site in latent.items() if _is_masked(site["fn"])),
        constants={},
    )


def _layers(fn: Any) -> list[Any]:
    layers = [fn]
    while hasattr(layers[-1], "base_dist"):
        layers.append(layers[-1].base_dist)
    return layers


def _without_batches(fn: Any) -> Any:
    while isinstance(fn, dist.Independent | dist.ExpandedDistribution):
        fn = fn.base_dist
    return fn


def _name(fn: Any) -> str:
    return type(_layers(fn)[-1]).__name__


def _is_factor(fn: Any) -> bool:
    return any(isinstance(layer, Unit) for layer in _layers(fn))


def _is_scaled(site: dict) -> bool:
    scale = 1.0 if site["scale"] is None else checks.concrete(site["scale"])
    return scale is None or not np.all(scale == 1)


class Fixed(MaskedDistribution):
    """A distribution of values of which those that are masked are held fixed."""


def _is_masked(fn: Any) -> bool:
    return any(
        isinstance(layer, MaskedDistribution) and not isinstance(layer, Fixed)
        for layer in _layers(fn)
    )


def _is_improper(fn: Any) -> bool:
    is_flat = _is_masked(fn) or isinstance(_layers(fn)[-1], ImproperUniform)
    return is_flat and not _is_bounded(fn.support)


def _is_bounded(support: Any) -> bool:
    """Return whether a support has a finite volume; bounds that are traced count as finite."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    bounds = [getattr(support, name, None) for name in ("lower_bound", "upper_bound")]
    if any(bound is None for bound in bounds):
        return isinstance(support, _BOUNDED)
    known = [checks.concrete(bound) for bound in bounds]
    return all(bound is None or bool(np.all(np.isfinite(bound))) for bound in known)


def _why_not_sampled(fn: Any) -> str | None:
    if _is_masked(fn):
        return "is masked, so its log density is flat"
    try:
        jax.eval_shape(lambda key: fn.sample(key), jax.random.key(0))
    except NotImplementedError:
        return f"has no sampler, being of type {_name(fn)}"
    except ValueError:
        pass  # After a scan, NumPyro has distributions of stacked parameters and their old shape.
    return None
