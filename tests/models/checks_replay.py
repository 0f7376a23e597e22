"""Decisive checks of the replay buffer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tests import ground_truths as gt

CAPACITY, BATCH = 60, 20


def buffer_of_slots(num_classes=None):
    """A buffer whose positions tell the slot they began in."""
    start = te.replay.uniform_start((2,))
    init = jax.jit(lambda key: te.replay.init(key, CAPACITY, start, num_classes=num_classes))
    buffer = init(gt.key(320))
    slots = jnp.broadcast_to(jnp.arange(CAPACITY, dtype=jnp.float32)[:, None], (CAPACITY, 2))
    return buffer._replace(position=slots)


def far_start(rng_key, label):
    """Places that no chain is at, told apart by their class."""
    return jnp.broadcast_to(-100.0 - label[:, None], (*label.shape, 2))


def an_identity_kernel_changes_nothing() -> None:
    buffer = buffer_of_slots(num_classes=3)

    @jax.jit
    def visit(key):
        batch = te.replay.sample(key, buffer, BATCH, far_start, 0.0)
        return te.replay.update(buffer, batch, batch.position, num_steps=0)

    for i in range(5):
        after = visit(gt.key(330 + i))
        np.testing.assert_array_equal(after.position, buffer.position)
        np.testing.assert_array_equal(after.label, buffer.label)
        np.testing.assert_array_equal(after.age, buffer.age)


def chains_return_to_their_slots() -> None:
    """Positions, classes and ages stay together through updates of different slots."""
    buffer = buffer_of_slots(num_classes=3)
    home = np.arange(CAPACITY)

    @jax.jit
    def visit(key, buffer):
        batch = te.replay.sample(key, buffer, BATCH, far_start, 0.0)
        moved = batch.position + jnp.array([0.0, 1000.0])
        return batch, te.replay.update(buffer, batch, moved, num_steps=7)

    for i in range(10):
        batch, buffer = visit(gt.key(340 + i), buffer)
        assert len(set(np.asarray(batch.slot).tolist())) == BATCH
        np.testing.assert_array_equal(batch.label, np.asarray(batch.slot) % 3)
        np.testing.assert_array_equal(buffer.position[:, 0], home)
        visits = np.round((np.asarray(buffer.position[:, 1]) - np.asarray(home)) / 1000)
        np.testing.assert_array_equal(buffer.age, 7 * visits)


def restarts_happen_with_their_probability() -> None:
    """Each chain on its own, at the start of its own class, with age zero."""
    probability, num_rounds = 0.3, 2000
    buffer = buffer_of_slots(num_classes=3)._replace(age=jnp.full(CAPACITY, 5))
    sample = jax.jit(
        jax.vmap(lambda key: te.replay.sample(key, buffer, BATCH, far_start, probability))
    )
    batch = sample(jax.random.split(gt.key(350), num_rounds))
    is_far = np.asarray(batch.position[..., 0]) < -99
    np.testing.assert_array_equal(is_far, batch.is_new)
    np.testing.assert_array_equal(np.asarray(batch.age) == 0, batch.is_new)
    expected = np.where(batch.is_new, -100 - np.asarray(batch.label), np.asarray(batch.slot))
    np.testing.assert_array_equal(batch.position[..., 0], expected)
    gt.assert_expectations(is_far.mean(1, keepdims=True), probability, "restarted fraction")
    # Independent of each other: the number of restarts in a batch is binomial.
    spread = (is_far.sum(1, keepdims=True) - BATCH * probability) ** 2
    gt.assert_expectations(spread, BATCH * probability * (1 - probability), "its variance")


def every_slot_is_taken_as_often() -> None:
    buffer = buffer_of_slots()
    sample = jax.jit(
        jax.vmap(lambda key: te.replay.sample(key, buffer, BATCH, far_start, 0.0).slot)
    )
    index = np.asarray(sample(jax.random.split(gt.key(360), 3000)))
    taken = np.zeros((3000, CAPACITY))
    np.put_along_axis(taken, index, 1.0, axis=1)
    gt.assert_expectations(taken, BATCH / CAPACITY, "slots taken")
