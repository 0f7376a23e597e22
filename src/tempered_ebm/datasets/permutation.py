"""A shuffle in no memory: the place of any one item, without those of the others."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError

_ROUNDS = 8
_SMALL = 2**12
_LARGEST = 2**62


def permute(
    places: Int[np.ndarray, "n"], num_items: int, key: tuple[int, ...]
) -> Int[np.ndarray, "n"]:
    """Image of some places under a pseudo-random permutation of 0 to ``num_items - 1``.

    A Feistel network (Luby and Rackoff 1988) of eight rounds permutes the integers of 2b bits,
    ``4^b >= num_items``: a round takes the halves (l, r) to (r, l xor F(r)). A result outside the
    range is sent through again until it falls inside (cycle walking, Black and Rogaway 2002), four
    times on average at most. F is a multiply-and-shift mixer with a key of its own in every round.
    This shuffles well and keeps no secrets. Up to 4,096 items are shuffled outright: rounds of a
    Feistel network are even permutations, which shows in sets as small as five.

    Args:
        places: (n,) integers in [0, num_items).
        num_items: size of the permuted set, at most 2**62.
        key: non-negative integers that choose the permutation, such as (seed, epoch).

    Returns:
        (n,), int64, in [0, num_items): different places have different images.

    Raises:
        InputError: if ``num_items`` or a place is out of range.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.datasets.permutation import permute
        >>> sorted(permute(np.arange(6), 6, (0, 3)).tolist())
        [0, 1, 2, 3, 4, 5]
    """
    checks.at_least("num_items", num_items, 1)
    if num_items > _LARGEST:
        raise InputError(f"num_items must be at most 2**62, got {num_items}")
    places = np.asarray(places, np.int64)
    if places.size and not 0 <= places.min() <= places.max() < num_items:
        raise InputError(f"places must be in [0, {num_items}), got {places}")
    if num_items <= _SMALL:
        return np.random.default_rng(key).permutation(num_items)[places]
    half = ((num_items - 1).bit_length() + 1) // 2
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)
    values = _network(places.astype(np.uint64), half, keys)
    while (outside := values >= num_items).any():
        values[outside] = _network(values[outside], half, keys)
    return values.astype(np.int64)


def _network(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _mix(words: np.ndarray) -> np.ndarray:
    """Every bit of a word on every bit of the result (the finaliser of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        words = (words ^ (words >> np.uint64(33))) * np.uint64(factor)
    return words ^ (words >> np.uint64(33))
