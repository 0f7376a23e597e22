"""Split a NumPyro model into prior and likelihood, in unconstrained space."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import biject_to
from numpyro.infer import init_to_uniform
from numpyro.infer.util import (
    _unconstrain_reparam,
    compute_log_probs,
    constrain_fn,
    initialize_model,
    log_density,
)
from numpyro.util import is_prng_key

from numpyro import handlers
from tempered_ebm import _checks as checks
from tempered_ebm import _closures
from tempered_ebm.errors import InputError
from tempered_ebm.numpyro.missing import NOTHING_MISSING, Missing
from tempered_ebm.numpyro.missing import find as find_missing
from tempered_ebm.numpyro.sites import Model, Sites, inspect
from tempered_ebm.target import TemperedTarget, forward_mode
from tempered_ebm.types import LogDensityFn, Position, PRNGKey


class SplitModel(NamedTuple):
    """A NumPyro model, split into prior and likelihood.

    Attributes:
        target: log prior and log-likelihood of a dict of unconstrained latent sites. Sites
            may have leading chain axes, the same on every site; there is one value per chain.
        initial_position: one position at which value and gradient are finite.
        constrain: ``position -> sites``: constrained latent sites and deterministic sites
            of one position. ``jax.vmap`` it over draws.
        sample_prior: ``(rng_key, num_samples) -> positions``, unconstrained draws of the
            latent sites with a leading axis, made by running the model forward.
        prior_sites: names whose log densities make up the log prior.
        likelihood_sites: names whose log densities make up the log-likelihood.
        unsampled_sites: prior sites that ``sample_prior`` does not follow: factors, observed
            sites counted as prior, and latent sites whose log density is scaled. Where there
            are any, its draws are starting points rather than draws at ``t = 0``.
        sites: what the model consists of, before it was split.
    """

    target: TemperedTarget
    initial_position: dict[str, Array]
    constrain: Callable[[Position], dict[str, Array]]
    sample_prior: Callable[[PRNGKey, int], dict[str, Array]]
    prior_sites: tuple[str, ...]
    likelihood_sites: tuple[str, ...]
    unsampled_sites: tuple[str, ...]
    sites: Sites


def split(
    model: Model,
    *args: Any,
    likelihood_sites: Collection[str] | None = None,
    rng_key: PRNGKey | None = None,
    forward_mode_differentiation: bool = False,
    **kwargs: Any,
) -> SplitModel:
    r"""Split a NumPyro model into prior and likelihood, in unconstrained space.

    .. math::
        \log p(u) = \sum_i \log p_i(g_i(u_i)) + \log|\det \nabla g_i(u_i)| + \text{factors},
        \qquad \ell(u) = \sum_j \log p(y_j \mid g(u))

    ``g`` maps the unconstrained dict ``u`` to the supports of the latent sites ``i``; ``j``
    are the observed sites. Scales, masks and plates count as they do in NumPyro: at
    ``t = 1`` the two halves add up to minus its potential energy. A subsample of a plate,
    and a parameter of a ``numpyro.param`` site, is drawn once and kept.

    Each half runs the model once per call. Compiled together, as in every tempered kernel,
    values that both halves need are computed once, as XLA merges equal subexpressions. Each
    half keeps its own backward pass: where the halves share all their work, value and both
    gradients cost 1.5 times the operations of one gradient of their sum.

    Args:
        model: NumPyro model with continuous latent sites.
        *args: positional arguments of the model, data among them.
        likelihood_sites: names of observed sites and factors to count as likelihood, in
            place of all observed sites that are no factors.
        rng_key: key of the initial position and of subsamples; ``jax.random.key(0)`` by
            default.
        forward_mode_differentiation: take derivatives by :func:`tempered_ebm.forward_mode`, as
            loops of unknown length need.
        **kwargs: keyword arguments of the model.

    Returns:
        A named tuple that leads with the :class:`tempered_ebm.TemperedTarget`.

    Raises:
        InputError: for a discrete latent site, an unknown name in ``likelihood_sites``, or a
            model that observes nothing. By the target, for a position whose sites are not
            those of the model. By ``sample_prior``, for a prior without a sampler.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import tempered_ebm as te
        >>> def model(y=None):
        ...     scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        ...     numpyro.sample("y", dist.Normal(0.0, scale), obs=y)
        >>> parts = te.numpyro.split(model, y=jnp.array(0.5))
        >>> parts.prior_sites, parts.likelihood_sites
        (('scale',), ('y',))
        >>> chains = parts.sample_prior(jax.random.key(1), 4)
        >>> parts.target.loglikelihood_fn(chains).shape
        (4,)
    """
    key = jax.random.key(0) if rng_key is None else rng_key
    return split_with(
        model, args, kwargs, likelihood_sites, key, is_forward=forward_mode_differentiation
    )


def split_with(
    model: Model,
    args: tuple,
    kwargs: dict,
    likelihood_sites: Collection[str] | None,
    rng_key: PRNGKey,
    *,
    is_integral: bool = False,
    is_forward: bool = False,
) -> SplitModel:
    """Split a model as :func:`split` does, or, for its integral, as :class:`Missing` says."""
    checks.function("model", model, "that makes NumPyro's statements")
    checks.key("rng_key", rng_key)
    checks.flag("forward_mode_differentiation", is_forward)
    sites = inspect(model, args, kwargs, rng_key)
    frozen = handlers.substitute(model, data=sites.constants)
    missing = NOTHING_MISSING
    if is_integral and sites.masked:
        missing = find_missing(frozen, args, kwargs, sites.masked, rng_key, is_forward)
        sites = inspect(missing.in_prior(frozen), args, kwargs, rng_key)
    names = sites.choose_likelihood(likelihood_sites)
    prior = missing.in_prior(frozen)
    start = find_start(prior, args, kwargs, rng_key, is_forward=is_forward)
    unsampled = (*(name for name in sites.scaled if name in sites.latent), *sites.observed)

    def constrain(position: Position) -> dict[str, Array]:
        whole = missing.with_idle(position, start)
        seeded = handlers.seed(frozen, rng_key)
        return constrain_fn(seeded, args, kwargs, whole, return_deterministic=True)

    def sample_prior(rng_key: PRNGKey, num_samples: int) -> dict[str, Array]:
        draws = draw_prior(prior, args, kwargs, sites.without_sampler, rng_key, num_samples)
        return jax.vmap(missing.without_idle)(draws) if missing.sites else draws

    return SplitModel(
        target=halves(frozen, args, kwargs, names, rng_key, start, missing, is_forward),
        initial_position=missing.without_idle(start),
        constrain=constrain,
        sample_prior=sample_prior,
        prior_sites=tuple(n for n in (*sites.latent, *sites.observed) if n not in names),
        likelihood_sites=names,
        unsampled_sites=tuple(name for name in unsampled if name not in names),
        sites=sites,
    )


def find_start(
    model: Model,
    args: tuple,
    kwargs: dict,
    rng_key: PRNGKey,
    init_strategy: Callable = init_to_uniform,
    is_forward: bool = False,
) -> dict[str, Array]:
    """Return an unconstrained position at which the model and its gradient are finite.

    With a batch of keys, search one for each.

    Raises:
        InputError: if NumPyro's search finds none.
    """

    def search(key: PRNGKey) -> tuple[dict[str, Array], Array]:
        start, energy, grad = initialize_model(
            key,
            model,
            init_strategy=init_strategy,
            model_args=args,
            model_kwargs=kwargs,
            forward_mode_differentiation=is_forward,
        ).param_info
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((energy, grad))]
        return start, jnp.stack(finite).all()

    mapped = search if is_prng_key(rng_key) else jax.vmap(search)
    with checks.traceable("model"):
        position, is_valid = _closures.call(mapped, rng_key)
    known = checks.concrete(is_valid)
    if known is not None and not known.all():
        raise InputError(
            "model has no initial position at which its log density and gradient are finite; "
            f"{_not_finite(model, args, kwargs, position, known)}NumPyro's last try was {position}"
        )
    return position


def _not_finite(
    model: Model, args: tuple, kwargs: dict, position: dict[str, Array], is_valid: np.ndarray
) -> str:
    """Return in words which sites have no finite log density, and which of their data are NaN."""
    if is_valid.ndim:
        position = jax.tree.map(lambda leaf: leaf[np.flatnonzero(~is_valid)[0]], position)
    started = handlers.substitute(
        handlers.seed(model, jax.random.key(0)),
        substitute_fn=partial(_unconstrain_reparam, position),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NumPyro's, of values outside of a support.
        logs, trace = compute_log_probs(started, args, kwargs, {})
    bad = [name for name, value in logs.items() if not jnp.isfinite(value).all()]
    nan = [n for n in bad if trace[n]["is_observed"] and jnp.isnan(trace[n]["value"]).any()]
    if nan:
        return f"the values of {nan} have NaN; "
    return f"that of {bad} is not finite; " if bad else ""


def halves(
    model: Model,
    args: tuple,
    kwargs: dict,
    likelihood_sites: Collection[str],
    rng_key: PRNGKey,
    example: dict[str, Array],
    missing: Missing = NOTHING_MISSING,
    is_forward: bool = False,
) -> TemperedTarget:
    """Return the target of a model from its likelihood sites and an unconstrained position."""
    shapes = {name: np.shape(value) for name, value in missing.without_idle(example).items()}

    def half(model: Model, hides: Callable[[str], bool]) -> LogDensityFn:
        def one_chain(position: Position) -> Float[Array, ""]:
            whole = missing.with_idle(position, example)
            substituted = handlers.substitute(
                model, substitute_fn=partial(_unconstrain_reparam, whole)
            )
            visible = handlers.block(
                handlers.seed(substituted, rng_key),
                hide_fn=lambda site: site["type"] == "sample" and hides(site["name"]),
            )
            return jnp.asarray(log_density(visible, args, kwargs, {})[0], float)

        def logdensity(position: Position) -> Float[Array, "*chains"]:
            mapped = forward_mode(one_chain) if is_forward else one_chain
            for _ in range(_chain_ndim(position, shapes)):
                mapped = jax.vmap(mapped)
            return mapped(position)

        return logdensity

    def is_likelihood(name: str) -> bool:
        return name in likelihood_sites or missing.is_imputed(name)

    return TemperedTarget(
        half(missing.in_prior(model), lambda name: name in likelihood_sites),
        half(missing.in_likelihood(model), lambda name: not is_likelihood(name)),
    )


def _chain_ndim(position: Position, shapes: dict[str, tuple[int, ...]]) -> int:
    got: Any = checks.describe(position)
    if isinstance(position, Mapping):
        got = {name: np.shape(value) for name, value in position.items()}
    if isinstance(position, Mapping) and not position and not shapes:
        return 0
    if isinstance(position, Mapping) and set(got) == set(shapes):
        ndims = {len(got[name]) - len(shape) for name, shape in shapes.items()}
        ndim = ndims.pop()
        if not ndims and ndim >= 0 and all(got[n][ndim:] == s for n, s in shapes.items()):
            return ndim
    raise InputError(
        f"position must have the unconstrained sites {shapes}, each behind the same chain axes, "
        f"got {got}"
    )


def draw_prior(
    model: Model,
    args: tuple,
    kwargs: dict,
    without_sampler: dict[str, str],
    rng_key: PRNGKey,
    num_samples: int,
) -> dict[str, Array]:
    """Return unconstrained draws of the latent sites of a model, with a leading axis.

    Raises:
        InputError: if a site cannot be sampled, by ``without_sampler``, which names the reason.
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_samples", num_samples, 1)
    for name, reason in without_sampler.items():
        raise InputError(f"the prior cannot be sampled: site {name!r} {reason}")

    def draw(key: PRNGKey) -> dict[str, Array]:
        trace = handlers.trace(handlers.seed(model, key)).get_trace(*args, **kwargs)
        return {
            name: biject_to(site["fn"].support).inv(site["value"])
            for name, site in trace.items()
            if site["type"] == "sample" and not site["is_observed"]
        }

    return _closures.call(jax.vmap(draw), jax.random.split(rng_key, num_samples))
