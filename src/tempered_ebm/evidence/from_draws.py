"""Estimate the evidence from existing posterior draws."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import diagnostics
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import _mixtures as mixtures
from tempered_ebm.evidence import report
from tempered_ebm.evidence._coverage import Estimate
from tempered_ebm.evidence._frozen_run import EvaluationCount, Record
from tempered_ebm.evidence._reference import Reference, importance_draws
from tempered_ebm.evidence._reference_fit import as_reference, fit_to_draws
from tempered_ebm.evidence._vectorized_target import as_target, vectorize
from tempered_ebm.evidence.report import EvidenceReport
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import LogDensityFn, Position, PRNGKey

_EXTRA_DRAWS = 8_000
_FEWEST_DRAWS = 20
_FEW_EFFECTIVE = 50
_LARGE_R_HAT = 1.05
_SINGULAR = 1e-12
"""Eigenvalue of a correlation matrix that is zero but for rounding."""
_KEPT_POSITIONS = 200
_WIDE_DRAWS, _WIDTH, _FEW_COORDINATES = 4_096, 4.0, 6
_SMALL_GAP = 0.01
_UNCOVERED, _MISSING_NATS = math.log(20.0), 0.05
"""A place counts as uncovered where the posterior is twenty times as dense as the reference."""


def evidence_from_draws(
    logdensity_fn: LogDensityFn | TemperedTarget | Any,
    draws: Any = None,
    *,
    prior_draws: Position | None = None,
    rng_key: PRNGKey | None = None,
) -> EvidenceReport:
    r"""Estimate the log evidence from posterior draws that exist, by bridge sampling.

    With :math:`\tilde p = p(z)\,e^{\ell(z)}`, a normalised reference r, and s, 1 - s the shares
    of draws of r and of the posterior,

    .. math::
        Z = \frac{E_r[\tilde p\,h]}{E_\text{posterior}[r\,h]}, \qquad
        h = \frac{1}{s\,r + (1 - s)\,\tilde p / Z}

    (Meng and Wong 1996). The chains are split into two halves. A mixture of normals and Student's
    t is fitted to the draws of either half, refined by importance sampling, and bridged with the
    draws of the other half, so that no draw is compared with a reference that was fitted to it.
    The standard error is by batch means over the chains, which sees autocorrelation
    (Frühwirth-Schnatter 2004). Only values of the log-density are needed, no gradients: 30,000 or
    so beside one for each draw.

    Draws do not tell of a mode in which no chain has been. Chains that disagree, too few effective
    draws, and places far from all draws where the density is high are warned of: among the prior
    draws if there are any, else, in up to six coordinates, around the draws.

    Args:
        logdensity_fn: ``position -> log p(z) + log p(x | z)`` of one position with all its
            constants, on coordinates without bounds; or a :class:`TemperedTarget`. Given a
            ``numpyro.infer.MCMC`` that has run, and no draws, its model; see
            :func:`tempered_ebm.numpyro.evidence_from_draws` for a model with other draws.
        draws: without the warm-up, a pytree of arrays with leading axes of chains and draws,
            (C, n, ...); states of BlackJAX with these axes, whose ``position`` is taken;
            ``numpyro.infer.MCMC``; ArviZ's ``InferenceData`` or ``DataTree``, whose ``posterior``
            is taken as a dict. Variables of a dict that the density does not use are left out.
            Draws of one chain need an axis of length one in front.
        prior_draws: draws from the prior, a pytree with a leading axis, ten thousand if they are
            cheap; ``logdensity_fn`` must be a :class:`TemperedTarget` then.
        rng_key: key of the reference's draws; ``jax.random.key(0)`` by default.

    Returns:
        The report, as of :func:`tempered_ebm.log_evidence`, of a path of two temperatures from
        the references to the draws.

    Raises:
        InputError: if the draws have no such axes, are fewer than 20 a chain, or do not move; if
            the log-density is not finite at one of them, which is then named.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> draws = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (4, 500, 1))
        >>> report = te.evidence_from_draws(lambda z: -jnp.sum((z - 3.0) ** 2) / 8, draws)
        >>> truth = jnp.log(2.0) + 0.5 * jnp.log(2 * jnp.pi)
        >>> bool(abs(report.log_evidence - truth) < 5 * report.standard_error)
        True
    """
    if draws is None:
        # NumPyro is optional, and above this module: only who has its objects needs it.
        from tempered_ebm import numpyro

        return numpyro.evidence_from_draws(logdensity_fn, rng_key=rng_key)
    started = time.perf_counter()
    rng_key = jax.random.key(0) if rng_key is None else rng_key
    checks.key("rng_key", rng_key)
    target = _as_joint(logdensity_fn)
    if prior_draws is not None and not isinstance(logdensity_fn, tuple):
        raise InputError(
            "logdensity_fn must be a TemperedTarget where prior_draws are given, whose halves tell "
            f"the prior from the likelihood, got {logdensity_fn!r}"
        )
    positions = _that_count(target, _split_single_chain(chains_of(draws)))
    num_chains, num_draws = jax.tree.leaves(positions)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), positions)
    try:
        batched, vectors, unravel = vectorize(target, flat)
    except AssertionError as error:  # NumPyro's, of a site without a key.
        raise InputError(
            "logdensity_fn failed an assertion of its own at one position; a NumPyro model goes to "
            "tempered_ebm.numpyro.evidence_from_draws(model, draws, ...)"
        ) from error
    log_joint = np.asarray(_evaluate(batched, vectors), np.float64).reshape(num_chains, num_draws)
    _require_finite(log_joint)
    z = np.asarray(vectors, np.float64).reshape(num_chains, num_draws, -1)
    mixing = _Mixing.of(z, log_joint)
    fit_key, draw_key, look_key = jax.random.split(rng_key, 3)
    references, spent = _references(fit_key, batched, z, log_joint, mixing)
    record = _bridge(draw_key, batched, references, z, log_joint, spent)
    why = f"{num_draws:,} of each of {num_chains} chains, bridged with what half of them fit"
    found = report.build(record, "draws", why, unravel, started)
    elsewhere = _elsewhere(look_key, batched, z, prior_draws)
    more = _warnings(references, elsewhere, found, mixing)
    return replace(found, warnings=(*found.warnings, *more))


def chains_of(draws: Any) -> Position:
    """Return draws of any of the admitted kinds as arrays with axes of chains and draws."""
    if hasattr(draws, "get_samples"):
        draws = draws.get_samples(group_by_chain=True)
    elif hasattr(draws, "groups"):
        group = draws["posterior"]
        draws = {
            name: group[name].transpose("chain", "draw", ...).values for name in group.data_vars
        }
    elif hasattr(draws, "position"):
        draws = draws.position
    return draws


def _as_joint(logdensity_fn: Any) -> TemperedTarget:
    """Return a target whose prior and likelihood add up to the log-density."""
    if type(logdensity_fn) in (tuple, TemperedTarget):
        return as_target(logdensity_fn)
    checks.function("logdensity_fn", logdensity_fn, "of a position")
    return TemperedTarget(logdensity_fn, lambda position: jnp.zeros(()))


def _that_count(target: TemperedTarget, draws: Any) -> Any:
    """Leave out variables of a dict on which the log-density does not depend, such as results."""
    if not isinstance(draws, dict):
        return draws
    one = {name: jnp.zeros(jnp.shape(x)[2:], jnp.result_type(x)) for name, x in draws.items()}

    def log_joint(*values: Array) -> Array:
        position = dict(zip(one, values, strict=True))
        return target.logprior_fn(position) + target.loglikelihood_fn(position)

    program = jax.make_jaxpr(log_joint)(*one.values()).jaxpr
    used = {id(atom) for equation in program.eqns for atom in equation.invars}
    used |= {id(atom) for atom in program.outvars}
    return {name: draws[name] for name, atom in zip(one, program.invars) if id(atom) in used}


def _split_single_chain(draws: Any) -> Position:
    """Return the draws as floating arrays of at least two chains; a single one is cut in two.

    Raises:
        InputError: if the leaves do not share axes of chains and draws, or are too few.
    """
    shapes = jax.tree.map(jnp.shape, draws)
    axes = {jnp.shape(leaf)[:2] for leaf in jax.tree.leaves(draws)}
    if len(axes) != 1 or len(next(iter(axes))) != 2:
        raise InputError(
            "draws must have leading axes of chains and draws that all arrays share (draws[None] "
            f"for a single chain), got shapes {shapes}"
        )
    num_chains, num_draws = axes.pop()
    if not num_chains:
        raise InputError(f"draws must have a chain, got shapes {shapes}")
    if num_chains > num_draws:
        raise InputError(
            f"draws must have the axes (chains, draws), got {num_chains} chains of {num_draws} "
            "draws; swap the two axes, or give single draws as one chain"
        )
    pieces = max(2 // num_chains, 1)
    length = num_draws // pieces
    if length < _FEWEST_DRAWS:
        raise InputError(
            f"draws must be at least {_FEWEST_DRAWS * pieces} a chain, got {num_draws}"
        )
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            leaf[:, : pieces * length].reshape(-1, length, *jnp.shape(leaf)[2:]),
            float if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else None,
        ),
        draws,
    )


@jax.jit
def _evaluate(target: TemperedTarget, z: Float[Array, "N d"]) -> Float[Array, "N"]:
    def one(z: Array) -> Array:
        return target.logprior_fn(z) + target.loglikelihood_fn(z)

    return jax.lax.map(one, z, batch_size=256)


def _require_finite(log_joint: Float[np.ndarray, "C n"]) -> None:
    bad = np.argwhere(~np.isfinite(log_joint))
    if len(bad):
        chain, draw = map(int, bad[0])
        raise InputError(
            f"logdensity_fn must be finite at every draw, got {log_joint[chain, draw]} at draw "
            f"{draw} of chain {chain} and at {len(bad)} of {log_joint.size} in all; the draws are "
            "of another density, on other coordinates, or where float32 ends (then set "
            "jax.config.update('jax_enable_x64', True))"
        )


class _Mixing(NamedTuple):
    """How well the chains have mixed.

    Attributes:
        num_effective: effective sample size of the worst coordinate in either half, (2,).
        r_hat: the largest rank-normalised split R-hat of coordinates and log-density.
    """

    num_effective: tuple[float, float]
    r_hat: float

    @classmethod
    def of(cls, z: Float[np.ndarray, "C n d"], log_joint: Float[np.ndarray, "C n"]) -> _Mixing:
        """Diagnose chains (Vehtari et al. 2021).

        Raises:
            InputError: if a coordinate does not move, or follows from others.
        """
        from blackjax.diagnostics import ess_bulk, rhat

        still = np.flatnonzero(np.ptp(z, axis=1).min(0) == 0)
        if still.size:
            raise InputError(
                f"draws must move in every chain, got a constant coordinate {int(still[0])}"
            )
        correlation = np.corrcoef(z.reshape(-1, z.shape[2]), rowvar=False)
        if np.linalg.eigvalsh(np.atleast_2d(correlation))[0] < _SINGULAR:
            raise InputError(
                f"draws must vary in every direction, got {z.shape[0] * z.shape[1]} draws in which "
                f"some of {z.shape[2]} coordinates follow linearly from others; leave these out, "
                "or make more draws"
            )
        # Centred, so that a log-density of -1e6 keeps its digits in float32.
        columns = np.concatenate([z, log_joint[..., None]], -1) if np.ptp(log_joint) else z
        series = jnp.asarray(columns - columns.mean((0, 1)))
        even, odd = (float(jnp.min(jax.jit(ess_bulk)(series[half::2]))) for half in (0, 1))
        return cls((even, odd), float(jnp.max(jax.jit(rhat)(series))))


def _references(
    rng_key: PRNGKey,
    target: TemperedTarget,
    z: Float[np.ndarray, "C n d"],
    log_joint: Float[np.ndarray, "C n"],
    mixing: _Mixing,
) -> tuple[tuple[Reference, ...], EvaluationCount]:
    """Return references fitted to even and to odd chains, and the evaluations that they cost."""
    references, spent = [], EvaluationCount(0, log_joint.size)
    for half, key in enumerate(jax.random.split(rng_key)):
        # The fit holds out every other draw: those of the second half of each chain.
        vectors, heights = (_in_turn(values[half::2]) for values in (z, log_joint))
        fit = fit_to_draws(key, target, vectors, heights, mixing.num_effective[half])
        references.append(fit.reference)
        spent = spent.plus(EvaluationCount(0, fit.num_values))
    return tuple(references), spent


def _in_turn(values: Float[np.ndarray, "C n ..."]) -> Float[np.ndarray, "N ..."]:
    """Return draws of the first and of the second half of all chains in turn."""
    middle = values.shape[1] // 2
    halves = values[:, :middle], values[:, middle : 2 * middle]
    pairs = np.stack([half.reshape(-1, *values.shape[2:]) for half in halves], axis=1)
    return pairs.reshape(-1, *values.shape[2:])


def _bridge(
    rng_key: PRNGKey,
    target: TemperedTarget,
    references: tuple[Reference, ...],
    z: Float[np.ndarray, "C n d"],
    log_joint: Float[np.ndarray, "C n"],
    spent: EvaluationCount,
) -> Record:
    """Return the run of two temperatures: draws of the references, and those of the posterior.

    Every chain stands beside as many draws of the reference that was fitted to the other half. As
    both references are normalised, and each has as many draws as its chains, what holds of each
    pair on average holds of all of them.
    """
    num_chains, num_draws, _ = z.shape
    num = num_draws + _EXTRA_DRAWS // num_chains
    given, drawn = np.empty((num_draws, num_chains)), np.empty((num, num_chains))
    for half, key in enumerate(jax.random.split(rng_key)):
        reference, mine = references[1 - half], slice(half, None, 2)
        given[:, mine] = (log_joint[mine] - _log_prob(reference, z[mine])).T
        num_all = drawn[:, mine].size
        weights = importance_draws(key, target, reference, num_all)[1]
        drawn[:, mine] = np.asarray(weights).reshape(num, -1)
        spent = spent.plus(EvaluationCount(0, num_all))
    log_ratios = np.stack([drawn[:num_draws], given])
    swaps = np.exp(np.minimum(log_ratios[0] - log_ratios[1], 0.0)).mean()
    return Record(
        temperatures=jnp.array([0.0, 1.0]),
        loglikelihoods=jnp.asarray(log_ratios),
        prior_loglikelihoods=jnp.asarray(drawn[num_draws:].T.reshape(-1)),
        positions=jnp.swapaxes(jnp.asarray(z), 0, 1)[:: -(-num_draws // _KEPT_POSITIONS)],
        swap_acceptance_rate=jnp.array([swaps]),
        flow=diagnostics.init_replica_flow(jnp.arange(2)),
        stopped="with the last of the draws",
        prepared=spent,
        total=spent,
    )


def _log_prob(
    reference: Reference, z: Float[np.ndarray, "*batch d"]
) -> Float[np.ndarray, "*batch"]:
    return np.asarray(jax.jit(Reference.log_prob)(reference, jnp.asarray(z)), np.float64)


class _Elsewhere(NamedTuple):
    """Independent draws of a proposal q, wide beside the posterior, where chains may not have been.

    Attributes:
        position: (n, d).
        log_weight: ``log p + ℓ - log q``, (n,).
        log_joint: ``log p + ℓ``, (n,).
    """

    position: Float[Array, "n d"]
    log_weight: Float[np.ndarray, "n"]
    log_joint: Float[np.ndarray, "n"]


def _elsewhere(
    rng_key: PRNGKey,
    target: TemperedTarget,
    z: Float[np.ndarray, "C n d"],
    prior_draws: Position | None,
) -> _Elsewhere | None:
    """Evaluate the density at draws of the prior, or of a normal four times as wide as ours."""
    dimension = z.shape[2]
    if prior_draws is not None:
        leaves = map(jnp.asarray, jax.tree.leaves(prior_draws))
        vectors = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
        if vectors.shape[1] != dimension:
            raise InputError(
                f"prior_draws must be positions of {dimension} coordinates as the draws are, got "
                f"{jax.tree.map(jnp.shape, prior_draws)}"
            )
        vectors = vectors.astype(float)
        log_prior = _evaluate(target._replace(loglikelihood_fn=Partial(_zero)), vectors)
        log_joint = _evaluate(target, vectors)
        found = _Elsewhere(vectors, np.asarray(log_joint - log_prior), np.asarray(log_joint))
    elif dimension <= _FEW_COORDINATES:
        flat = z.reshape(-1, dimension)
        covariance = _WIDTH**2 * np.cov(flat, rowvar=False).reshape(1, dimension, dimension)
        wide = mixtures.Mixture(np.ones(1), flat.mean(0)[None], covariance)
        reference = as_reference(wide, jnp.result_type(float))
        drawn = importance_draws(rng_key, target, reference, _WIDE_DRAWS)
        found = _Elsewhere(drawn[0], np.asarray(drawn[1]), np.asarray(drawn[2]))
    else:
        return None
    # A prior may reach where the likelihood is not a number: no mass is there.
    return found._replace(log_joint=np.nan_to_num(found.log_joint, nan=-np.inf))


def _zero(z: Float[Array, "d"]) -> Float[Array, ""]:
    return jnp.zeros((), z.dtype)


def _missing_share(
    references: tuple[Reference, ...], elsewhere: _Elsewhere, found: EvidenceReport
) -> float:
    """Return the mass, relative to the estimate, where the references have next to nothing.

    What the draws themselves have there is seen, and not missing.
    """
    position = np.asarray(elsewhere.position)
    either = np.logaddexp(*(_log_prob(one, position) for one in references))
    excess = elsewhere.log_joint - found.log_evidence - (either - math.log(2))
    log_shares = np.where(excess > _UNCOVERED, elsewhere.log_weight - found.log_evidence, -np.inf)
    seen = (found.loglikelihoods[1] - found.log_evidence > _UNCOVERED).mean()
    return max(float(np.exp(log_shares).mean() - seen), 0.0)


def _warnings(
    references: tuple[Reference, ...],
    elsewhere: _Elsewhere | None,
    found: EvidenceReport,
    mixing: _Mixing,
) -> Iterator[str]:
    """Yield what makes an estimate from these draws unreliable, and the remedy."""
    if mixing.r_hat > _LARGE_R_HAT:
        yield (
            f"the chains disagree, with R-hat {mixing.r_hat:.3g}: they are in different modes, or "
            "too short, or have their warm-up among them; the shares of modes, and with them the "
            "estimate, are arbitrary"
        )
    if min(mixing.num_effective) < _FEW_EFFECTIVE:
        yield (
            f"half of the chains are worth {min(mixing.num_effective):.0f} independent draws, "
            f"fewer than {_FEW_EFFECTIVE}: too few for a reference and an error bar; make more"
        )
    drawn = found.estimates["importance_sampling"]
    gap, error = Estimate(float(drawn.log_evidence), float(drawn.standard_error)).excess(
        found.log_evidence, found.standard_error
    )
    if abs(gap) > max(_SMALL_GAP, 5 * error):
        yield (
            f"draws of the references alone give {gap:+.2g} ± {error:.1g} nats beside this "
            "estimate: the given draws are not of this density, or there is mass where no chain "
            "has been; run longer chains from more places"
        )
    nats = 0.0
    if elsewhere is not None:
        nats = math.log1p(_missing_share(references, elsewhere, found))
    if nats > _MISSING_NATS:
        yield (
            f"mass where no chain has been: values elsewhere find about {nats:.2g} nats "
            "beyond this estimate; start chains all over the prior, or compare with "
            "tempered_ebm.log_evidence"
        )
