"""Bugs in the replay buffer."""

import jax
import jax.numpy as jnp

from tempered_ebm.models import replay
from tests.models import checks_replay
from tests.mutants.registry import caught_by


@caught_by(checks_replay.chains_return_to_their_slots)
def chains_that_return_to_other_slots(patch):
    correct = replay.update

    def update(buffer, batch, position, *, num_steps):
        batch = batch._replace(slot=jnp.sort(batch.slot))
        return correct(buffer, batch, position, num_steps=num_steps)

    patch.setattr(replay, "update", update)


@caught_by(checks_replay.chains_return_to_their_slots)
def slots_taken_with_replacement(patch):
    def different(rng_key, capacity, num_chains, num_blocks):
        return jax.random.randint(rng_key, (num_chains,), 0, capacity)

    patch.setattr(replay, "_different", different)


@caught_by(checks_replay.restarts_happen_with_their_probability)
def one_coin_for_the_whole_batch(patch):
    correct = replay.sample

    def sample(rng_key, buffer, num_chains, start, probability, **options):
        coin = jax.random.bernoulli(jax.random.fold_in(rng_key, 1), probability)
        return correct(rng_key, buffer, num_chains, start, 1.0 * coin, **options)

    patch.setattr(replay, "sample", sample)


@caught_by(checks_replay.restarts_happen_with_their_probability)
def a_restart_that_keeps_its_age(patch):
    correct = replay.sample

    def sample(rng_key, buffer, *arguments, **options):
        batch = correct(rng_key, buffer, *arguments, **options)
        return batch._replace(age=buffer.age[batch.slot])

    patch.setattr(replay, "sample", sample)


@caught_by(checks_replay.an_identity_kernel_changes_nothing)
def a_buffer_that_counts_chains_it_did_not_move(patch):
    correct = replay.update

    def update(buffer, batch, position, *, num_steps):
        return correct(buffer, batch, position, num_steps=num_steps + 1)

    patch.setattr(replay, "update", update)


@caught_by(checks_replay.every_slot_is_taken_as_often)
def slots_of_the_first_half_only(patch):
    correct = replay._different

    def different(rng_key, capacity, num_chains, num_blocks):
        return correct(rng_key, capacity // 2, num_chains, num_blocks)

    patch.setattr(replay, "_different", different)
