"""Bugs in the temperature, schedule, preconditioner and presets of unadjusted chains."""

from types import SimpleNamespace

import jax.numpy as jnp

import tempered_ebm as te
from tempered_ebm.kernels import langevin, preconditioning, ula
from tests.kernels import checks_unadjusted as checks
from tests.mutants.registry import caught_by


def with_temperature(change):
    right = langevin.propose

    def propose(*args, noise_temperature=1.0, **rest):
        return right(*args, noise_temperature=change(noise_temperature), **rest)

    return propose


@caught_by(checks.temperature_of_the_noise, "noise_temperature", 3.0)
def no_temperature_in_the_noise(patch):
    patch.setattr(langevin, "propose", with_temperature(jnp.ones_like))


@caught_by(checks.temperature_of_the_noise, "noise_temperature", 0.25)
def temperature_without_its_root(patch):
    patch.setattr(langevin, "propose", with_temperature(jnp.square))


@caught_by(checks.temperature_of_the_noise, "noise_scale", 3.0)
def temperature_twice_what_the_noise_amounts_to(patch):
    """s^2 / h in the place of s^2 / 2h."""

    def twice(x):
        return 2 * jnp.square(x)

    patch.setattr(ula, "jnp", SimpleNamespace(**vars(jnp) | {"square": twice}))


@caught_by(checks.temperature_of_the_noise, "noise_scale", 0.25)
def noise_of_half_the_scale(patch):
    right = langevin.propose

    def propose(*args, noise_scale=None, **rest):
        return right(*args, noise_scale=0.5 * noise_scale, **rest)

    patch.setattr(langevin, "propose", propose)


def started_at(num_steps):
    right = ula.init

    def init(*args, **rest):
        state = right(*args, **rest)
        return state._replace(num_steps=state.num_steps + num_steps)

    return init


@caught_by(checks.schedule_of_the_step_size)
def a_schedule_read_one_step_late(patch):
    patch.setattr(ula, "init", started_at(-1))


@caught_by(checks.schedule_of_the_step_size)
def a_schedule_read_one_step_early(patch):
    patch.setattr(ula, "init", started_at(1))


@caught_by(checks.schedule_of_each_chain)
def one_clock_for_all_chains(patch):
    right = ula.build_kernel

    def build_kernel(*args):
        kernel = right(*args)

        def step(rng_key, state, logdensity_fn, step_size, *rest):
            return kernel(rng_key, state, logdensity_fn, lambda n: step_size(jnp.max(n)), *rest)

        return step

    patch.setattr(ula, "build_kernel", build_kernel)


def preconditioner_with(**functions):
    return SimpleNamespace(**vars(jnp) | functions)


@caught_by(checks.rmsprop_is_that_of_optax)
def a_preconditioner_without_its_root(patch):
    patch.setattr(preconditioning, "jnp", preconditioner_with(sqrt=lambda v: v))


@caught_by(checks.rmsprop_is_that_of_optax)
def a_preconditioner_that_starts_at_zero(patch):
    patch.setattr(preconditioning, "jnp", preconditioner_with(ones_like=jnp.zeros_like))


@caught_by(checks.rmsprop_keeps_the_variances)
def a_preconditioner_of_the_drift_alone(patch):
    right = langevin.propose

    def propose(*args, inverse_mass_matrix=None, **rest):
        return right(*args, **rest)

    patch.setattr(langevin, "propose", propose)


@caught_by(checks.preset_is_the_hand_written_update, te.presets.igebm)
def a_preset_that_does_not_clip(patch):
    right = ula.as_top_level_api
    patch.setattr(ula, "as_top_level_api", lambda *args, drift, **rest: right(*args, **rest))


@caught_by(checks.preset_is_the_hand_written_update, te.presets.jem)
def a_preset_at_temperature_one(patch):
    right = ula.as_top_level_api
    patch.setattr(ula, "as_top_level_api", lambda *args, noise_scale, **rest: right(*args, **rest))


@caught_by(checks.preset_is_the_hand_written_update, te.presets.jem)
def a_preset_with_half_the_step_of_its_paper(patch):
    right = ula.as_top_level_api
    patch.setattr(
        ula, "as_top_level_api", lambda fn, step_size, **rest: right(fn, 0.5 * step_size, **rest)
    )
