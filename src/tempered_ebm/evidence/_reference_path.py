"""Estimate along the path from a fitted reference to the posterior."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempered_ebm import diagnostics, schedules
from tempered_ebm.adaptation import step_sizes as adaptation
from tempered_ebm.errors import DivergedError
from tempered_ebm.evidence import _coverage as coverage
from tempered_ebm.evidence import _exploration as exploration
from tempered_ebm.evidence import _frozen_run as recorder
from tempered_ebm.evidence import _reference_fit as fitting
from tempered_ebm.evidence._frozen_run import VALUE_COST, EvaluationCount, Journal, RunBudget
from tempered_ebm.evidence._reference import Reference, importance_draws
from tempered_ebm.evidence._vectorized_target import vectorize
from tempered_ebm.kernels import replica_exchange, tempered
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Position, PRNGKey

LARGEST_DIMENSION = 256
LONGEST_PATH = 10.0
MOST_PARTICLES = 256
"""Draws of the prior that an exploration starts from, at most."""
_SPREADING_STEPS = 30
_TUNING_STEPS = 40
_TUNING_CHAINS = 8
_TEST_DRAWS = 2000
_MOST_FITS = 3
_MOST_LOOKS, _LOOK_SHARE = 2**16, 0.1
_COST_OF_A_PARTICLE = 250
_CHAIN_SHARE = 0.3
"""Share of the price of a step that goes to chains; the rest goes to independent draws."""


class ReferencePath(NamedTuple):
    """A path from a reference to a posterior, in coordinates that whiten the reference.

    Attributes:
        reference: the start of the path.
        factor: Cholesky factor of its covariance, (d, d); positions are ``u``, ``z = factor u``.
        temperatures: ladder, (K,).
        step_size: step size of every rung, (K,).
    """

    reference: Reference
    factor: Float[Array, "d d"]
    temperatures: Float[Array, "K"]
    step_size: Float[Array, "K"]


def path_target(
    target: TemperedTarget, reference: Reference, factor: Float[Array, "d d"]
) -> TemperedTarget:
    """Return the reference as prior, and the ratio of joint density to it as likelihood."""

    def log_ratio(z: Array) -> Array:
        log_joint = target.logprior_fn(z) + target.loglikelihood_fn(z)
        return jnp.where(jnp.isnan(log_joint), -jnp.inf, log_joint) - reference.log_prob(z)

    return exploration.in_coordinates(TemperedTarget(reference.log_prob, log_ratio), factor)


def _kernel(target: TemperedTarget, path: ReferencePath) -> Any:
    def sample(rng_key: PRNGKey, shape: tuple[int, ...]) -> Array:
        z = path.reference.sample(rng_key, math.prod(shape))
        return _to_round(path.factor, z).reshape(*shape, -1)

    return replica_exchange.as_top_level_api(
        path_target(target, path.reference, path.factor),
        path.temperatures,
        path.step_size,
        sample_prior=sample,
    )


def _to_round(factor: Array, z: Array) -> Array:
    return jax.scipy.linalg.solve_triangular(factor, z.T, lower=True).T


class Candidate(NamedTuple):
    """A fitted reference, its assessment, and the evaluations that it cost.

    Attributes:
        reference: the fit.
        particles: where all explorations ended, the one that it was not fitted to last, (N, d).
        trial: comparison with those that it was fitted to.
        has_arrived: whether the exploration reached the posterior.
        unseen_log_ratio: ``log p + ℓ - log r`` at particles that it was not fitted to, (N,).
        ancestors: the first particle from which each of those descends, (N,).
        missing: nats that the reference does not cover, according to them, and standard error.
        spent: number of evaluations.
    """

    reference: Reference
    particles: Float[Array, "N d"]
    trial: Trial
    has_arrived: bool
    unseen_log_ratio: Float[np.ndarray, "N"]
    ancestors: Int[np.ndarray, "N"]
    missing: tuple[float, float]
    spent: EvaluationCount

    @property
    def length(self) -> float:
        """Return the length of the path, about the number of intervals that it needs."""
        return math.sqrt(self.trial.divergence)

    @property
    def is_short(self) -> bool:
        """Return whether the path is short enough for the ladder that its ends give."""
        return self.has_arrived and self.length <= LONGEST_PATH

    @property
    def covers(self) -> bool:
        """Return whether the particles that it was not fitted to are where the reference is."""
        return not coverage.is_missing(*self.missing)

    def second_look(self, log_weights: Float[np.ndarray, "n"]) -> coverage.Estimate:
        """Return the evidence by the particles that the reference was not fitted to.

        Args:
            log_weights: of independent draws of the reference.
        """
        return coverage.bridge(log_weights, self.unseen_log_ratio, self.ancestors)


def path_length(
    rng_key: PRNGKey, target: TemperedTarget, positions: Position
) -> tuple[float, EvaluationCount]:
    """Return the length of the path from a fitted reference, and the evaluations that it took.

    Args:
        rng_key: key of exploration and fit.
        target: prior and likelihood of one position.
        positions: draws from the prior.
    """
    batched, vectors, _ = vectorize(target, positions)
    if vectors.shape[1] > LARGEST_DIMENSION:
        return math.inf, EvaluationCount(0, 0)
    candidate = find(rng_key, batched, vectors, None)
    return candidate.length if candidate.has_arrived else math.inf, candidate.spent


def find(
    rng_key: PRNGKey, target: TemperedTarget, position: Float[Array, "N d"], budget: int | None
) -> Candidate:
    """Explore from draws of the prior, and fit a reference that a second exploration confirms.

    A reference that does not cover the ends of another exploration is fitted again to the
    particles of both, and a further exploration is made for the new fit, twice at most.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        position: draws from the prior. 256 of them are explored from, 128 in more than 32
            coordinates, by either exploration; fewer are multiplied and spread.
        budget: evaluations of the whole job, of which the exploration takes a share.
    """
    num, num_looks = _effort(position.shape[1], budget)
    spread_key, explore_key, fit_key, trial_key = jax.random.split(rng_key, 4)
    spent = EvaluationCount(0, 0)
    starts = jnp.resize(position, (2 * num, position.shape[1]))
    if len(position) < 2 * num:
        copies = _spread(spread_key, target, starts[len(position) :])
        starts = jnp.concatenate([position, copies])
    starts = starts.reshape(2, num, -1)
    found: list[exploration.Exploration] = []
    for i in range(_MOST_FITS):
        if i:
            spread = _spread(jax.random.fold_in(spread_key, i), target, starts.reshape(2 * num, -1))
            starts = spread.reshape(2, num, -1)
        keys = jax.random.split(jax.random.fold_in(explore_key, i))
        found += [jax.device_get(exploration.explore(keys[j], target, starts[j])) for j in range(2)]
        spent = spent.plus(
            EvaluationCount(sum(exploration.num_gradients(one, num) for one in found[-2:]), 0)
        )
        candidate = _fit(
            jax.random.fold_in(fit_key, i),
            trial_key,
            target,
            found[:-1],
            found[-1],
            position,
            num_looks,
        )
        spent = spent.plus(candidate.spent)
        if candidate.covers or not candidate.has_arrived:
            break
    return candidate._replace(spent=spent)


def _fit(
    fit_key: PRNGKey,
    trial_key: PRNGKey,
    target: TemperedTarget,
    seen: list[exploration.Exploration],
    unseen: exploration.Exploration,
    position: Float[Array, "N d"],
    num_looks: int,
) -> Candidate:
    """Fit a reference to the ends of some explorations, and compare it with those of another."""
    particles = np.concatenate([one.state.position for one in seen])
    log_joint = np.concatenate([one.state.logprior + one.state.loglikelihood for one in seen])
    steps = min(int(one.num_temperatures) for one in seen)
    history = np.concatenate([one.history[:steps] for one in seen], axis=1)
    fit = fitting.fit_reference(
        fit_key,
        target,
        jnp.asarray(particles),
        jnp.asarray(log_joint),
        history,
        position,
        num_looks,
    )
    log_weights = np.asarray(
        importance_draws(trial_key, target, fit.reference, _TEST_DRAWS)[1], np.float64
    )
    trial = assess(log_weights, fit.reference, particles, log_joint)
    candidate = Candidate(
        fit.reference,
        jnp.asarray(np.concatenate([particles, unseen.state.position])),
        trial,
        all(float(one.temperature) == 1.0 for one in seen),
        _log_ratio(fit.reference, unseen),
        np.asarray(unseen.ancestors),
        (0.0, 0.0),
        EvaluationCount(fit.num_gradients, fit.num_values + _TEST_DRAWS),
    )
    look = candidate.second_look(log_weights)
    return candidate._replace(missing=look.excess(*_log_mean_exp(log_weights)))


def _log_ratio(reference: Reference, found: exploration.Exploration) -> Float[np.ndarray, "N"]:
    log_joint = found.state.logprior + found.state.loglikelihood
    log_prob = jax.jit(Reference.log_prob)(reference, found.state.position)
    return np.asarray(log_joint - log_prob, np.float64)


def _log_mean_exp(log_weights: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """Return the log of the mean weight, and its standard error."""
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    mean = weights.mean()
    return float(top + np.log(mean)), float(weights.std() / mean / math.sqrt(len(weights)))


def _effort(dimension: int, budget: int | None) -> tuple[int, int]:
    """Return the number of particles, and of values all over the prior: powers of two."""
    num, looks = MOST_PARTICLES if dimension <= 32 else MOST_PARTICLES // 2, _MOST_LOOKS
    if budget is not None:
        num = min(num, 1 << max(budget // _COST_OF_A_PARTICLE, 32).bit_length() - 1)
        looks = min(looks, 1 << int(max(_LOOK_SHARE * budget / VALUE_COST, 256)).bit_length() - 1)
    return num, looks


@jax.jit
def _spread(
    rng_key: PRNGKey, target: TemperedTarget, position: Float[Array, "N d"]
) -> Float[Array, "N d"]:
    """Move copies of the same draws apart by MALA at t = 0, without evaluating the likelihood."""
    state, _ = adaptation.dual_averaging(
        rng_key,
        lambda h: tempered.tempered_mala(target, 0.0, h),
        tempered.init(position, target),
        jnp.asarray(0.1, position.dtype),
        _SPREADING_STEPS,
    )
    return state.position


class Trial(NamedTuple):
    """Assessment of a reference by independent draws.

    Attributes:
        divergence: symmetrised Kullback-Leibler divergence between reference and posterior, nats.
        ess: effective share of the importance weights.
        variances: variance of the log ratio under the reference and under the posterior.

    Log ratios are cut below: a draw far out in the tail of the reference, or where the likelihood
    is zero, makes the path no longer.
    """

    divergence: float
    ess: float
    variances: Float[np.ndarray, "2"]


def assess(
    log_weights: Float[np.ndarray, "n"],
    reference: Reference,
    particles: Float[np.ndarray, "N d"],
    log_joint: Float[np.ndarray, "N"],
) -> Trial:
    r"""Compare a reference with the particles of an exploration.

    With :math:`w = \log p + \ell - \log r`, ``E_1[w] - E_0[w]`` is the symmetrised divergence, and
    its root is about the length of the path in units in which a rung is one long.
    """
    if not np.isfinite(log_weights).any():
        return Trial(math.inf, 0.0, np.zeros(2))
    under_reference = _without_outliers(log_weights)
    log_prob = jax.jit(Reference.log_prob)(reference, particles)
    under_posterior = np.asarray(log_joint - log_prob, np.float64)
    weights = np.exp(log_weights - log_weights.max())
    return Trial(
        divergence=float(max(under_posterior.mean() - under_reference.mean(), 0.0)),
        ess=float(weights.sum() ** 2 / np.sum(weights**2) / len(weights)),
        variances=np.array([under_reference.var(), _without_outliers(under_posterior).var()]),
    )


def _without_outliers(values: np.ndarray) -> np.ndarray:
    """Return the values, cut below at the 5 % quantile of the finite ones."""
    possible = values[np.isfinite(values)]
    if not possible.size:
        return values
    return np.maximum(values, np.quantile(possible, 0.05, method="higher"))


def ladder(trial: Trial) -> Float[Array, "K"]:
    """Return a ladder of equal thermodynamic length, of a rung for each unit of length."""
    num = 2 + int(math.sqrt(trial.divergence))
    return schedules.equal_length(schedules.uniform(2), jnp.asarray(trial.variances), num)


@jax.jit
def prepare(
    rng_key: PRNGKey,
    target: TemperedTarget,
    reference: Reference,
    particles: Float[Array, "N d"],
    temperatures: Float[Array, "K"],
) -> tuple[ReferencePath, Any]:
    """Tune the step size of every rung above the reference, and freeze it.

    Args:
        rng_key: key of the tuning.
        target: prior and likelihood, for batches of vectors.
        reference: start of the path.
        particles: where the chains of every rung start.
        temperatures: ladder.
    """
    draw_key, tune_key = jax.random.split(rng_key)
    draws = reference.sample(draw_key, 4 * _TEST_DRAWS)
    factor = exploration.covariance_factor(_without_tails(draws))
    path = path_target(target, reference, factor)
    dimension = particles.shape[1]
    first = jnp.full(temperatures[1:].shape, 0.5 * 1.65**2 * dimension ** (-1 / 3), factor.dtype)
    start = _to_round(factor, particles)
    start = jnp.broadcast_to(start, (first.size, *start.shape))
    _, tuned = adaptation.dual_averaging(
        tune_key,
        lambda h: tempered.tempered_mala(path, temperatures[1:], h),
        tempered.init(start[:, :_TUNING_CHAINS], path),
        first,
        _TUNING_STEPS,
    )
    step_size = jnp.concatenate([first[:1], tuned])
    tuned_path = ReferencePath(reference, factor, temperatures, step_size)
    every_rung = jnp.broadcast_to(start[0], (temperatures.size, *start.shape[1:]))
    return tuned_path, _kernel(target, tuned_path).init(every_rung)


def _without_tails(draws: Array) -> Array:
    """Return draws clipped at twice the interquartile range, so that a covariance exists."""
    low, middle, high = jnp.quantile(draws, jnp.array([0.25, 0.5, 0.75]), axis=0)
    reach = 2 * (high - low)
    return jnp.clip(draws, middle - reach, middle + reach)


def run(
    rng_key: PRNGKey,
    target: TemperedTarget,
    candidate: Candidate,
    num_ensembles: int,
    budget: RunBudget,
    spent: EvaluationCount,
    journal: Journal,
) -> recorder.Record:
    """Run replica exchange from a reference, with independent draws of it beside.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        candidate: the reference.
        num_ensembles: independent ensembles.
        budget: how long to run.
        spent: what has been spent before.
        journal: where the run is kept, and how far it is.

    Raises:
        DivergedError: if no draw of the reference has a positive likelihood.
    """
    if not math.isfinite(candidate.length):
        raise DivergedError(
            "path 'reference' needs draws of positive likelihood, and none of the reference has "
            "one; give initial positions where the log-likelihood is finite"
        )
    prepare_key, run_key = jax.random.split(rng_key)
    temperatures = ladder(candidate.trial)
    num_rungs, particles = temperatures.size, candidate.particles
    # Ensembles that start at modes which others have not found tell by how they differ.
    starts = particles[jnp.linspace(0, len(particles) - 1, num_ensembles).astype(int)]
    path, state = prepare(prepare_key, target, candidate.reference, starts, temperatures)
    tuning = min(num_ensembles, _TUNING_CHAINS) * (num_rungs - 1) * (1 + _TUNING_STEPS)
    prepared = spent.plus(EvaluationCount(tuning + num_ensembles * num_rungs, 0))
    chains = num_rungs * num_ensembles
    draws = int(chains * (1 / _CHAIN_SHARE - 1) / VALUE_COST)
    per_step = EvaluationCount(chains, draws)
    num_steps, stopping_rule = budget.plan(prepared, per_step)

    def block(rng_key: PRNGKey, state: Any, flow: diagnostics.ReplicaFlow) -> recorder.Block:
        return _advance(rng_key, target, path, state, flow, num_steps, num_steps * draws)

    start = (state, temperatures)
    return recorder.record(run_key, block, *start, stopping_rule, prepared, per_step, journal)


@functools.partial(jax.jit, static_argnames=("num_steps", "num_draws"))
def _advance(
    rng_key: PRNGKey,
    target: TemperedTarget,
    path: ReferencePath,
    state: Any,
    flow: diagnostics.ReplicaFlow,
    num_steps: int,
    num_draws: int,
) -> recorder.Block:
    """Return a block of replica exchange, with independent draws of the reference."""
    run_key, draw_key = jax.random.split(rng_key)
    block = recorder.advance(run_key, _kernel(target, path), state, flow, num_steps)
    _, log_weights, _ = importance_draws(draw_key, target, path.reference, num_draws)
    return block._replace(prior_loglikelihood=log_weights, position=block.position @ path.factor.T)
