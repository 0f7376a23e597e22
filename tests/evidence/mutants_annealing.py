"""Bugs in annealed importance sampling: its weights, its walk, its estimate."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp

from tempered_ebm.evidence import annealing
from tempered_ebm.target import temper
from tests.evidence import checks_annealed as checks
from tests.mutants.registry import GAMMA, GAUSSIAN, caught_by


def move_and_weigh(move, increment, log_weights, state):
    state, rate = move(state)
    return (temper(increment, log_weights, state.loglikelihood), state), rate


def weigh_and_move(move, increment, log_weights, state):
    log_weights = temper(-increment, log_weights, state.loglikelihood)
    state, rate = move(state)
    return (log_weights, state), rate


def plant_intervals(patch, change):
    """Change the lengths of the intervals and the settings of the moves in them."""
    correct = annealing._intervals
    patch.setattr(annealing, "_intervals", lambda tuning: change(tuning, *correct(tuning)))


@caught_by(checks.weights_are_unbiased, GAMMA, "forward")
def forward_weights_after_the_move(patch):
    patch.setitem(annealing._STEPS, "forward", move_and_weigh)


@caught_by(checks.weights_are_the_sums_they_should_be)
def forward_weights_after_the_move_seen_on_two_temperatures(patch):
    patch.setitem(annealing._STEPS, "forward", move_and_weigh)


@caught_by(checks.weights_are_unbiased, GAMMA, "reverse")
def reverse_weights_before_the_move(patch):
    patch.setitem(annealing._STEPS, "reverse", weigh_and_move)


@caught_by(checks.weights_are_the_sums_they_should_be)
def reverse_weights_of_the_forward_sign(patch):
    patch.setitem(annealing._STEPS, "reverse", move_and_weigh)


@caught_by(checks.weights_are_unbiased, GAUSSIAN, "forward")
def moves_at_the_last_temperature(patch):
    """The transition of each interval is that of its lower end."""
    plant_intervals(
        patch,
        lambda tuning, increments, _: (increments, jax.tree.map(lambda leaf: leaf[:-1], tuning)),
    )


@caught_by(checks.moves_are_at_their_temperatures)
def moves_with_the_step_size_of_the_last_temperature(patch):
    """Every law is kept; the settings are those of a neighbour."""
    plant_intervals(
        patch,
        lambda tuning, increments, rungs: (
            increments,
            rungs._replace(step_size=tuning.step_size[:-1]),
        ),
    )


@caught_by(checks.weights_are_unbiased, GAMMA, "forward")
def moves_at_the_temperature_squared(patch):
    plant_intervals(
        patch,
        lambda tuning, increments, rungs: (
            increments,
            rungs._replace(temperatures=rungs.temperatures**2),
        ),
    )


@caught_by(checks.weights_are_unbiased, GAMMA, "reverse")
def a_ladder_off_by_one_in_the_weights(patch):
    """Each position is given the interval of its neighbour."""
    plant_intervals(patch, lambda tuning, increments, rungs: (jnp.roll(increments, 1), rungs))


@caught_by(checks.weights_are_the_sums_they_should_be)
def weights_without_the_last_interval(patch):
    plant_intervals(patch, lambda tuning, increments, rungs: (increments.at[-1].multiply(0), rungs))


@caught_by(checks.weights_are_the_sums_they_should_be)
def reverse_chains_that_walk_the_ladder_forwards(patch):
    def scan(*args, reverse=False):
        return jax.lax.scan(*args)

    lax = SimpleNamespace(**vars(jax.lax) | {"scan": scan})
    patch.setattr(annealing, "jax", SimpleNamespace(**vars(jax) | {"lax": lax}))


@caught_by(checks.weights_are_unbiased, GAUSSIAN, "forward")
def transitions_that_are_not_adjusted(patch):
    """ULA under the name of MALA, with an acceptance rate of one."""
    from tempered_ebm.kernels import langevin

    def metropolis(rng_key, log_ratio, proposal, state, noise):
        everywhere = jnp.ones(log_ratio.shape, bool)
        return proposal, langevin.MetropolisInfo(jnp.ones_like(log_ratio), everywhere)

    patch.setattr(langevin, "metropolis", metropolis)


@caught_by(checks.step_sizes_are_tuned)
def step_sizes_that_are_not_tuned(patch):
    patch.setattr(
        annealing.adaptation, "dual_averaging", lambda key, build, state, h, *_, **__: (state, h)
    )


@caught_by(checks.evaluations_are_one_a_step)
def weights_that_evaluate_the_likelihood_again(patch):
    correct = annealing._mala

    def mala(batched, rung):
        kernel = correct(batched, rung)

        def step(key, state):
            state, info = kernel.step(key, state)
            return state._replace(loglikelihood=batched.loglikelihood_fn(state.position)), info

        return kernel._replace(step=step)

    patch.setattr(annealing, "_mala", mala)


@caught_by(checks.bounds_are_on_their_sides_and_close, GAUSSIAN)
def weights_inverted_one_by_one(patch):
    """The reverse estimate inverts every weight and not their mean: above the truth, and far."""
    correct = annealing.annealed_estimate

    def estimate(log_weights, *, direction):
        return correct(log_weights if direction == "forward" else -log_weights)

    patch.setattr(checks.te.evidence, "annealed_estimate", estimate)


@caught_by(checks.estimate_is_its_formula)
def a_sum_of_weights_for_their_mean(patch):
    log = SimpleNamespace(**vars(jnp) | {"log": lambda mean: jnp.log(1_000 * mean)})
    patch.setattr(annealing, "jnp", log)


@caught_by(checks.calibration_of_the_formula)
def an_error_of_the_log_weights(patch):
    """The spread of w in the place of the relative spread of exp(w)."""

    def std(weights, ddof):
        return jnp.std(jnp.log(weights), ddof=ddof) * weights.mean()

    patch.setattr(annealing, "jnp", SimpleNamespace(**vars(jnp) | {"std": std}))


@caught_by(checks.calibration_of_the_formula)
def an_error_that_forgets_the_mean_weight(patch):
    def std(weights, ddof):
        return jnp.std(weights, ddof=ddof) * weights.mean()

    patch.setattr(annealing, "jnp", SimpleNamespace(**vars(jnp) | {"std": std}))


@caught_by(checks.tails_are_seen)
def a_tail_of_the_inverse_weights(patch):
    correct = annealing._pareto_k
    patch.setattr(annealing, "_pareto_k", lambda log_weights: correct(-log_weights))
