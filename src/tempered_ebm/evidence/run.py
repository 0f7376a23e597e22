"""The evidence in one call: explore, choose a path, run it frozen, and report."""

from __future__ import annotations

import time
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.adaptation import pilot
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import (
    _budget as sizing,
)
from tempered_ebm.evidence import (
    _prior_path as prior_path,
)
from tempered_ebm.evidence import (
    _reference_path as reference_path,
)
from tempered_ebm.evidence import (
    _vectorized_target,
    report,
)
from tempered_ebm.evidence._budget import Size, Spent
from tempered_ebm.evidence.report import EvidenceReport
from tempered_ebm.kernels import tempered
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import LogDensityFn, Position, PRNGKey

Path = Literal["auto", "reference", "prior"]

_ENSEMBLES = 32


def log_evidence(
    rng_key: PRNGKey,
    target: TemperedTarget | tuple[LogDensityFn, LogDensityFn],
    initial_positions: Position,
    *,
    path: Path = "auto",
    num_ensembles: int | None = None,
    num_temperatures: int = 16,
    num_samples: int = 1000,
    target_standard_error: float | None = None,
    max_num_samples: int = 64_000,
    budget: int | None = None,
    ladder: pilot.LadderRule = "equal_length",
    pilot_rounds: int = 6,
    pilot_steps: int = 100,
) -> EvidenceReport:
    r"""Estimate log p(x), with reasons to believe it or not.

    Particles are tempered from the prior to the posterior
    (:func:`tempered_ebm.evidence.exploration.explore`), and a mixture of normals and
    Student's t, the *reference*, is fitted to where they end, to the modes that Newton's method
    finds, and to its own weighted draws. Then, with everything frozen, replica exchange runs along

    .. math:: q_t(z) \propto r(z)^{1-t}\,[p(z)\,e^{\ell(z)}]^t,

    with independent draws of the reference on its first rung and beside it, and MBAR turns
    all of them into log p(x): with two rungs, bridge sampling (Meng and Wong 1996). The path has
    one rung more for each unit of its length.

    Where no reference is close (a path longer than ten, or more than 256 coordinates),
    the path starts from the prior instead: a pilot run tunes a ladder of equal
    thermodynamic length, step sizes and metrics (:func:`tempered_ebm.pilot.run`), and replica
    exchange and MBAR follow. ``report.path`` says which it was, and why. Every
    other estimator stands beside the default in the report.

    Args:
        rng_key: key of the whole run.
        target: *normalised* log prior and *full* log-likelihood of one position, as a
            ``TemperedTarget`` or a pair of functions. Missing constants are missing in the result.
        initial_positions: pytree with a leading axis of N: draws from the prior, 256 or more
            if they are cheap. On the path from the prior the ensembles start there.
        path: "reference" or "prior" to have it so, "auto" to choose.
        num_ensembles: independent ensembles of replica exchange, 16 or more for the most
            honest errors; by default one for each position, and 32 at most.
        num_temperatures: length of the ladder on the prior path, at least 2.
        num_samples: steps per ensemble; with ``target_standard_error`` the first ones.
        target_standard_error: go on, doubling the run, until the standard error in nats is
            at most this.
        max_num_samples: steps per ensemble at which to give up on it.
        budget: evaluations in all, in the place of ``num_samples`` and ``max_num_samples``: a
            log-likelihood with its gradient counts as one, without as a third; a Hessian in d
            dimensions as 2d. What exploration and pilot take is in it, and up to an eighth
            stays unspent.
        ladder: what the pilot of the prior path makes equal along the ladder.
        pilot_rounds: rounds of that pilot, each twice as long as the last.
        pilot_steps: steps of its first round.

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
    checks.at_least("num_temperatures", num_temperatures, 2)
    checks.at_least("num_samples", num_samples, sizing.FEWEST_STEPS)
    checks.at_least("max_num_samples", max_num_samples, num_samples)
    if target_standard_error is not None:
        checks.positive("target_standard_error", target_standard_error)
    if budget is not None:
        checks.at_least("budget", budget, 1)
    if num_ensembles is not None:
        checks.at_least("num_ensembles", num_ensembles, 1)
    if path not in ("auto", "reference", "prior"):
        raise InputError(f"path must be 'auto', 'reference' or 'prior', got {path!r}")
    started = time.perf_counter()
    batched, position, unravel = _vectorized_target.vectorize(target, initial_positions)
    tempered.check_initial_state(_evaluate(batched, position), 0.0)
    size = Size(num_samples, max_num_samples, budget, target_standard_error)
    num_ensembles = min(len(position), _ENSEMBLES) if num_ensembles is None else num_ensembles
    explore_key, run_key = jax.random.split(rng_key)
    spent = Spent(len(position), 0)
    candidate, why = _candidate(explore_key, batched, position, path)
    if candidate is not None:
        spent = spent.plus(candidate.spent)
    if candidate is not None and (candidate.is_close or path == "reference"):
        outcome = reference_path.run(run_key, batched, candidate, num_ensembles, size, spent)
        return report.build(outcome, "reference", why, unravel, started)
    plan = prior_path.PilotPlan(num_temperatures, ladder, pilot_rounds, pilot_steps)
    starts = jnp.resize(position, (num_ensembles, position.shape[1]))
    outcome = prior_path.run(run_key, batched, starts, plan, size, spent)
    return report.build(outcome, "prior", why, unravel, started)


@jax.jit
def _evaluate(target: TemperedTarget, position: Array) -> tempered.TemperedState:
    return tempered.init(position, target)


def _candidate(
    rng_key: PRNGKey, target: TemperedTarget, position: Float[Array, "N d"], path: Path
) -> tuple[reference_path.Candidate | None, str]:
    """A reference to start from, unless none is wanted, and in words why or why not."""
    dimension, most = position.shape[1], reference_path.LARGEST_DIMENSION
    if path == "prior":
        return None, "as requested"
    if dimension > most:
        if path == "reference":
            raise InputError(
                f"path must be 'prior' or 'auto' for {dimension} coordinates: a reference has at "
                f"most {most}, got 'reference'"
            )
        return None, f"{dimension} coordinates, of which a reference has at most {most}"
    candidate = reference_path.find(rng_key, target, position)
    if not candidate.has_arrived:
        return candidate, "the exploration did not reach the posterior"
    return candidate, (
        f"the path from the reference is {candidate.length:.2g} long, and at most "
        f"{reference_path.LONGEST_PATH:g} is short; effective share of its draws "
        f"{candidate.trial.ess:.2f}"
    )
