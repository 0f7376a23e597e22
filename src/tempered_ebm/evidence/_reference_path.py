"""Estimate along the path from a fitted reference to the posterior."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import diagnostics, schedules
from tempered_ebm.adaptation import step_sizes as adaptation
from tempered_ebm.errors import DivergedError
from tempered_ebm.evidence import _exploration as exploration
from tempered_ebm.evidence import _frozen_run as recorder
from tempered_ebm.evidence import _reference_fit as fitting
from tempered_ebm.evidence._frozen_run import VALUE_COST, EvaluationCount, RunBudget
from tempered_ebm.evidence._reference import Reference, importance_draws
from tempered_ebm.kernels import replica_exchange, tempered
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

LARGEST_DIMENSION = 256
LONGEST_PATH = 10.0
MOST_PARTICLES = 256
"""Draws of the prior that an exploration starts from, at most."""
_SPREADING_STEPS = 30
_TUNING_STEPS = 40
_TUNING_CHAINS = 8
_TEST_DRAWS = 2000
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
        particles: where the exploration ended, (N, d).
        trial: comparison of the two.
        has_arrived: whether the exploration reached the posterior.
        spent: number of evaluations.
    """

    reference: Reference
    particles: Float[Array, "N d"]
    trial: Trial
    has_arrived: bool
    spent: EvaluationCount

    @property
    def length(self) -> float:
        """Return the length of the path, about the number of intervals that it needs."""
        return math.sqrt(self.trial.divergence)

    @property
    def is_close(self) -> bool:
        """Return whether the path is short enough for the ladder that its ends give."""
        return self.has_arrived and self.length <= LONGEST_PATH


def find(rng_key: PRNGKey, target: TemperedTarget, position: Float[Array, "N d"]) -> Candidate:
    """Explore from draws of the prior, and fit a reference.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        position: draws from the prior. 256 of them are explored from, 128 in more than 6
            coordinates and 64 in more than 32; fewer are multiplied and spread.
    """
    num = _num_particles(position.shape[1])
    spread_key, explore_key, fit_key, trial_key = jax.random.split(rng_key, 4)
    spent = EvaluationCount(0, _TEST_DRAWS)
    particles = jnp.resize(position, (num, position.shape[1]))
    if len(position) < num:
        particles = _spread(spread_key, target, particles)
        spent = spent.plus(EvaluationCount(num * (1 + _SPREADING_STEPS), 0))
    found = exploration.explore(explore_key, target, particles)
    particles, log_joint = found.state.position, found.state.logprior + found.state.loglikelihood
    # On the host: a slice on the device compiles for every number of temperatures.
    visited = np.asarray(found.history)[: int(found.num_temperatures)]
    fit = fitting.fit_reference(fit_key, target, particles, log_joint, visited)
    trial = assess(trial_key, target, fit.reference, particles, log_joint)
    spent = spent.plus(EvaluationCount(exploration.num_gradients(found, num), 0)).plus(
        EvaluationCount(fit.num_gradients, fit.num_values)
    )
    return Candidate(fit.reference, particles, trial, float(found.temperature) == 1.0, spent)


def _num_particles(dimension: int) -> int:
    return MOST_PARTICLES if dimension <= 6 else 128 if dimension <= 32 else 64


@jax.jit
def _spread(
    rng_key: PRNGKey, target: TemperedTarget, position: Float[Array, "N d"]
) -> Float[Array, "N d"]:
    """Move copies of the same draws apart by MALA at t = 0."""
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
    rng_key: PRNGKey,
    target: TemperedTarget,
    reference: Reference,
    particles: Float[Array, "N d"],
    log_joint: Float[Array, "N"],
) -> Trial:
    r"""Compare a reference with the particles of an exploration.

    With :math:`w = \log p + \ell - \log r`, ``E_1[w] - E_0[w]`` is the symmetrised divergence, and
    its root is about the length of the path in units in which a rung is one long.
    """
    _, log_weights, _ = importance_draws(rng_key, target, reference, _TEST_DRAWS)
    log_weights = np.asarray(log_weights, np.float64)
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
) -> recorder.Record:
    """Run replica exchange from a reference, with independent draws of it beside.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        candidate: the reference.
        num_ensembles: independent ensembles.
        budget: how long to run.
        spent: what has been spent before.

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
    return recorder.record(run_key, block, *start, stopping_rule, prepared, per_step)


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
