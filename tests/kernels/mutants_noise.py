"""Bugs in the sources of noise."""

import jax.numpy as jnp
import numpy as np

from tempered_ebm.kernels import _noise as noise
from tests.kernels import checks_noise as checks
from tests.mutants.registry import caught_by


def plant(patch, block):
    """Blocks of threefry that are wrong, in functions that were not traced with the right ones."""
    patch.setattr(noise, "threefry_2x32", block)
    for name in ("_pairs_at", "_jax_normal_at", "_jax_uniform_at"):
        inner = getattr(noise, name).__wrapped__
        patch.setattr(noise, name, lambda *arguments, inner=inner: inner(*arguments))


def words(patch, change):
    """Blocks of threefry, changed afterwards."""
    right = noise.threefry_2x32

    def block(key, counter):
        return change(*right(key, counter), key, counter)

    plant(patch, block)


@caught_by(checks.box_muller_is_normal_and_uncorrelated)
def an_angle_from_the_word_of_the_radius(patch):
    words(patch, lambda a, b, key, counter: (a, a))


@caught_by(checks.box_muller_is_normal_and_uncorrelated)
def a_radius_of_eight_bits(patch):
    mask = np.uint32(0xFF000000)
    words(patch, lambda a, b, key, counter: (a & mask, b))


@caught_by(checks.box_muller_is_normal_and_uncorrelated)
def pairs_of_places_that_share_a_block(patch):
    right = noise.threefry_2x32
    plant(
        patch,
        lambda key, counter: right(key, (counter[0], counter[1] // np.uint32(6))),
    )


@caught_by(checks.successive_keys_are_independent)
def a_key_read_by_half(patch):
    right = noise.threefry_2x32
    plant(
        patch,
        lambda key, counter: right((key[0] & np.uint32(7), jnp.zeros_like(key[1])), counter),
    )


@caught_by(checks.default_is_jax_random, (4, 3))
def a_block_cut_to_one_word(patch):
    words(patch, lambda a, b, key, counter: (a, jnp.zeros_like(b)))
