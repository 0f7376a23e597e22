"""Estimate the evidence of a NumPyro model from posterior draws that exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.infer.util import constrain_fn, unconstrain_fn

from numpyro import handlers
from tempered_ebm import _checks as checks
from tempered_ebm import _closures, evidence
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import EvidenceReport
from tempered_ebm.evidence.from_draws import chains_of
from tempered_ebm.numpyro.evidence import require_distributions
from tempered_ebm.numpyro.missing import find as find_missing
from tempered_ebm.numpyro.sites import Sites, inspect
from tempered_ebm.numpyro.split import draw_prior, halves
from tempered_ebm.types import PRNGKey

_PRIOR_DRAWS = 16_384


def evidence_from_draws(
    model: Any, draws: Any = None, *args: Any, rng_key: PRNGKey | None = None, **kwargs: Any
) -> EvidenceReport:
    r"""Estimate the log evidence of a NumPyro model from posterior draws that exist.

    Factors and all observed sites count as data, with their scales: the result is the log integral
    of what NumPyro samples from, by :func:`tempered_ebm.evidence_from_draws` in unconstrained
    space. Missing data are integrated out, as by :func:`tempered_ebm.numpyro.log_evidence`.

    Args:
        model: NumPyro model with continuous latent sites, or ``numpyro.infer.MCMC`` that has run
            and knows its model, the arguments, and the draws.
        draws: latent sites on their supports, (C, n, ...) in a dict; ``numpyro.infer.MCMC``;
            ArviZ's ``InferenceData`` or ``DataTree``. Other sites are left aside.
        *args: positional arguments of the model, data among them.
        rng_key: key of the reference's draws; ``jax.random.key(0)`` by default.
        **kwargs: keyword arguments of the model.

    Returns:
        The report, with the sites on their supports in its ``posterior``.

    Raises:
        InputError: as :func:`tempered_ebm.evidence_from_draws`; if MCMC has not run, a latent site
            is discrete, has no distribution, or is missing among the draws.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import tempered_ebm as te
        >>> def model(y):
        ...     rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        ...     with numpyro.plate("rows", y.size):
        ...         numpyro.sample("y", dist.Poisson(rate), obs=y)
        >>> mcmc = numpyro.infer.MCMC(
        ...     numpyro.infer.NUTS(model), num_warmup=200, num_samples=500, progress_bar=False
        ... )
        >>> mcmc.run(jax.random.key(0), jnp.array([1, 3, 2]))
        >>> report = te.evidence_from_draws(mcmc)
        >>> truth = jax.scipy.special.gammaln(8.0) - 8 * jnp.log(4.0) - jnp.log(12.0)
        >>> bool(abs(report.log_evidence - truth) < 5 * report.standard_error)
        True
    """
    rng_key = jax.random.key(0) if rng_key is None else rng_key
    checks.key("rng_key", rng_key)
    if draws is None:
        model, draws, args, kwargs = _of_mcmc(model)
        if not callable(model):
            if draws.postprocess_fn is not None:
                raise InputError(
                    "the MCMC must have draws of its potential_fn, got one whose postprocess_fn "
                    "changes them; give a log-density of the draws as they are, and the draws"
                )
            return evidence.evidence_from_draws(
                lambda z: -draws.sampler._potential_fn(z), draws, rng_key=rng_key
            )
    elif hasattr(draws, "get_samples") and not args and not kwargs:
        args, kwargs = draws._args, draws._kwargs
    checks.function("model", model, "that makes NumPyro's statements")
    sites = inspect(model, args, kwargs, rng_key)
    frozen = handlers.substitute(model, data=sites.constants)
    seeded = handlers.seed(frozen, rng_key)
    missing = find_missing(frozen, args, kwargs, sites.masked, rng_key)
    proper = inspect(missing.in_prior(frozen), args, kwargs, rng_key) if sites.masked else sites
    require_distributions(proper, may_be_drawn=False)

    def unconstrain(one: dict[str, Array]) -> dict[str, Array]:
        return unconstrain_fn(seeded, args, kwargs, one)

    whole = _closures.call(jax.vmap(jax.vmap(unconstrain)), _latent(chains_of(draws), sites))
    start = jax.tree.map(lambda leaf: leaf[0, 0], whole)
    target = halves(frozen, args, kwargs, sites.observed, rng_key, start, missing)
    kept = jax.vmap(jax.vmap(missing.without_idle))(whole)
    if not jax.tree.leaves(kept):
        raise InputError("model must have a latent site that enters its density, got none")
    prior_draws = None
    if not proper.without_sampler and not set(proper.scaled) & set(proper.latent):
        key = jax.random.fold_in(rng_key, 1)
        in_prior = missing.in_prior(frozen)
        prior_draws = jax.vmap(missing.without_idle)(
            draw_prior(in_prior, args, kwargs, {}, key, _PRIOR_DRAWS)
        )
    report = evidence.evidence_from_draws(target, kept, prior_draws=prior_draws, rng_key=rng_key)

    def constrain(one: dict[str, Array]) -> dict[str, Array]:
        filled = missing.with_idle(one, start)
        return constrain_fn(seeded, args, kwargs, filled, return_deterministic=True)

    constrained = _closures.call(jax.vmap(jax.vmap(constrain)), report.posterior)
    return dataclasses.replace(report, posterior=jax.tree.map(np.asarray, constrained))


def _of_mcmc(mcmc: Any) -> tuple[Any, Any, tuple, dict]:
    """Return the model of a NumPyro run, the run itself, and the arguments of the model."""
    if not hasattr(mcmc, "get_samples") or not hasattr(mcmc, "sampler"):
        raise InputError(
            "logdensity_fn must come with draws, unless it is a numpyro.infer.MCMC that has run, "
            f"got {mcmc!r} and no draws"
        )
    if mcmc.last_state is None:
        raise InputError("the MCMC must have run, got one without draws; call its run() first")
    return getattr(mcmc.sampler, "model", None), mcmc, mcmc._args, mcmc._kwargs


def _latent(draws: Any, sites: Sites) -> dict[str, Any]:
    if not isinstance(draws, Mapping):
        raise InputError(f"draws must be a dict of sites, got {checks.describe(draws)}")
    if not set(sites.latent) <= set(draws):
        raise InputError(
            f"draws must have all latent sites {list(sites.latent)}, got {sorted(draws)}; "
            "an observed site without data is latent: were all arguments of the model given?"
        )
    return {name: jnp.asarray(draws[name], float) for name in sites.latent}
