"""Estimate the evidence in one call: explore, choose a path, run it frozen, and report."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.adaptation import pilot
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import (
    _frozen_run,
    _heavy_tails,
    _prior_constant,
    _prior_path,
    _reference_path,
    report,
)
from tempered_ebm.evidence._coverage import Estimate, is_missing
from tempered_ebm.evidence._frozen_run import EvaluationCount, Journal, RunBudget
from tempered_ebm.evidence._vectorized_target import (
    VectorizedTarget,
    as_target,
    standard_promotion,
    vectorize,
)
from tempered_ebm.evidence.report import EvidenceReport
from tempered_ebm.kernels import tempered
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import LogDensityFn, Position, PRNGKey

Path = Literal["auto", "reference", "prior"]

_ENSEMBLES = 32
_FIRST_STEPS, _USUAL_STEPS, _MOST_STEPS = 100, 1_000, 64_000
_USUAL_ERROR = 0.01
_POOR_ERROR = 0.05
"""Nats above which a run from a reference is compared with one from the prior."""
_POSITIONAL = {"rng_key", "target", "initial_positions"}


@standard_promotion
def log_evidence(
    rng_key: PRNGKey,
    target: TemperedTarget | tuple[LogDensityFn, LogDensityFn],
    initial_positions: Position,
    *,
    path: Path = "auto",
    num_ensembles: int | None = None,
    num_temperatures: int = 16,
    num_samples: int | None = None,
    target_standard_error: float | None = None,
    max_num_samples: int | None = None,
    budget: int | None = None,
    ladder: pilot.LadderRule = "equal_length",
    pilot_rounds: int = 6,
    pilot_steps: int = 100,
    normalize_prior: bool = False,
    checkpoint: str | PathLike | None = None,
    progress: bool = False,
) -> EvidenceReport:
    r"""Estimate log p(x) by tempering, with diagnostics and reliability warnings.

    Particles are tempered from the prior to the posterior by sequential Monte Carlo, and a
    mixture of normals and Student's t, the *reference*, is fitted to where they end, to the modes
    that Newton's method finds, and to its own weighted draws. Then, with everything frozen,
    replica exchange runs along

    .. math:: q_t(z) \propto r(z)^{1-t}\,[p(z)\,e^{\ell(z)}]^t,

    with independent draws of the reference on its first rung and beside it, and MBAR turns
    all of them into log p(x): with two rungs, bridge sampling (Meng and Wong 1996). The path has
    one rung more for each unit of its length.

    A second exploration, to which the reference is not fitted, is bridged with it. Where it finds
    mass that the reference does not cover, the reference is fitted again to both, and at last given
    up. In up to six coordinates 65,536 values all over the prior look for narrow peaks, and
    coordinates in which prior and posterior have heavy tails are transformed.

    Where no reference is close (a path longer than ten, or more than 256 coordinates), or the
    run from it is unreliable (it has warnings, or a standard error above .05), the path
    starts from the prior instead, unless a budget or the number of steps was given: a pilot run
    tunes a ladder of equal thermodynamic length, step sizes and metrics
    (:func:`tempered_ebm.pilot.run`), and replica exchange and MBAR follow. ``report.path`` says
    which it was, and ``report.why`` why. Every other estimator stands beside the default in the
    report.

    Args:
        rng_key: key of the whole run.
        target: *normalised* log prior and *full* log-likelihood of one position, as a
            ``TemperedTarget`` or a pair of functions. Missing constants are missing in the result.
        initial_positions: pytree with a leading axis of N: draws from the prior, 512 if they are
            cheap. With 64 or more, a prior that does not integrate to one is noticed. On the
            path from the prior the ensembles start there.
        path: "reference" or "prior" forces that path, "auto" chooses.
        num_ensembles: independent ensembles of replica exchange, 16 or more for
            reliable error bars; by default one for each position, and 32 at most.
        num_temperatures: length of the ladder on the prior path, at least 2.
        num_samples: steps per ensemble; with ``target_standard_error`` the first ones. By default
            100, and then as many as a standard error of .01 nats takes, up to 1,000.
        target_standard_error: go on, doubling the run, until the standard error in nats is
            at most this.
        max_num_samples: steps per ensemble at which to give up on it, 64,000 by default.
        budget: evaluations in all, in the place of ``num_samples`` and ``max_num_samples``: a
            log-likelihood with its gradient counts as one, without as a third; a Hessian in d
            dimensions as 2d. What exploration and pilot take is in it, and up to an eighth
            stays unspent.
        ladder: what the pilot of the prior path makes equal along the ladder.
        pilot_rounds: rounds of that pilot, each twice as long as the last.
        pilot_steps: steps of its first round.
        normalize_prior: measure the integral of ``exp(logprior)`` by a run of its own, along a path
            from a reference as well, and divide by it. On the path from the prior such a constant
            cancels in any case.
        checkpoint: a folder for the pilot and every block of at most 1,024 steps. The same call
            made again, after whatever stopped it, explores again and reads the rest from there.
        progress: show steps, rate, standard error and time left on the standard error stream.

    Returns:
        The report; ``print`` it. With ``target_standard_error``, an interrupt (Ctrl-C) after
        the first block of steps ends the run and reports what there is.

    Raises:
        InputError: if an argument is out of range, the initial positions do not share a
            leading axis, a chain starts at NaN, or the budget does not pay for the preparations
            and ten steps.
        DivergedError: if no chain of the path finds places of finite log-likelihood.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: jax.scipy.stats.norm.logpdf(z).sum(),
        ...     lambda z: jax.scipy.stats.norm.logpdf(2.0, z, 0.5).sum(),
        ... )
        >>> prior_draws = jax.random.normal(jax.random.key(0), (256, 1))
        >>> report = te.log_evidence(jax.random.key(1), target, prior_draws, num_samples=100)
        >>> truth = jax.scipy.stats.norm.logpdf(2.0, 0.0, jnp.sqrt(1.25))
        >>> bool(abs(report.log_evidence - truth) < 5 * report.standard_error)
        True
    """
    checks.key("rng_key", rng_key)
    checks.concrete_arrays("rng_key and initial_positions", (rng_key, initial_positions))
    checks.at_least("num_temperatures", num_temperatures, 2)
    run_budget = _run_budget(num_samples, max_num_samples, budget, target_standard_error)
    checks.at_least("num_samples", run_budget.num_samples, _frozen_run.FEWEST_STEPS)
    checks.at_least("max_num_samples", run_budget.max_num_samples, run_budget.num_samples)
    if target_standard_error is not None:
        checks.positive("target_standard_error", target_standard_error)
    if budget is not None:
        checks.at_least("budget", budget, 1)
    if num_ensembles is not None:
        checks.at_least("num_ensembles", num_ensembles, 1)
    checks.at_least("pilot_rounds", pilot_rounds, 2)
    checks.at_least("pilot_steps", pilot_steps, 10)
    checks.one_of("ladder", ladder, get_args(pilot.LadderRule))
    checks.one_of("path", path, get_args(Path))
    checks.flag("normalize_prior", normalize_prior)
    checks.flag("progress", progress)
    folder = None if checkpoint is None else checks.folder("checkpoint", checkpoint)
    journal = Journal(folder, progress)
    started = time.perf_counter()
    constant, spent = None, EvaluationCount(0, 0)
    if normalize_prior:
        rng_key, prior_key = jax.random.split(rng_key)
        target, constant, spent = _normalized(prior_key, as_target(target), initial_positions)
    vectorized = batched, position, unravel = vectorize(target, initial_positions)
    checks.concrete_arrays("the data of the log-densities", batched)
    _check_start(jax.jit(tempered.init)(position, batched))
    num_ensembles = min(len(position), _ENSEMBLES) if num_ensembles is None else num_ensembles
    explore_key, run_key = jax.random.split(rng_key)
    spent = spent.plus(EvaluationCount(len(position), 0))
    journal.say(f"{position.shape[1]} coordinates, {len(position)} initial positions")
    candidate, why = _candidate(explore_key, batched, position, path, budget)
    journal.say(why)
    if candidate is not None:
        spent = spent.plus(candidate.spent)
        coordinates = _heavy_tails.of(position, candidate.particles)
        if coordinates is not None:
            batched, position, unravel = _in_coordinates(coordinates, vectorized)
            again, why = _candidate(explore_key, batched, position, path, budget)
            assert again is not None
            candidate, spent = again, spent.plus(again.spent)
    results = []
    is_good = candidate is not None and candidate.is_short and candidate.covers
    if candidate is not None and (is_good or path == "reference"):
        record = _reference_path.run(
            run_key,
            batched,
            candidate,
            num_ensembles,
            run_budget,
            spent,
            journal.within("reference"),
        )
        log_weights = np.asarray(record.prior_loglikelihoods, np.float64)
        look = candidate.second_look(log_weights)
        found = report.build(record, "reference", why, unravel, started, look)
        said = _prior_constant.warnings(jax.random.fold_in(run_key, 1), batched, position)
        # A prior without its constant is no reason to doubt the run: the constant is in the result.
        doubt = _why_unreliable(found, is_length_given=num_samples is not None)
        found = replace(found, prior_constant=constant, warnings=(*found.warnings, *said))
        if path == "reference" or budget is not None or doubt is None:
            return found
        results.append(found)
        why, spent = f"the run from a reference is unreliable: {doubt}", record.total
    plan = _prior_path.PilotPlan(num_temperatures, ladder, pilot_rounds, pilot_steps)
    starts = jnp.resize(position, (num_ensembles, position.shape[1]))
    record = _prior_path.run(
        run_key, batched, starts, plan, run_budget, spent, journal.within("prior")
    )
    results.append(report.build(record, "prior", why, unravel, started))
    best = min(
        results, key=lambda one: (bool(one.warnings), np.nan_to_num(one.standard_error, nan=np.inf))
    )
    return replace(best, cost=results[-1].cost)


def _check_start(state: tempered.TemperedState) -> None:
    """Require a log prior that is a number at every start, and a log-likelihood at one of them."""
    start, grad = state.position, state.logprior_grad
    checks.check_initial_state("logprior_fn", state.logprior, grad, start)
    if jnp.isnan(state.loglikelihood).all():
        raise InputError(
            "loglikelihood_fn must return numbers, got NaN at every one of the "
            f"{len(start)} initial positions; look for NaN in the data"
        )


def _why_unreliable(found: EvidenceReport, is_length_given: bool) -> str | None:
    """Return why a run from a reference should be compared with one from the prior, if it should.

    One whose length was asked for is not prolonged because it was short.
    """
    look = found.second_look
    if look and is_missing(*look.excess(found.log_evidence, found.standard_error)):
        return "it misses what a second exploration found"
    if is_length_given:
        return None
    if found.warnings:
        return found.warnings[0]
    if not found.standard_error <= _POOR_ERROR:
        return f"its standard error is {found.standard_error:.2g}"
    return None


def _normalized(
    rng_key: PRNGKey, target: TemperedTarget, initial_positions: Position
) -> tuple[TemperedTarget, Estimate, EvaluationCount]:
    """Return the target with a normalised prior, what has been subtracted, and what it cost."""
    alone = TemperedTarget(
        target.logprior_fn, lambda position: jnp.zeros_like(target.logprior_fn(position))
    )
    found = log_evidence(rng_key, alone, initial_positions, path="reference")
    # A closed-over array is an operand of compiled programs, a number would be part of them.
    constant = jnp.array([found.log_evidence])

    def logprior(position: Position) -> Array:
        value = target.logprior_fn(position)
        return value - constant[0].astype(value.dtype)

    return (
        TemperedTarget(logprior, target.loglikelihood_fn),
        Estimate(found.log_evidence, found.standard_error),
        EvaluationCount(found.cost.gradient_evaluations, found.cost.value_evaluations),
    )


def _in_coordinates(
    coordinates: _heavy_tails.Coordinates, vectorized: VectorizedTarget
) -> VectorizedTarget:
    """Return the target and the positions in other coordinates."""
    return VectorizedTarget(
        coordinates.target(vectorized.target),
        coordinates.forward(vectorized.position),
        lambda u: vectorized.unravel(coordinates.back(u)),
    )


def _run_budget(
    num_samples: int | None,
    max_num_samples: int | None,
    budget: int | None,
    target_standard_error: float | None,
) -> RunBudget:
    """Return the length of a run from the arguments that were given."""
    most = _MOST_STEPS
    if num_samples is None and budget is None and target_standard_error is None:
        most, target_standard_error = _USUAL_STEPS, _USUAL_ERROR
    return RunBudget(
        _FIRST_STEPS if num_samples is None else num_samples,
        most if max_num_samples is None else max_num_samples,
        budget,
        target_standard_error,
    )


@standard_promotion
def log_normalizer(
    rng_key: PRNGKey,
    negative_energy_fn: Callable[[Position], Array],
    example_position: Position | int,
    *,
    num_ensembles: int = 32,
    options: Mapping[str, Any] | None = None,
) -> EvidenceReport:
    r"""Estimate the log normaliser (log partition function) of an energy-based model.

    .. math:: p(z) = \frac{1}{Z} e^{f(z)} N(z; 0, I), \qquad
              \log Z = \log E_{N(0, I)}[e^{f(z)}]

    is the evidence of the prior N(0, I) and the "log-likelihood" f, so that everything said of
    an evidence holds here, for a latent EBM prior (Pang et al. 2020, section 2) among others. For
    :math:`\int e^{g(z)}dz` of a log-density g on its own, let
    :math:`f(z) = g(z) - \log N(z; 0, I)`.

    Args:
        rng_key: key of starts and run.
        negative_energy_fn: ``z -> f(z)``, a scalar for one z. Larger means more probable.
        example_position: a pytree of floating arrays like one z, or the dimension d of
            vectors z.
        num_ensembles: independent ensembles; 16 or more give reliable error bars.
        options: further arguments of :func:`tempered_ebm.log_evidence`, by name.

    Returns:
        The report of :func:`tempered_ebm.log_evidence`, whose ``log_evidence`` is log Z.

    Raises:
        InputError: as :func:`tempered_ebm.log_evidence`; if the dimension is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> report = te.log_normalizer(
        ...     jax.random.key(0), lambda z: jnp.sum(z), 2,
        ...     options={"num_samples": 50},
        ... )
        >>> bool(abs(report.log_evidence - 1.0) < 5 * report.standard_error)
        True
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_ensembles", num_ensembles, 1)
    checks.function("negative_energy_fn", negative_energy_fn, "of a position")
    if isinstance(example_position, int):
        checks.at_least("example_position", example_position, 1)
        example_position = jnp.zeros(example_position)
    example = chains.as_position(example_position)
    start_key, run_key = jax.random.split(rng_key)
    target = TemperedTarget(log_standard_normal, negative_energy_fn)
    num_starts = max(num_ensembles, _reference_path.MOST_PARTICLES)
    starts = _standard_normal(start_key, example, num_starts)
    return log_evidence(
        run_key, target, starts, **{"num_ensembles": num_ensembles, **check_options(options)}
    )


def check_options(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return further arguments of :func:`log_evidence`, by name.

    Raises:
        InputError: if they are no mapping, or have a name that it does not take.
    """
    names = inspect.signature(log_evidence).parameters.keys() - _POSITIONAL
    options = {} if options is None else options
    if not isinstance(options, Mapping):
        raise InputError(f"options must be a mapping of names to values, got {options!r}")
    unknown = sorted(map(str, options.keys() - names))
    if unknown:
        raise InputError(
            f"options must be among the arguments {sorted(names)} of log_evidence, got {unknown}"
        )
    return options


def _candidate(
    rng_key: PRNGKey,
    target: TemperedTarget,
    position: Float[Array, "N d"],
    path: Path,
    budget: int | None,
) -> tuple[_reference_path.Candidate | None, str]:
    """Return a reference to start from, or None, and the reason in words."""
    dimension, most = position.shape[1], _reference_path.LARGEST_DIMENSION
    if path == "prior":
        return None, "as requested"
    if dimension > most:
        if path == "reference":
            raise InputError(
                f"path must be 'prior' or 'auto' for {dimension} coordinates: a reference has at "
                f"most {most}, got 'reference'"
            )
        return None, f"{dimension} coordinates, of which a reference has at most {most}"
    candidate = _reference_path.find(rng_key, target, position, budget)
    if not candidate.has_arrived:
        return candidate, "the exploration did not reach the posterior"
    if not candidate.covers:
        nats, error = candidate.missing
        return candidate, (
            f"a second exploration found {nats:.2g} ± {error:.1g} nats that no reference covers"
        )
    return candidate, (
        f"length {candidate.length:.2f} (up to {_reference_path.LONGEST_PATH:g} is accepted), "
        f"effective share of reference draws {candidate.trial.ess:.2f}"
    )


def log_standard_normal(position: Position) -> Float[Array, ""]:
    """Return the log density of N(0, I) at one position, over all its leaves."""
    leaves = jax.tree.leaves(position)
    squares = sum(jnp.sum(leaf**2) for leaf in leaves)
    return -0.5 * squares - 0.5 * math.log(2 * math.pi) * sum(leaf.size for leaf in leaves)


def _standard_normal(rng_key: PRNGKey, example: Position, num: int) -> Position:
    leaves, structure = jax.tree.flatten(example)
    keys = jax.random.split(rng_key, len(leaves))
    draws = [
        jax.random.normal(key, (num, *leaf.shape), leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, draws)
