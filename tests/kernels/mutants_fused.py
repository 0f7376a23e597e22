"""Bugs in the fused short run: its noise, its drift, its backward pass."""

import jax
import jax.numpy as jnp

from tempered_ebm import counter_noise
from tempered_ebm.kernels import fused_langevin, fused_program
from tests.kernels import checks_fused as checks
from tests.mutants.registry import caught_by


def moving(change):
    """Move with other arguments than those given."""
    right = fused_program.move

    def move(key, step, position, grad, h, scale, first_chain, dim):
        return right(key, *change(step, position, grad, h, scale), first_chain, dim)

    return move


@caught_by(checks.stationarity_of_no_energy)
def fused_noise_of_sqrt_h(patch):
    change = moving(lambda k, z, grad, h, scale: (k, z, grad, h, jnp.sqrt(h)))
    patch.setattr(fused_program, "move", change)


@caught_by(checks.stationarity_of_a_linear_energy)
def fused_drift_of_the_wrong_sign(patch):
    change = moving(lambda k, z, grad, h, scale: (k, z, -grad, h, scale))
    patch.setattr(fused_program, "move", change)


@caught_by(checks.steps_are_independent)
def the_same_noise_at_every_step(patch):
    change = moving(lambda k, z, grad, h, scale: (0 * k, z, grad, h, scale))
    patch.setattr(fused_program, "move", change)


@caught_by(checks.stationarity_of_no_energy)
def the_same_noise_at_every_coordinate(patch):
    right = counter_noise.standard_normal
    patch.setattr(
        counter_noise,
        "standard_normal",
        lambda key, row, column: right(key, row, column // column.dtype.type(3)),
    )


@caught_by(checks.law_is_that_of_ula)
def a_backward_pass_without_slopes(patch):
    patch.setitem(
        fused_langevin.ACTIVATIONS, jax.nn.gelu, lambda x: (jax.nn.gelu(x), jnp.ones_like(x))
    )


@caught_by(checks.agreement, (6, 20, 11, 1), jax.nn.gelu)
def the_slope_of_another_activation(patch):
    silu = fused_langevin.ACTIVATIONS[jax.nn.silu]
    patch.setitem(fused_langevin.ACTIVATIONS, jax.nn.gelu, lambda x: (jax.nn.gelu(x), silu(x)[1]))
