"""Explore a posterior by sequential Monte Carlo from the prior."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tempered_ebm.kernels import tempered
from tempered_ebm.kernels.tempered import TemperedState
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

_MOST_TEMPERATURES = 400
_SNAPSHOTS = 16
_BISECTIONS = 40
_NUM_MOVES, _MOST_MOVES, _FAIR_ACCEPTANCE = 3, 12, 0.25
"""Metropolis-adjusted Langevin moves at each temperature, one gradient each: so many of a fair
acceptance rate, and so many in all. A step size that has fallen behind moves nothing."""
_TARGET_ESS = 0.5
"""Target ESS as a fraction of the number of particles."""
_GAIN = 2.0
_ACCEPTANCE = 0.574
_LARGEST_LOG_STEP = 0.7
"""Step sizes are in units of the particles' variance, beyond twice which no step is stable."""


class Exploration(NamedTuple):
    """Result of an exploration: particles, temperatures, and a rough log evidence.

    Attributes:
        state: particles at the temperature reached, with both halves of the target, (N, d).
        history: the particles at each of the first temperatures, (16, N, d); from those on that
            were not reached, the last: near every mode, and too early to have forgotten one.
        temperature: 1, unless the most temperatures were too few.
        num_temperatures: temperatures visited.
        log_evidence: rough estimate of log p(x), in nats.
        ancestors: the first particle from which each descends, (N,).
        num_moves: moves of every particle, all temperatures together.
        log_step_size: logarithm of the step size of the moves to come.
    """

    state: TemperedState
    history: Float[Array, "16 N d"]
    temperature: Float[Array, ""]
    num_temperatures: Int[Array, ""]
    log_evidence: Float[Array, ""]
    ancestors: Int[Array, "N"]
    num_moves: Int[Array, ""]
    log_step_size: Float[Array, ""]


@jax.jit
def explore(rng_key: PRNGKey, target: TemperedTarget, position: Float[Array, "N d"]) -> Exploration:
    """Temper particles from the prior to the posterior, as fast as their weights allow.

    Sequential Monte Carlo (Del Moral, Doucet and Jasra 2006): each temperature is the one at
    which the weights' effective sample size falls to a share of the particles (Jasra et
    al. 2011); particles are resampled, and moved by MALA in coordinates in which their
    covariance is the identity. Settings adapt to the very particles that they move, so the
    draws are for learning, not for estimates that count.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        position: draws from the prior.
    """
    dimension = position.shape[1]
    start = Exploration(
        tempered.init(position, target),
        jnp.broadcast_to(position, (_SNAPSHOTS, *position.shape)),
        jnp.zeros((), position.dtype),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), position.dtype),
        jnp.arange(len(position)),
        jnp.zeros((), jnp.int32),
        jnp.log(0.5 * 1.65**2 * jnp.asarray(dimension, position.dtype) ** (-1 / 3)),
    )

    def one_temperature(carry: Exploration) -> Exploration:
        key = jax.random.fold_in(rng_key, carry.num_temperatures)
        resample_key, move_key = jax.random.split(key)
        family = (carry.state, carry.ancestors)
        (state, ancestors), t, increment = _reweight(resample_key, family, carry.temperature)
        state, log_step_size, num_moves = _move(move_key, target, state, t, carry.log_step_size)
        to_come = jnp.arange(_SNAPSHOTS)[:, None, None] >= carry.num_temperatures
        return Exploration(
            state,
            jnp.where(to_come, state.position, carry.history),
            t,
            carry.num_temperatures + 1,
            carry.log_evidence + increment,
            ancestors,
            carry.num_moves + num_moves,
            log_step_size,
        )

    def unfinished(carry: Exploration) -> Array:
        return (carry.temperature < 1) & (carry.num_temperatures < _MOST_TEMPERATURES)

    return jax.lax.while_loop(unfinished, one_temperature, start)


def num_gradients(exploration: Exploration, num_particles: int) -> int:
    """Return the number of gradients evaluated: one at the start, and one a move."""
    return num_particles * (1 + int(exploration.num_moves))


def _reweight(
    rng_key: PRNGKey, particles: tuple[TemperedState, Array], t: Array
) -> tuple[tuple[TemperedState, Array], Array, Array]:
    """Raise the temperature until the ESS falls to its target, and resample."""
    from blackjax.smc.resampling import systematic

    values, logprior = particles[0].loglikelihood, particles[0].logprior
    values = jnp.where(jnp.isnan(values) | ~jnp.isfinite(logprior), -jnp.inf, values)
    gap = _largest_gap(values, 1 - t)
    log_weights = gap * values
    increment = jax.nn.logsumexp(log_weights) - jnp.log(values.size)
    chosen = systematic(rng_key, jax.nn.softmax(log_weights), values.size)
    particles = jax.tree.map(lambda leaf: leaf[chosen], particles)
    return (
        particles,
        jnp.where(gap >= (1 - t) * (1 - 1e-6), 1.0, t + gap).astype(t.dtype),
        increment,
    )


def _largest_gap(values: Array, most: Array) -> Array:
    """Return the gap at which the ESS is a fraction of the possible particles, or ``most``."""
    from blackjax.smc.ess import log_ess
    from blackjax.smc.solver import dichotomy

    wanted = _TARGET_ESS * jnp.sum(jnp.isfinite(values))
    high = jnp.log(most)
    # In the logarithm: a steep likelihood needs a first gap many orders below one.
    return jnp.exp(
        dichotomy(
            lambda log_gap: jnp.exp(log_ess(jnp.exp(log_gap) * values)) - wanted,
            high - 40.0,
            high,
            max_iter=_BISECTIONS,
        )
    )


def covariance_factor(position: Float[Array, "N d"]) -> Float[Array, "d d"]:
    """Return the Cholesky factor of the covariance, shrunk towards its diagonal by d / (d + N)."""
    num, dimension = position.shape
    covariance = jnp.atleast_2d(jnp.cov(position.T, ddof=0))
    scale = jnp.maximum(jnp.diag(covariance), 1e-12)
    share = dimension / (dimension + num)
    correlation = covariance / jnp.sqrt(scale[:, None] * scale[None, :])
    shrunk = (1 - share) * correlation + share * jnp.eye(dimension, dtype=position.dtype)
    shrunk = shrunk + 1e-6 * jnp.eye(dimension, dtype=position.dtype)
    return jnp.sqrt(scale)[:, None] * jnp.linalg.cholesky(shrunk)


def in_coordinates(target: TemperedTarget, factor: Float[Array, "d d"]) -> TemperedTarget:
    """Return the densities as functions of ``u`` with ``z = factor u``; no Jacobian is added."""
    return TemperedTarget(*((lambda u, fn=fn: fn(u @ factor.T)) for fn in target))


def _move(
    rng_key: PRNGKey, target: TemperedTarget, state: TemperedState, t: Array, log_step_size: Array
) -> tuple[TemperedState, Array, Array]:
    """Move the particles, the step size following their acceptance rate from move to move."""
    factor = covariance_factor(state.position)
    path = in_coordinates(target, factor)

    def one_move(carry: tuple) -> tuple:
        state, log_step_size, num_fair, num = carry
        kernel = tempered.tempered_mala(path, t, jnp.exp(log_step_size))
        state, info = kernel.step(jax.random.fold_in(rng_key, num), state)
        rate = info.acceptance_rate.mean()
        log_step_size += _GAIN * (rate - _ACCEPTANCE)
        num_fair += rate > _FAIR_ACCEPTANCE
        return state, jnp.minimum(log_step_size, _LARGEST_LOG_STEP), num_fair, num + 1

    def unfinished(carry: tuple) -> Array:
        return (carry[2] < _NUM_MOVES) & (carry[3] < _MOST_MOVES)

    zero = jnp.zeros((), jnp.int32)
    start = (change_coordinates(state, factor), log_step_size, zero, zero)
    end, log_step_size, _, num = jax.lax.while_loop(unfinished, one_move, start)
    return change_coordinates(end, factor, back=True), log_step_size, num


def change_coordinates(
    state: TemperedState, factor: Float[Array, "d d"], *, back: bool = False
) -> TemperedState:
    """Transform a state to ``u``, ``z = factor u``, or back, without an evaluation."""
    triangular = functools.partial(jax.scipy.linalg.solve_triangular, lower=True)
    grads = (state.logprior_grad, state.loglikelihood_grad)
    if back:
        position = state.position @ factor.T
        prior_grad, likelihood_grad = (triangular(factor, g.T, trans="T").T for g in grads)
    else:
        position = triangular(factor, state.position.T).T
        prior_grad, likelihood_grad = (g @ factor for g in grads)
    return state._replace(
        position=position, logprior_grad=prior_grad, loglikelihood_grad=likelihood_grad
    )
