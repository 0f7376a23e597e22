"""Normal numbers that are a function of a key and two indices.

Nothing here keeps a state or asks for a shape: whoever knows the key and the index of a number
computes it, one thread of an accelerator or a whole array. Only 32-bit operations on
elements are used, so the same code runs inside a kernel and outside.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from tempered_ebm import _checks as checks
from tempered_ebm.types import PRNGKey

Words = tuple[UInt32[Array, "..."], UInt32[Array, "..."]]
"""A key, a counter or a block of bits: two arrays of 32-bit words."""

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
"""Rotations of threefry-2x32 (Salmon et al. 2011, table 2)."""
PARITY = np.uint32(0x1BD11BDA)


def key_words(rng_key: PRNGKey) -> Words:
    """Two words from a key of ``jax.random`` of any implementation.

    Raises:
        InputError: if ``rng_key`` is not one key.
    """
    checks.key("rng_key", rng_key)
    words = jax.random.bits(rng_key, (2,), jnp.uint32)
    return words[0], words[1]


def threefry_2x32(key: Words, counter: Words) -> Words:
    """The block cipher threefry-2x32 of 20 rounds (Salmon et al. 2011).

    A bijection of counters for every key, which passes BigCrush.

    Args:
        key: two words, which broadcast against the counter.
        counter: two words.

    Returns:
        Two words of the counter's shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm.counter_noise import threefry_2x32
        >>> zero = jnp.uint32(0)
        >>> [hex(word) for word in threefry_2x32((zero, zero), (zero, zero))]
        ['0x6b200159', '0x99ba4efe']
    """
    schedule = (*key, key[0] ^ key[1] ^ PARITY)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _as_float(word: UInt32[Array, "..."]) -> Float[Array, "..."]:
    # By way of int32, the one integer that every accelerator converts.
    return word.astype(jnp.int32).astype(jnp.float32)


def standard_normal(
    key: Words, row: UInt32[Array, "..."], column: UInt32[Array, "..."]
) -> Float[Array, "..."]:
    r"""The standard normal number at a row and a column of an endless table.

    .. math::
        \xi = \sqrt{-2 \log u}\,\cos 2\pi v, \qquad
        (2^{32} u - \tfrac12,\; 2^{32} v) \approx \text{threefry}_{key}(row, column)

    the transformation of Box and Muller (1958). ``u`` keeps all of its 32 bits near 0, so
    tails end at 6.7 standard deviations; ``v`` has 24 bits.

    Args:
        key: two words, as :func:`key_words` returns them.
        row: first index, uint32.
        column: second index, uint32, which broadcasts against the first.

    Returns:
        float32 of the common shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm import counter_noise
        >>> key = counter_noise.key_words(jax.random.key(0))
        >>> row, column = jnp.indices((3, 2), jnp.uint32)
        >>> table = counter_noise.standard_normal(key, row, column)
        >>> bool(table[2, 1] == counter_noise.standard_normal(key, row[2, 1], column[2, 1]))
        True
    """
    radius_word, angle_word = threefry_2x32(key, (row, column))
    high = _as_float(radius_word >> np.uint32(16)) * np.float32(2**-16)
    low = _as_float(radius_word & np.uint32(0xFFFF)) * np.float32(2**-32)
    u = high + low + np.float32(2**-33)
    angle = _as_float(angle_word >> np.uint32(8)) * np.float32(2 * np.pi * 2**-24)
    return jnp.sqrt(-2 * jnp.log(u)) * jnp.cos(angle)
