"""Bugs in the swaps, and in what a swap carries along."""

from types import SimpleNamespace

import jax.numpy as jnp

from tempered_ebm import _chains as chains
from tempered_ebm.kernels import langevin, replica_exchange, tempered
from tests.kernels import checks_replica_exchange as exchange_checks
from tests.mutants.registry import GAMMA, GAUSSIAN, caught_by


@caught_by(exchange_checks.every_rung_keeps_its_law, GAUSSIAN, 4)
def a_swap_ratio_of_the_wrong_sign(patch):
    right = replica_exchange.log_swap_ratio
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: -right(t, ell))


@caught_by(exchange_checks.swaps_happen_as_often_as_they_should, GAUSSIAN, 4)
def swaps_always_accepted(patch):
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: jnp.zeros_like(ell[1:]))


@caught_by(exchange_checks.every_rung_keeps_its_law, GAMMA, 4)
def a_swap_ratio_without_the_temperature_gap(patch):
    patch.setattr(replica_exchange, "log_swap_ratio", lambda t, ell: ell[:-1] - ell[1:])


@caught_by(exchange_checks.every_rung_keeps_its_law, GAUSSIAN, 5)
def a_swap_ratio_from_the_next_gap(patch):
    right = replica_exchange.log_swap_ratio
    patch.setattr(
        replica_exchange,
        "log_swap_ratio",
        lambda t, ell: right(jnp.roll(t, -1).at[-1].set(1.5), ell),
    )


def one_sided(is_swapped):
    moves = is_swapped.astype(jnp.int32)
    up = jnp.concatenate([moves, jnp.zeros_like(moves[:1])])
    return jnp.arange(up.shape[0]).reshape(-1, *(1,) * (up.ndim - 1)) + up


@caught_by(exchange_checks.replicas_are_permuted_and_both_parities_swap, GAUSSIAN, 5)
def a_one_sided_copy(patch):
    patch.setattr(replica_exchange, "swap_permutation", one_sided)


@caught_by(exchange_checks.every_rung_keeps_its_law, GAUSSIAN, 4, num_steps=12)
def a_one_sided_copy_spoils_the_law(patch):
    patch.setattr(replica_exchange, "swap_permutation", one_sided)


def keep_unswapped(*names):
    permute = replica_exchange._permute

    def mutant(permutation, tree):
        local, replica = tree
        moved, replica = permute(permutation, (local, replica))
        return moved._replace(**{name: getattr(local, name) for name in names}), replica

    return mutant


@caught_by(exchange_checks.caches_follow_their_positions, GAUSSIAN, 4)
def a_loglikelihood_left_behind_by_a_swap(patch):
    patch.setattr(replica_exchange, "_permute", keep_unswapped("loglikelihood"))


@caught_by(exchange_checks.caches_follow_their_positions, GAUSSIAN, 5)
def gradients_left_behind_by_a_swap(patch):
    patch.setattr(
        replica_exchange, "_permute", keep_unswapped("logprior_grad", "loglikelihood_grad")
    )


@caught_by(exchange_checks.replicas_are_permuted_and_both_parities_swap, GAUSSIAN, 4)
def only_even_pairs_swap(patch):
    divmod_ = jnp.divmod
    patch.setattr(jnp, "divmod", lambda a, b: tuple(0 * part for part in divmod_(a, b)))


@caught_by(exchange_checks.each_ladder_swaps_on_its_own, GAMMA, 4)
def one_uniform_for_all_ladders(patch):
    right = langevin.log_uniform

    def shared(key, like, *noise):
        uniform = right(key, like, *noise)
        return jnp.broadcast_to(uniform[:, :1], uniform.shape) if uniform.ndim > 1 else uniform

    patch.setattr(langevin, "log_uniform", shared)


def with_kernel(patch, change):
    """Build the adjusted kernel with its prior sampler, or its temperature, changed."""
    right = tempered.build_mala_kernel

    def build(*noise):
        kernel = right(*noise)

        def changed(key, state, target, t, step_size, metric=None, sample_prior=None):
            sampler = None if sample_prior is None else change(sample_prior)
            return kernel(key, state, target, t, step_size, metric, sample_prior=sampler)

        return changed

    patch.setattr(tempered, "build_mala_kernel", build)


@caught_by(exchange_checks.exact_draws_at_the_prior_keep_every_law, GAUSSIAN, 4)
def exact_draws_that_are_too_wide(patch):
    with_kernel(patch, lambda sample: lambda key, shape: 1.1 * sample(key, shape))


@caught_by(exchange_checks.exact_draws_at_the_prior_keep_every_law, GAMMA, 4)
def exact_draws_that_are_never_used(patch):
    with_kernel(patch, lambda sample: None)


@caught_by(exchange_checks.exact_draws_at_the_prior_keep_every_law, GAUSSIAN, 4)
def exact_draws_on_every_rung(patch):
    right = chains.select

    def select(condition, when_true, when_false):
        is_first_use = not isinstance(when_true, tempered.TemperedState)
        return right(jnp.ones_like(condition) if is_first_use else condition, when_true, when_false)

    patch.setattr(tempered, "chains", SimpleNamespace(**vars(chains) | {"select": select}))
