r"""Replay buffer of persistent chains, a pytree for use inside a jitted step.

Persistent contrastive divergence (Tieleman 2008) continues chains between updates; a buffer of
many more chains than a batch, some of which start anew at random, keeps them diverse (Du and
Mordatch 2019). A slot holds one chain: its position, its class, and how many steps it has made
since it last started. :func:`sample` takes different slots and starts some of them anew,
:func:`update` writes the chains back to their slots. The class of a slot never changes, so
that a chain conditioned on a class stays what it was.

Slots can be divided over devices: with ``num_blocks`` blocks of slots, each device takes its part
of the batch from its own block, and nothing is moved between devices
(:mod:`tempered_ebm.sharding`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.types import PRNGKey

Start = Callable[[PRNGKey, Int[Array, "n"]], Float[Array, "n ..."]]
"""``(rng_key, label (n,)) -> positions (n, ...)``: independent places where chains of these
classes start."""


class ReplayBuffer(NamedTuple):
    """Persistent chains between updates.

    Attributes:
        position: position of each chain, (capacity, ...).
        label: class of each chain, (capacity,); zeros if there are no classes.
        age: steps each chain has made since it started, (capacity,).
    """

    position: Float[Array, "capacity ..."]
    label: Int[Array, "capacity"]
    age: Int[Array, "capacity"]


class ReplayBatch(NamedTuple):
    """Chains taken from a buffer.

    Attributes:
        slot: slots that they come from, all different, (n,).
        position: positions from which they continue, (n, ...).
        label: their classes, (n,).
        age: steps that they have made; 0 for those that start anew, (n,).
        is_new: which chains start anew, (n,).
    """

    slot: Int[Array, "n"]
    position: Float[Array, "n ..."]
    label: Int[Array, "n"]
    age: Int[Array, "n"]
    is_new: Bool[Array, "n"]


class AgeStatistics(NamedTuple):
    """Ages of the chains of a buffer, in steps.

    Attributes:
        mean: mean over the slots.
        longest: maximum over the slots.
        unmoved: fraction of slots whose chain has not made a step.
    """

    mean: Float[Array, ""]
    longest: Int[Array, ""]
    unmoved: Float[Array, ""]


def uniform_start(shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> Start:
    """Return starts that are uniform in a box, whatever the class.

    Args:
        shape: shape of one position.
        low: lower bound of every coordinate.
        high: upper bound of every coordinate.

    Raises:
        InputError: if ``low`` is not below ``high``.
    """
    if not low < high:
        raise InputError(f"low must be below high, got {low} and {high}")

    def start(rng_key: PRNGKey, label: Int[Array, "n"]) -> Float[Array, "n ..."]:
        return jax.random.uniform(rng_key, (*label.shape, *shape), minval=low, maxval=high)

    return start


def gaussian_start(
    mean: Float[Array, "..."], standard_deviation: Float[Array, "..."] | float
) -> Start:
    """Return starts from independent normals, whatever the class.

    Args:
        mean: shaped like one position.
        standard_deviation: one for every coordinate, or one for all.

    Raises:
        InputError: if a standard deviation is not positive and finite.
    """
    checks.positive("standard_deviation", standard_deviation)
    mean = jnp.asarray(mean)

    def start(rng_key: PRNGKey, label: Int[Array, "n"]) -> Float[Array, "n ..."]:
        noise = jax.random.normal(rng_key, (*label.shape, *mean.shape), mean.dtype)
        return mean + standard_deviation * noise

    return start


def class_gaussian_start(
    means: Float[Array, "c ..."], roots: Float[Array, "c d d"] | Float[Array, "c ..."]
) -> Start:
    """Return starts from the normal of the class, as in JEM++ (Yang and Ji 2021).

    Args:
        means: of each class.
        roots: standard deviations of each class, shaped like ``means``; or for each a matrix L of
            its covariance ``L Lᵀ`` over the flattened position, such as a Cholesky factor.

    Raises:
        InputError: if the shape of ``roots`` is neither.
    """
    means, roots = jnp.asarray(means), jnp.asarray(roots)
    num_classes, shape = means.shape[0], means.shape[1:]
    d = means[0].size
    is_full = roots.shape == (num_classes, d, d) and roots.shape != means.shape
    if not is_full and roots.shape != means.shape:
        raise InputError(
            f"roots must have shape {means.shape} or {(num_classes, d, d)}, got {roots.shape}"
        )

    def start(rng_key: PRNGKey, label: Int[Array, "n"]) -> Float[Array, "n ..."]:
        if not is_full:
            noise = jax.random.normal(rng_key, (*label.shape, *shape), means.dtype)
            return means[label] + roots[label] * noise
        noise = jax.random.normal(rng_key, (*label.shape, d), means.dtype)
        moved = jnp.einsum("nij,nj->ni", roots[label], noise)
        return means[label] + moved.reshape(*label.shape, *shape)

    return start


def data_start(x: Float[Array, "n ..."]) -> Start:
    """Return starts at data points, whatever the class, as in contrastive divergence.

    Args:
        x: the data.
    """
    x = jnp.asarray(x)

    def start(rng_key: PRNGKey, label: Int[Array, "n"]) -> Float[Array, "n ..."]:
        # The half of the key that keeps the draws of earlier versions.
        index_key = jax.random.split(rng_key)[0]
        return x[jax.random.randint(index_key, label.shape, 0, x.shape[0])]

    return start


def init(
    rng_key: PRNGKey, capacity: int, start: Start, *, num_classes: int | None = None
) -> ReplayBuffer:
    """Return a buffer of chains that have not moved.

    Args:
        rng_key: key of their starts.
        capacity: number of slots.
        start: where they start.
        num_classes: classes that the slots are given in turn; without classes all labels are 0.

    Raises:
        InputError: if a count is below 1, or ``start`` returns another number of positions.

    Example:
        >>> import jax, tempered_ebm as te
        >>> start = te.replay.uniform_start((2,), -2.0, 2.0)
        >>> buffer = te.replay.init(jax.random.key(0), 1_000, start)
        >>> batch = te.replay.sample(jax.random.key(1), buffer, 100, start, 0.05)
        >>> kernel = te.ula(lambda x: -0.5 * (x**2).sum(-1), 0.1)
        >>> ends = te.inference.short_run(jax.random.key(2), kernel, batch.position, 20).position
        >>> buffer = te.replay.update(buffer, batch, ends, num_steps=20)
        >>> int(te.replay.age_statistics(buffer).longest)
        20
    """
    checks.at_least("capacity", capacity, 1)
    if num_classes is not None:
        checks.at_least("num_classes", num_classes, 1)
    label = jnp.arange(capacity, dtype=jnp.int32) % (num_classes or 1)
    position = start(rng_key, label)
    if position.shape[:1] != (capacity,):
        raise InputError(f"start must return {capacity} positions, got shape {position.shape}")
    return ReplayBuffer(position, label, jnp.zeros(capacity, jnp.int32))


def sample(
    rng_key: PRNGKey,
    buffer: ReplayBuffer,
    num_chains: int,
    start: Start,
    restart_probability: Float[Array, ""] | float,
    *,
    num_blocks: int = 1,
) -> ReplayBatch:
    """Return chains from different slots; each starts anew with some probability.

    A chain that is no longer finite starts anew in any case. With ``num_blocks`` above 1 the
    slots are divided into as many contiguous blocks, each of which gives its part of the batch.

    Args:
        rng_key: key of the choice and the starts.
        buffer: the chains.
        num_chains: how many to take.
        start: where chains start anew.
        restart_probability: probability that a chain does.
        num_blocks: blocks of slots; it divides the capacity and ``num_chains``.

    Raises:
        InputError: if there are not enough slots, the blocks do not divide them, or the
            probability is not in [0, 1].
    """
    capacity = buffer.age.shape[0]
    checks.at_least("num_chains", num_chains, 1)
    checks.at_least("num_blocks", num_blocks, 1)
    checks.in_unit_interval("restart_probability", restart_probability)
    if num_chains > capacity:
        raise InputError(f"num_chains must be at most the {capacity} slots, got {num_chains}")
    if capacity % num_blocks or num_chains % num_blocks:
        raise InputError(
            f"num_blocks must divide the {capacity} slots and the {num_chains} chains, got "
            f"{num_blocks}"
        )
    index_key, start_key, choice_key = jax.random.split(rng_key, 3)
    index = _different(index_key, capacity, num_chains, num_blocks)
    label, kept = buffer.label[index], buffer.position[index]
    axes = tuple(range(1, kept.ndim))
    is_lost = ~jnp.all(jnp.isfinite(kept), axis=axes)
    is_new = is_lost | jax.random.bernoulli(choice_key, restart_probability, (num_chains,))
    mask = is_new.reshape(num_chains, *(1,) * len(axes))
    position = jnp.where(mask, start(start_key, label).astype(kept.dtype), kept)
    return ReplayBatch(index, position, label, jnp.where(is_new, 0, buffer.age[index]), is_new)


def _different(
    rng_key: PRNGKey, capacity: int, num_chains: int, num_blocks: int
) -> Int[Array, "num_chains"]:
    """Return different slots, as many from every block."""
    size, each = capacity // num_blocks, num_chains // num_blocks
    score = jax.random.uniform(rng_key, (num_blocks, size))
    within = jax.lax.top_k(score, each)[1]
    return (within + size * jnp.arange(num_blocks)[:, None]).reshape(-1).astype(jnp.int32)


def update(
    buffer: ReplayBuffer, batch: ReplayBatch, position: Float[Array, "n ..."], *, num_steps: int
) -> ReplayBuffer:
    """Return the buffer with chains written back to their slots.

    Args:
        buffer: the chains.
        batch: the chains that :func:`sample` took.
        position: their new positions; no gradient passes through.
        num_steps: steps that they have made since.

    Raises:
        InputError: if there is not one position for each chain.
    """
    checks.at_least("num_steps", num_steps, 0)
    if position.shape != batch.position.shape:
        raise InputError(
            f"position must have shape {batch.position.shape}, one for each chain that was taken, "
            f"got {position.shape}"
        )
    position = jax.lax.stop_gradient(position).astype(buffer.position.dtype)
    return ReplayBuffer(
        buffer.position.at[batch.slot].set(position, unique_indices=True),
        buffer.label,
        buffer.age.at[batch.slot].set(batch.age + num_steps, unique_indices=True),
    )


def age_statistics(buffer: ReplayBuffer) -> AgeStatistics:
    """Return the ages of the chains of a buffer."""
    return AgeStatistics(
        jnp.mean(buffer.age.astype(jnp.float32)), jnp.max(buffer.age), jnp.mean(buffer.age == 0)
    )
