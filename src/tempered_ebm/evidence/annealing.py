r"""Annealed importance sampling with Langevin transitions, in both directions.

With :math:`\ell(z)` the log-likelihood and :math:`T_k` a transition that leaves
:math:`q_{t_k} \propto p\,e^{t_k\ell}` invariant, a forward chain starts at :math:`z_0 \sim q_0`,
moves :math:`z_k \sim T_k(z_{k-1})` for k = 1 ... K-1, and has the log weight

.. math:: w = \sum_{k=0}^{K-2} (t_{k+1} - t_k)\,\ell(z_k), \qquad E[e^w] = Z = p(x)

(Neal 2001): each position is weighed before it moves. The transitions here are reversible,
so that the same sequence backwards, from :math:`z_{K-1} \sim q_1` by :math:`z_{k-1} \sim T_k(z_k)`
for k = K-1 ... 1, is its reversal in time, and

.. math:: w = -\sum_{k=0}^{K-2} (t_{k+1} - t_k)\,\ell(z_k), \qquad E[e^w] = 1/Z.

The state of a tempered chain carries :math:`\ell`: the weights evaluate nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm import _closures, inference, schedules
from tempered_ebm.adaptation import step_sizes as adaptation
from tempered_ebm.adaptation.pilot import Tuning
from tempered_ebm.errors import InputError
from tempered_ebm.evidence import _vectorized_target as vectorized
from tempered_ebm.evidence.reweighting import Direction
from tempered_ebm.kernels import tempered
from tempered_ebm.kernels.tempered import TemperedState
from tempered_ebm.target import TemperedTarget, temper
from tempered_ebm.types import Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class AnnealedEstimate(NamedTuple):
    """An estimate of log p(x) from independent weights, with diagnostics.

    Attributes:
        log_evidence: the estimate in nats, in expectation a lower bound from forward weights
            and an upper bound from reverse ones.
        standard_error: its Monte Carlo standard error in nats; NaN if there is one chain, or
            no weight above zero.
        one_chain_bound: mean log weight, with the sign of ``log_evidence``: the bound that the
            chains give one by one. Never closer in expectation than ``log_evidence``.
        effective_sample_size: how many equal weights would do as well, from 0 to the
            number of chains.
        pareto_k: shape of the tail of the weights (Vehtari et al. 2024). Beyond .7 a few
            chains decide and the standard error is not to be trusted; ``inf`` where fewer
            weights than the tail takes are positive, or fewer than 25 are given.
    """

    log_evidence: Float[Array, ""]
    standard_error: Float[Array, ""]
    one_chain_bound: Float[Array, ""]
    effective_sample_size: Float[Array, ""]
    pareto_k: Float[Array, ""]


def annealed_estimate(
    log_weights: Float[Array, "N"], *, direction: Direction = "forward"
) -> AnnealedEstimate:
    r"""Estimate log p(x) from the log weights of independent annealed chains.

    .. math:: \log \tfrac1N \sum_n e^{w_n} \;\text{(forward)}, \qquad
              -\log \tfrac1N \sum_n e^{w_n} \;\text{(reverse)}

    The means are unbiased for Z and for 1/Z; their logarithms are not. Forward is low in
    expectation, reverse is high (Grosse, Ghahramani and Adams 2015), each by about half
    the squared standard error, and by Markov's inequality either passes the truth
    by more than b nats with probability below :math:`e^{-b}`. The standard error is the delta
    method's, :math:`\mathrm{sd}(e^w) / (\overline{e^w} \sqrt N)`.

    Args:
        log_weights: log weights in nats, shape (N,); ``-inf`` is a weight of zero. Those of
            :func:`tempered_ebm.annealed_importance_sampling`, or of
            :func:`tempered_ebm.reverse_annealed_importance_sampling` for the other direction.
        direction: "forward" if the weights average to Z, "reverse" if they average to 1/Z.

    Returns:
        The estimate with standard error, one-chain bound, effective sample size and Pareto k.

    Raises:
        InputError: if the weights are not one floating axis of at least one chain, the
            direction is unknown, or a weight is NaN or ``+inf``.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> log_weights = jax.random.normal(jax.random.key(0), (10_000,)) - 0.5  # E[exp(w)] = 1
        >>> estimate = te.evidence.annealed_estimate(log_weights)
        >>> bool(abs(estimate.log_evidence) < 5 * estimate.standard_error)
        True
    """
    checks.one_of("direction", direction, get_args(Direction))
    log_weights = _as_log_weights(log_weights)
    sign = 1.0 if direction == "forward" else -1.0
    peak = log_weights.max()
    peak = jnp.where(jnp.isfinite(peak), peak, 0.0)
    weights = jnp.exp(log_weights - peak)
    mean = weights.mean()
    return AnnealedEstimate(
        log_evidence=sign * (peak + jnp.log(mean)),
        standard_error=jnp.std(weights, ddof=1) / (mean * math.sqrt(weights.size)),
        one_chain_bound=sign * log_weights.mean(),
        effective_sample_size=_effective_sample_size(weights),
        pareto_k=_pareto_k(log_weights),
    )


def _as_log_weights(log_weights: Float[Array, "N"]) -> Float[Array, "N"]:
    log_weights = checks.real_array("log_weights", log_weights)
    if log_weights.ndim != 1 or log_weights.size == 0:
        raise InputError(
            f"log_weights must have shape (N,) with at least one chain, got {log_weights.shape}"
        )
    if not jnp.issubdtype(log_weights.dtype, jnp.floating):
        raise InputError(f"log_weights must have a floating dtype, got {log_weights.dtype}")
    known = checks.concrete(log_weights)
    if known is not None:
        bad = np.flatnonzero(np.isnan(known) | np.isposinf(known))
        if bad.size:
            raise InputError(
                f"log_weights must be finite or -inf, got {known[bad[0]]} of chain {bad[0]}"
            )
    return log_weights


def _effective_sample_size(weights: Float[Array, "N"]) -> Float[Array, ""]:
    """Return Kish's ESS ``(Σ w)² / Σ w²``, or 0 without a positive weight."""
    squares = jnp.sum(weights**2)
    return jnp.where(squares > 0, weights.sum() ** 2 / jnp.where(squares > 0, squares, 1.0), 0.0)


def _pareto_k(log_weights: Float[Array, "N"]) -> Float[Array, ""]:
    from blackjax.diagnostics import psis_weights

    shape = psis_weights(log_weights)[1].astype(log_weights.dtype)
    # Zeros within the tail leave nothing to fit.
    return jnp.where(jnp.isnan(shape), jnp.inf, shape)


class AnnealedRun(NamedTuple):
    """Annealed chains, their weights, and the estimate from the weights.

    Attributes:
        log_weights: log weight of each chain in nats, (N,).
        state: where the chains ended, with both halves of the target. Forward, they are
            draws of the posterior when weighted by ``exp(log_weights)``.
        acceptance_rate: of the moves at ``temperatures[1:]``, averaged over chains, (K-1,).
        estimate: log p(x) from the weights.
    """

    log_weights: Float[Array, "N"]
    state: TemperedState
    acceptance_rate: Float[Array, "K-1"]
    estimate: AnnealedEstimate


class BidirectionalBounds(NamedTuple):
    """Bounds on log p(x) from chains in both directions, in nats.

    Attributes:
        lower: below log p(x) in expectation, from the forward chains.
        upper: above log p(x) in expectation, from the reverse chains.
        gap: ``upper - lower``.
        forward: the chains from the prior.
        reverse: the chains from the posterior.
    """

    lower: Float[Array, ""]
    upper: Float[Array, ""]
    gap: Float[Array, ""]
    forward: AnnealedRun
    reverse: AnnealedRun


def anneal_weights(
    rng_key: PRNGKey,
    build_kernel: Callable[[Tuning], SamplingAlgorithm],
    state: TemperedState,
    tuning: Tuning,
    num_steps: int,
    *,
    direction: Direction,
) -> tuple[Float[Array, "*chains"], TemperedState, Float[Array, "K-1"]]:
    """Anneal chains along a ladder with any Metropolis-adjusted kernel, and return their weights.

    One scan over the temperatures; temperatures and settings are data. Call it inside
    ``jax.jit``: an eager call compiles its loop every time.

    Args:
        rng_key: key of the chains.
        build_kernel: ``settings of one temperature -> algorithm`` on tempered states, such as
            ``lambda rung: te.tempered_mala(target, rung.temperatures, rung.step_size)``.
        state: chains at exact draws of the prior, or of the posterior for the way back.
        tuning: ladder and settings of each temperature; leaves lead with K.
        num_steps: steps at each temperature but the first, at least 1.
        direction: "forward" from the prior, or "reverse" from the posterior.

    Returns:
        Log weights of the chain shape, the chains where they end, and mean acceptance rates
        at ``temperatures[1:]``.

    Raises:
        InputError: if ``num_steps`` is below 1, the direction is unknown, or the kernel is not
            adjusted: no ``q_t`` is invariant under an unadjusted one, and the weights do not
            average to Z.
    """
    checks.at_least("num_steps", num_steps, 1)
    checks.one_of("direction", direction, get_args(Direction))
    increments, rungs = _intervals(tuning)
    adaptation.require_adjusted(
        build_kernel(jax.tree.map(lambda leaf: leaf[0], rungs)),
        rng_key,
        state,
        "an unadjusted one leaves no q_t invariant, so that its weights do not average to the "
        "evidence",
    )

    def mean_acceptance(state: TemperedState, info: Any) -> Float[Array, ""]:
        return info.acceptance_rate.mean()

    def interval(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        key, increment, rung = inputs

        def move(state: TemperedState) -> tuple[TemperedState, Array]:
            state, rates = inference.run_with_moments(
                key, build_kernel(rung), state, num_steps, statistic_fn=mean_acceptance
            )
            return state, rates.mean

        return _STEPS[direction](move, increment, *carry)

    carry = (jnp.zeros_like(state.loglikelihood), state)
    keys = jax.random.split(rng_key, increments.shape[0])
    (log_weights, state), rates = jax.lax.scan(
        interval, carry, (keys, increments, rungs), reverse=direction == "reverse"
    )
    return log_weights, state, rates


def _intervals(tuning: Tuning) -> tuple[Float[Array, "K-1"], Tuning]:
    """Return the length of each interval of the ladder, and the settings at its upper end."""
    return jnp.diff(tuning.temperatures), jax.tree.map(lambda leaf: leaf[1:], tuning)


def _weigh_and_move(
    move: Callable, increment: Float[Array, ""], log_weights: Array, state: TemperedState
) -> tuple[tuple[Array, TemperedState], Array]:
    log_weights = temper(increment, log_weights, state.loglikelihood)
    state, rate = move(state)
    return (log_weights, state), rate


def _move_and_weigh(
    move: Callable, increment: Float[Array, ""], log_weights: Array, state: TemperedState
) -> tuple[tuple[Array, TemperedState], Array]:
    state, rate = move(state)
    return (temper(-increment, log_weights, state.loglikelihood), state), rate


_STEPS = {"forward": _weigh_and_move, "reverse": _move_and_weigh}


def annealed_importance_sampling(
    rng_key: PRNGKey,
    target: TemperedTarget,
    initial_positions: Position,
    temperatures: Float[Array, "K"],
    step_size: float | Float[Array, "K"],
    *,
    num_steps: int = 1,
    inverse_mass_matrix: Position | None = None,
) -> AnnealedRun:
    r"""Estimate log p(x) from below by annealed importance sampling (Neal 2001).

    Chains start at exact draws of the prior, and ``num_steps`` steps of
    :func:`tempered_ebm.tempered_mala` move them at each temperature from the second to the last;

    .. math:: w = \sum_{k=0}^{K-2} (t_{k+1} - t_k)\,\ell(z_k), \qquad E[e^w] = p(x),

    exactly, for every ladder and step size. Short ladders and slow chains cost spread of
    the weights, not bias. One evaluation of each half of the target and its gradient per chain and
    step, and one at the start. N chains are independent, which is what the error bar rests on.

    Step sizes must not depend on the chains that are weighed: give them, or tune them on others
    by :func:`annealing_step_sizes`. The three arrays of a ``pilot.Tuning`` fit by name.

    Args:
        rng_key: key of the chains.
        target: log prior, up to a constant, and *full* log-likelihood, of one position.
        initial_positions: exact, independent draws of the prior, pytree with a leading axis
            of N. A draw of zero likelihood is legal; its weight is zero.
        temperatures: ladder, (K,).
        step_size: MALA step size, scalar or (K,), in squared units of the position; that of
            ``t = 0`` is not used.
        num_steps: steps at each temperature, at least 1.
        inverse_mass_matrix: positive diagonal metric, the identity by default: like one
            position or its flat vector, or the same behind an axis of K or 1.

    Returns:
        Log weights, chains, acceptance rates and the estimate.

    Raises:
        InputError: if ``temperatures`` is no ladder, an argument is out of range or does not fit,
            or a chain starts at NaN, which is named. Within ``jax.jit`` values pass unchecked.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: jax.scipy.stats.norm.logpdf(z).sum(),
        ...     lambda z: jax.scipy.stats.norm.logpdf(2.0, z, 0.5).sum(),
        ... )
        >>> prior_draws = jax.random.normal(jax.random.key(0), (500, 1))
        >>> run = te.annealed_importance_sampling(
        ...     jax.random.key(1), target, prior_draws, te.schedules.power(20, 3.0), 0.1
        ... )
        >>> truth = jax.scipy.stats.norm.logpdf(2.0, 0.0, jnp.sqrt(1.25))
        >>> bool(abs(run.estimate.log_evidence - truth) < 5 * run.estimate.standard_error)
        True
    """
    start = _start("initial_positions", initial_positions, target)
    tuning = _tuning(temperatures, step_size, inverse_mass_matrix, start[1].position)
    return _run(rng_key, *start, tuning, num_steps, "forward")


def reverse_annealed_importance_sampling(
    rng_key: PRNGKey,
    target: TemperedTarget,
    posterior_draws: Position,
    temperatures: Float[Array, "K"],
    step_size: float | Float[Array, "K"],
    *,
    num_steps: int = 1,
    inverse_mass_matrix: Position | None = None,
) -> AnnealedRun:
    r"""Estimate log p(x) from above, by annealing exact posterior draws back to the prior.

    The reversal in time of :func:`annealed_importance_sampling`: from the last temperature to
    the second, chains move and are then weighed,

    .. math:: w = -\sum_{k=0}^{K-2} (t_{k+1} - t_k)\,\ell(z_k), \qquad E[e^w] = 1/p(x),

    and :math:`-\log \tfrac1N \sum_n e^{w_n}` is an upper bound in expectation (Grosse, Ghahramani
    and Adams 2015). It is one only for *exact* draws; :func:`bidirectional_bounds` says
    where these come from. Draws that miss a mode can put it below the truth. Reverse weights
    have the heavier tails: where ``estimate.pareto_k`` nears .7, the standard error is too small,
    and more steps or temperatures help sooner than more chains.

    Args:
        rng_key: key of the chains.
        target: log prior, up to a constant, and *full* log-likelihood, of one position.
        posterior_draws: exact draws of the posterior, pytree with a leading axis.
        temperatures: ladder from 0 to 1, (K,); the chains go through it backwards.
        step_size: MALA step size, scalar or (K,); that of ``t = 0`` is not used.
        num_steps: steps at each temperature, at least 1.
        inverse_mass_matrix: as for :func:`annealed_importance_sampling`.

    Returns:
        Log weights, whose exponentials average to 1/p(x), chains, acceptance rates and the
        estimate.

    Raises:
        InputError: as for :func:`annealed_importance_sampling`, and for a draw of zero likelihood,
            which no posterior has.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: jax.scipy.stats.norm.logpdf(z).sum(),
        ...     lambda z: jax.scipy.stats.norm.logpdf(2.0, z, 0.5).sum(),
        ... )
        >>> posterior_draws = 1.6 + 0.2**0.5 * jax.random.normal(jax.random.key(0), (500, 1))
        >>> run = te.reverse_annealed_importance_sampling(
        ...     jax.random.key(1), target, posterior_draws, te.schedules.power(20, 3.0), 0.1
        ... )
        >>> truth = jax.scipy.stats.norm.logpdf(2.0, 0.0, jnp.sqrt(1.25))
        >>> bool(abs(run.estimate.log_evidence - truth) < 5 * run.estimate.standard_error)
        True
    """
    start = _start("posterior_draws", posterior_draws, target)
    _require_possible(start[1].loglikelihood)
    tuning = _tuning(temperatures, step_size, inverse_mass_matrix, start[1].position)
    return _run(rng_key, *start, tuning, num_steps, "reverse")


def bidirectional_bounds(
    rng_key: PRNGKey,
    target: TemperedTarget,
    prior_draws: Position,
    posterior_draws: Position,
    temperatures: Float[Array, "K"],
    step_size: float | Float[Array, "K"],
    *,
    num_steps: int = 1,
    inverse_mass_matrix: Position | None = None,
) -> BidirectionalBounds:
    r"""Sandwich log p(x) between annealed chains in both directions (Grosse et al. 2015).

    .. math:: E[\text{lower}] \le \log p(x) \le E[\text{upper}]

    Bidirectional Monte Carlo is how to measure a method of computing evidence, this one or another,
    where no truth is known. Exact posterior draws exist for *simulated* data: if
    ``z ~ prior`` and then ``x ~ p(x|z)``, the pair has the law of "``x``, and then ``z ~ p(z|x)``",
    so that ``z`` is an exact draw of the posterior of this ``x``. There is one for each data
    set. Repeat it along the leading axis for several reverse chains: the upper bound still
    holds, but the chains share their start and the standard error does not cover it.

    The bounds close as the ladder grows. The gap of the one-chain bounds is in
    expectation KL(forward | reverse) + KL(reverse | forward) of the two laws of whole
    trajectories, and so at least the same two divergences between the posterior and where
    forward chains end, unweighted (Grosse, Ancha and Roy 2016).

    Args:
        rng_key: key of all chains.
        target: log prior, up to a constant, and *full* log-likelihood, of one position.
        prior_draws: exact, independent draws of the prior, pytree with a leading axis.
        posterior_draws: exact draws of the posterior, pytree with a leading axis, of
            another length if need be.
        temperatures: ladder, (K,).
        step_size: MALA step size, scalar or (K,); that of ``t = 0`` is not used.
        num_steps: steps at each temperature, at least 1.
        inverse_mass_matrix: as for :func:`annealed_importance_sampling`.

    Returns:
        The bounds, their gap, and both runs with their estimates.

    Raises:
        InputError: as for the two directions.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> norm = jax.scipy.stats.norm
        >>> latent_key, data_key, prior_key, run_key = jax.random.split(jax.random.key(0), 4)
        >>> z = jax.random.normal(latent_key, (2,))  # z ~ prior
        >>> x = z + 0.5 * jax.random.normal(data_key, (2,))  # x ~ p(x|z)
        >>> target = te.TemperedTarget(
        ...     lambda z: norm.logpdf(z).sum(), lambda z: norm.logpdf(x, z, 0.5).sum()
        ... )
        >>> bounds = te.bidirectional_bounds(
        ...     run_key,
        ...     target,
        ...     prior_draws=jax.random.normal(prior_key, (200, 2)),
        ...     posterior_draws=jnp.tile(z, (200, 1)),  # z is a posterior draw
        ...     temperatures=te.schedules.power(30, 3.0),
        ...     step_size=0.1,
        ... )
        >>> truth = norm.logpdf(x, 0.0, jnp.sqrt(1.25)).sum()
        >>> bool(abs(truth - bounds.lower) < 0.2), bool(abs(bounds.upper - truth) < 0.2)
        (True, True)
    """
    checks.key("rng_key", rng_key)
    forward_key, reverse_key = jax.random.split(rng_key)
    options: dict[str, Any] = {"num_steps": num_steps, "inverse_mass_matrix": inverse_mass_matrix}
    forward = annealed_importance_sampling(
        forward_key, target, prior_draws, temperatures, step_size, **options
    )
    reverse = reverse_annealed_importance_sampling(
        reverse_key, target, posterior_draws, temperatures, step_size, **options
    )
    lower, upper = forward.estimate.log_evidence, reverse.estimate.log_evidence
    return BidirectionalBounds(lower, upper, upper - lower, forward, reverse)


def annealing_step_sizes(
    rng_key: PRNGKey,
    target: TemperedTarget,
    pilot_positions: Position,
    temperatures: Float[Array, "K"],
    *,
    initial_step_size: float = 0.1,
    num_steps: int = 50,
    inverse_mass_matrix: Position | None = None,
    target_acceptance: float = adaptation.MALA_TARGET_ACCEPTANCE,
) -> Float[Array, "K"]:
    """Tune the step size of each temperature on pilot chains, which are then thrown away.

    The chains go along the ladder, tuned by dual averaging at each temperature from where
    the last one left off. Weights need settings that do not depend on their own chains: give
    draws of the prior that :func:`annealed_importance_sampling` does not get, and another key.

    Args:
        rng_key: key of the pilot.
        target: prior and likelihood of one position.
        pilot_positions: draws of the prior, pytree with a leading axis; 20 or more.
        temperatures: ladder, (K,).
        initial_step_size: where tuning starts at ``t = 0``.
        num_steps: steps at each temperature, at least 1.
        inverse_mass_matrix: as for :func:`annealed_importance_sampling`.
        target_acceptance: in (0, 1).

    Returns:
        One step size per temperature, (K,), constants from here on.

    Raises:
        InputError: as for :func:`annealed_importance_sampling`, or if ``target_acceptance`` is out
            of range.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: -0.5 * jnp.sum(z**2), lambda z: -50 * jnp.sum((z - 1) ** 2)
        ... )
        >>> pilot_draws = jax.random.normal(jax.random.key(0), (20, 2))
        >>> step_size = te.annealing_step_sizes(
        ...     jax.random.key(1), target, pilot_draws, te.schedules.power(5, 3.0)
        ... )
        >>> bool(step_size[0] > 10 * step_size[-1])
        True
    """
    checks.key("rng_key", rng_key)
    start = _start("pilot_positions", pilot_positions, target)
    tuning = _tuning(temperatures, initial_step_size, inverse_mass_matrix, start[1].position)
    return _tune(rng_key, *start, tuning, num_steps, target_acceptance)


@functools.partial(jax.jit, static_argnames=("num_steps", "target_acceptance"))
def _tune(
    rng_key: PRNGKey,
    target: TemperedTarget,
    state: TemperedState,
    tuning: Tuning,
    num_steps: int,
    target_acceptance: float,
) -> Float[Array, "K"]:
    def one_rung(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        (state, step_size), (key, rung) = carry, inputs
        carry = adaptation.dual_averaging(
            key,
            lambda step_size: _mala(target, rung._replace(step_size=step_size)),
            state,
            step_size,
            num_steps,
            target_acceptance=target_acceptance,
        )
        return carry, carry[1]

    keys = jax.random.split(rng_key, tuning.step_size.shape[0])
    start = (state, tuning.step_size[0].astype(float))
    return jax.lax.scan(one_rung, start, (keys, tuning))[1]


def _run(
    rng_key: PRNGKey,
    batched: TemperedTarget,
    state: TemperedState,
    tuning: Tuning,
    num_steps: int,
    direction: Direction,
) -> AnnealedRun:
    checks.key("rng_key", rng_key)
    checks.at_least("num_steps", num_steps, 1)
    log_weights, state, rates = _anneal(rng_key, batched, state, tuning, num_steps, direction)
    estimate = annealed_estimate(log_weights, direction=direction)
    return AnnealedRun(log_weights, state, rates, estimate)


@functools.partial(jax.jit, static_argnames=("num_steps", "direction"))
def _anneal(
    rng_key: PRNGKey,
    target: TemperedTarget,
    state: TemperedState,
    tuning: Tuning,
    num_steps: int,
    direction: Direction,
) -> tuple[Array, TemperedState, Array]:
    return anneal_weights(
        rng_key, lambda rung: _mala(target, rung), state, tuning, num_steps, direction=direction
    )


def _mala(batched: TemperedTarget, rung: Tuning) -> SamplingAlgorithm:
    return tempered.tempered_mala(
        batched, rung.temperatures, rung.step_size, inverse_mass_matrix=rung.inverse_mass_matrix
    )


def _start(
    name: str, positions: Position, target: TemperedTarget
) -> tuple[TemperedTarget, TemperedState]:
    """Return the target of a batch, its closed-over arrays as operands, and the chains there.

    A chain must not start at NaN; zero likelihood is a legal start. Such a chain has no weight,
    whatever its gradient is.
    """
    positions = chains.as_position(positions)
    vectorized.num_ensembles(positions, name)
    batched = TemperedTarget(
        *(
            _closures.close(vectorized.per_ensemble(fn, positions), positions, num_derivatives=1)
            for fn in vectorized.as_target(target)
        )
    )
    state = jax.jit(tempered.init)(positions, batched)
    is_possible = ~jnp.isneginf(state.loglikelihood)
    zeros = jax.tree.map(jnp.zeros_like, state.loglikelihood_grad)
    grad = chains.select(is_possible, state.loglikelihood_grad, zeros)
    checks.check_initial_state("logprior_fn", state.logprior, state.logprior_grad, state.position)
    checks.check_initial_state("loglikelihood_fn", state.loglikelihood, grad, state.position)
    return batched, state


def _require_possible(loglikelihood: Float[Array, "N"]) -> None:
    known = checks.concrete(loglikelihood)
    if known is not None and np.isneginf(known).any():
        raise InputError(
            "posterior_draws must be draws of the posterior, which have a finite log-likelihood, "
            f"got -inf of chain {np.flatnonzero(np.isneginf(known))[0]}"
        )


def _tuning(
    temperatures: Float[Array, "K"],
    step_size: float | Float[Array, "K"],
    inverse_mass_matrix: Position | None,
    positions: Position,
) -> Tuning:
    temperatures = schedules.validate(temperatures)
    checks.positive("step_size", step_size)
    if jnp.shape(step_size) not in ((), temperatures.shape):
        raise InputError(
            f"step_size must be a scalar or have shape {temperatures.shape}, got "
            f"{jnp.shape(step_size)}"
        )
    steps = jnp.broadcast_to(jnp.asarray(step_size, temperatures.dtype), temperatures.shape)
    metric = _on_every_rung(inverse_mass_matrix, positions, temperatures.size)
    return Tuning(temperatures, steps, metric)


def _on_every_rung(
    inverse_mass_matrix: Position | None, positions: Position, num_rungs: int
) -> Position | None:
    """Return diagonals with a leading axis of K, from one of them, or from K, or from 1."""
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    if inverse_mass_matrix is None:
        return None
    factors, treedef = jax.tree.flatten(inverse_mass_matrix)
    factors = [jnp.asarray(factor) for factor in factors]
    for events in chains.forms_of_a_diagonal(inverse_mass_matrix, positions, 1):
        if all(f.shape in (e, (1, *e), (num_rungs, *e)) for f, e in zip(factors, events)):
            spread = [jnp.broadcast_to(f, (num_rungs, *e)) for f, e in zip(factors, events)]
            return jax.tree.unflatten(treedef, spread)
    raise InputError(
        "inverse_mass_matrix must be like one position, or its flat vector, or either behind an "
        f"axis of 1 or of the {num_rungs} temperatures, for positions of shape "
        f"{jax.tree.map(lambda leaf: leaf.shape[1:], positions)}, got shape "
        f"{jax.tree.map(jnp.shape, inverse_mass_matrix)}"
    )
