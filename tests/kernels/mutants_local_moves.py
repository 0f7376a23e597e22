"""Bugs in what moves the rungs of replica exchange."""

import jax.numpy as jnp

from tempered_ebm.kernels import _local_moves as local_moves
from tests.kernels import checks_replica_exchange as checks
from tests.mutants.registry import GAUSSIAN, caught_by


def placed_by(place):
    right = local_moves.from_mcmc
    return lambda *args: right(*args)._replace(place=place)


@caught_by(checks.foreign_kernels_keep_the_law, checks.preconditioned, GAUSSIAN, 4)
def a_swap_that_leaves_the_state_of_the_kernel_behind(patch):
    patch.setattr(local_moves, "from_mcmc", placed_by(lambda cache, memory, t: memory))


@caught_by(checks.foreign_kernels_keep_the_law, checks.preconditioned, GAUSSIAN, 4)
def a_swap_that_leaves_the_log_density_of_the_kernel_behind(patch):
    def place(cache, memory, t):
        return memory._replace(position=cache.position)

    patch.setattr(local_moves, "from_mcmc", placed_by(place))


@caught_by(checks.foreign_kernels_keep_the_law, checks.preconditioned, GAUSSIAN, 5)
def a_log_density_at_temperature_one_after_a_swap(patch):
    right = local_moves.tempered_logdensity
    patch.setattr(
        local_moves, "tempered_logdensity", lambda cache, t: right(cache, jnp.ones_like(t))
    )


@caught_by(checks.every_rung_keeps_its_law, GAUSSIAN, 4)
def local_moves_at_the_temperature_of_the_next_rung(patch):
    right, ladder = local_moves.langevin, jnp.asarray(checks.LADDERS[4], jnp.float32)

    def shifted(**options):
        move = right(**options)

        def step(key, cache, memory, target, t, **parameters):
            rung = jnp.argmin(jnp.abs(ladder - t))
            return move.step(key, cache, memory, target, ladder[(rung + 1) % 4], **parameters)

        return move._replace(step=step)

    patch.setattr(local_moves, "langevin", shifted)


@caught_by(checks.every_rung_keeps_its_law, GAUSSIAN, 4)
def a_step_size_that_depends_on_the_position(patch):
    right = local_moves.langevin

    def biased(**options):
        move = right(**options)

        def step(key, cache, memory, target, t, **parameters):
            parameters["step_size"] = parameters["step_size"] * jnp.exp(0.2 * cache.loglikelihood)
            return move.step(key, cache, memory, target, t, **parameters)

        return move._replace(step=step)

    patch.setattr(local_moves, "langevin", biased)
