"""Estimate the evidence of a NumPyro model in one call."""

from __future__ import annotations

import dataclasses
import math
import operator
import time
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from numpyro.infer.reparam import LocScaleReparam

from numpyro import handlers
from tempered_ebm import _checks as checks
from tempered_ebm import _closures, evidence
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import EvidenceReport
from tempered_ebm.evidence import _reference_path as reference_path
from tempered_ebm.evidence.report import without_parameters
from tempered_ebm.evidence.run import check_options
from tempered_ebm.numpyro.sites import Model, Sites
from tempered_ebm.numpyro.split import SplitModel, split_with
from tempered_ebm.types import Position, PRNGKey

_SPARE = 15
_MOST_LOST = 0.01
"""Share of the prior's draws without a density above which their mass is missed."""


def log_evidence(
    rng_key: PRNGKey,
    model: Model,
    *args: Any,
    likelihood_sites: Collection[str] | None = None,
    num_ensembles: int = 32,
    initial_positions: Position | None = None,
    options: Mapping[str, Any] | None = None,
    forward_mode_differentiation: bool = False,
    **kwargs: Any,
) -> EvidenceReport:
    r"""Estimate the log evidence of a NumPyro model, with diagnostics and reliability warnings.

    .. math:: \log p(y) = \log \int \tilde p(u)\, e^{\ell(u)}\, du - \log \int \tilde p(u)\, du

    with the log prior :math:`\log\tilde p` and the log-likelihood ℓ of
    :func:`tempered_ebm.numpyro.split`, in unconstrained space; the Jacobians are in the
    prior. Ensembles start at draws from the prior. Where :math:`\tilde p` is not normalised, the
    path begins at it, so that its constants cancel; those of the likelihood count. Hence, in
    words of a warning where it is so:

    - a ``numpyro.factor`` counted as prior reweights the prior, which is then
      *renormalised*. Named in ``likelihood_sites``, it counts as data instead.
    - an observed site left out of ``likelihood_sites`` is conditioned on: the result is
      ``log p(y | the others)``.
    - missing values of an observed site (``obs_mask``, or a latent site under ``.mask(False)``
      that is a value of the observed one) are integrated out: the result is the evidence of what
      was observed. Latent entries of rows that were observed keep their initial values in
      ``posterior``.
    - under a scale (``handlers.scale``, a subsampled plate) a site has a power of its
      density. Of a likelihood, that is the evidence of a power likelihood and not of the data;
      of a latent site, its prior is the renormalised power in *unconstrained* space.

    Where the scale of a location-scale prior is random, as in a hierarchical model, both the given
    and the non-centred parametrisation (Papaspiliopoulos, Roberts and Sköld 2007) are explored, and
    the one with the shorter path is taken: the evidence is the same.

    Args:
        rng_key: key of everything: subsamples, starts and the run.
        model: NumPyro model with continuous latent sites.
        *args: positional arguments of the model, data among them.
        likelihood_sites: names of observed sites and factors to count as likelihood, in
            place of all observed sites that are no factors.
        num_ensembles: independent ensembles; 16 or more give reliable error bars.
        initial_positions: where they start instead of draws from the prior: a dict of
            *unconstrained* latent sites with a leading axis of ensembles.
        options: further arguments of :func:`tempered_ebm.log_evidence`, by name.
        forward_mode_differentiation: as in :func:`tempered_ebm.numpyro.split`.
        **kwargs: keyword arguments of the model. One that has the name of an argument here
            can be given by position.

    Returns:
        The report of :func:`tempered_ebm.log_evidence`; ``print`` or ``plot()`` it. Its
        ``posterior`` has the sites on their supports, deterministic ones included.

    Raises:
        InputError: as :func:`tempered_ebm.numpyro.split` and
            :func:`tempered_ebm.log_evidence`; for a latent site that has no distribution
            (``ImproperUniform`` or a mask, on an unbounded support, and no missing value), or
            cannot be drawn from (``EnergyPrior`` without a sampler) where no
            ``initial_positions`` are given; if too few draws of the prior have a finite
            log-likelihood and gradient to start at.

    Warns:
        UserWarning: where the result is the evidence of something other than prior times
            likelihood, as above; the message is repeated in the report's warnings.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import tempered_ebm as te
        >>> def model(y):
        ...     rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        ...     with numpyro.plate("rows", y.size):
        ...         numpyro.sample("y", dist.Poisson(rate), obs=y)
        >>> report = te.numpyro.log_evidence(
        ...     jax.random.key(0), model, y=jnp.array([1, 3, 2]),
        ...     options={"num_samples": 50},
        ... )
        >>> truth = jax.scipy.special.gammaln(8.0) - 8 * jnp.log(4.0) - jnp.log(12.0)
        >>> bool(abs(report.log_evidence - truth) < 5 * report.standard_error)
        True
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_ensembles", num_ensembles, 1)
    options = check_options(options)
    split_key, start_key, run_key = jax.random.split(rng_key, 3)

    def divide(model: Model) -> SplitModel:
        how = {"is_integral": True, "is_forward": forward_mode_differentiation}
        return split_with(model, args, kwargs, likelihood_sites, split_key, **how)

    parts = divide(model)
    require_distributions(parts.sites, may_be_drawn=initial_positions is None)
    given, options = parts, _from_the_prior(parts, options)
    remarks = _remarks(parts)
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    if not parts.initial_position:
        report = without_parameters(float(parts.target.loglikelihood_fn({})))
        sites = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], parts.constrain({}))
        return dataclasses.replace(report, warnings=remarks, posterior=sites)
    is_given = initial_positions is not None
    num_starts = max(num_ensembles, reference_path.MOST_PARTICLES)
    lost = 0.0
    if not is_given:
        initial_positions, lost = _starts(start_key, parts, num_starts)
    names = parts.sites.hierarchical
    may_choose = options.get("path") != "prior" and "budget" not in options and not is_given
    spent = evidence.Cost(0, 0, 0, 0.0)
    if names and may_choose:
        other_model = handlers.reparam(model, config={name: LocScaleReparam(0) for name in names})
        other = divide(other_model)
        choices = [
            (parts, initial_positions, lost),
            (other, *_starts(start_key, other, num_starts)),
        ]
        (parts, initial_positions, lost), spent = _shortest(run_key, choices)
    if lost > _MOST_LOST:
        dtype = jax.tree.leaves(initial_positions)[0].dtype
        remarks = (*remarks, _lost_mass(lost, dtype))
        warnings.warn(remarks[-1], stacklevel=2)
    report = evidence.log_evidence(
        run_key,
        parts.target,
        initial_positions,
        **{"num_ensembles": num_ensembles, **options},
    )
    sites = _closures.call(jax.vmap(jax.vmap(parts.constrain)), report.posterior)
    hidden = [f"{name}_decentered" for name in names]
    return dataclasses.replace(
        report,
        why=f"{report.why}; non-centred" if parts is not given else report.why,
        warnings=(*report.warnings, *remarks),
        cost=evidence.Cost(*map(operator.add, report.cost, spent)),
        posterior={name: np.asarray(x) for name, x in sites.items() if name not in hidden},
    )


def _shortest(
    rng_key: PRNGKey, choices: list[tuple[SplitModel, Position, float]]
) -> tuple[tuple[SplitModel, Position, float], evidence.Cost]:
    """Return the parametrisation that a reference is closest to, and what finding it took."""
    began = time.perf_counter()
    found = [reference_path.path_length(rng_key, one[0].target, one[1]) for one in choices]
    gradients, values = np.sum([spent for _, spent in found], axis=0).tolist()
    best = int(np.argmin([length for length, _ in found]))
    return choices[best], evidence.Cost(gradients, values, gradients, time.perf_counter() - began)


def require_distributions(sites: Sites, *, may_be_drawn: bool) -> None:
    """Require that the prior of every latent site is a distribution, and can be sampled if asked.

    Raises:
        InputError: naming the site.
    """
    for name in sites.improper:
        raise InputError(
            f"the evidence is not defined: the prior of site {name!r} is flat on an unbounded "
            "support (ImproperUniform, or a mask), so that it cannot be normalised; give the site "
            "a proper distribution, and mask observed sites or missing values of them only"
        )
    for name, reason in sites.without_sampler.items():
        if may_be_drawn:
            raise InputError(
                f"the prior cannot be sampled: site {name!r} {reason}; give its distribution a "
                "sampler (EnergyPrior(..., sampler=...)), or pass initial_positions=, "
                "unconstrained latent sites with a leading axis of ensembles"
            )


def _from_the_prior(parts: SplitModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options whose path begins at a prior that is not normalised: it cancels."""
    unnormalised = (*parts.unsampled_sites, *parts.sites.without_sampler)
    if not unnormalised:
        return dict(options)
    if options.get("path", "auto") not in ("auto", "prior"):
        raise InputError(
            f"options must have the path 'prior', got {options['path']!r}: sites "
            f"{list(unnormalised)} leave the prior without a normaliser, which cancels on no other"
        )
    return {**options, "path": "prior"}


def _remarks(parts: SplitModel) -> tuple[str, ...]:
    sites, prior, likelihood = parts.sites, set(parts.prior_sites), set(parts.likelihood_sites)
    factors = [name for name in sites.factors if name in prior]
    conditioned = [n for n in sites.observed if n in prior and n not in sites.factors]
    scaled_prior = [name for name in sites.scaled if name in sites.latent]
    scaled_likelihood = [name for name in sites.scaled if name in likelihood]
    remarks = {
        f"the factors {factors} count as prior: the result is the evidence under the prior that "
        "they reweight, renormalised; name them in likelihood_sites= for the integral of the whole "
        "model": factors,
        f"the observed sites {conditioned} count as prior: the result is the evidence of "
        f"{list(parts.likelihood_sites)} given them": conditioned,
        f"the latent sites {scaled_prior} are scaled: the result is the evidence under the "
        "renormalised power of their prior density in unconstrained space; remove the scale "
        "(a subsample, or handlers.scale) for that of the model": scaled_prior,
        f"the likelihood sites {scaled_likelihood} are scaled: the result is the evidence of a "
        "power likelihood, not of the data; remove the scale (a subsample, or handlers.scale) for "
        "that": scaled_likelihood,
    }
    return tuple(remark for remark, names in remarks.items() if names)


def _lost_mass(share: float, dtype: Any) -> str:
    remedy = "set jax.config.update('jax_enable_x64', True)"
    if dtype == np.float64:
        remedy = "choose a prior that does not reach so far"
    return (
        f"{share:.1%} of the draws from the prior have no log density in {dtype}: if the posterior "
        f"has as much of its mass there, {-math.log1p(-share):.2g} nats are missing; {remedy}"
    )


def _starts(rng_key: PRNGKey, parts: SplitModel, num: int) -> tuple[dict[str, Array], float]:
    """Return prior draws at which both halves and their gradients are finite.

    A wide prior may overflow a likelihood, and a draw may round to the edge of its support. Chains
    never come to where the log prior or its gradient is not finite: the share of such draws is
    returned as well.
    """

    def check(draws: dict[str, Array]) -> tuple[np.ndarray, np.ndarray]:
        def flags(draw: dict[str, Array]) -> tuple[Array, Array]:
            evaluated = parts.target.evaluate(draw)
            has_prior = _is_finite((draw, evaluated.logprior, evaluated.logprior_grad))
            return _is_finite((draw, evaluated)), ~has_prior

        size = _closures.most_at_once(flags, jax.tree.map(lambda leaf: leaf[0], draws))

        def groups(draws: dict[str, Array]) -> tuple[Array, Array]:
            return jax.lax.map(flags, draws, batch_size=size)

        usable, lost = _closures.call(groups, draws)
        return np.asarray(usable), np.asarray(lost)

    draws = parts.sample_prior(rng_key, num)
    usable, lost = check(draws)
    if not usable.all():
        more = parts.sample_prior(jax.random.fold_in(rng_key, 1), _SPARE * num)
        draws = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), draws, more)
        usable, lost = (np.concatenate(flags) for flags in zip((usable, lost), check(more)))
    found = np.flatnonzero(usable)[:num]
    if found.size < num:
        raise InputError(
            f"{int(usable.sum())} of {usable.size} draws from the prior have a finite log density "
            f"and gradient, fewer than the {num} wanted; pass initial_positions=, or a prior "
            "that does not reach so far"
        )
    return jax.tree.map(lambda leaf: leaf[found], draws), float(lost.mean())


def _is_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
