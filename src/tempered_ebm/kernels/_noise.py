r"""Sources of the noise of a kernel.

A source is a few functions of a key, without a state: what it draws depends on the key and
on the place in the array, not on devices, blocks or layout, and a run is resumed from its key.
Kernels take one as ``noise``:

* :data:`jax_random_noise`, the default, has the numbers of ``jax.random``, bit for bit;
* :data:`box_muller_noise` has other numbers of the same quality for less time on CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt32

from tempered_ebm.errors import InputError
from tempered_ebm.types import Position, PRNGKey

_ONE = np.uint32(0x3F800000)
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)

Words = tuple[UInt32[Array, "..."], UInt32[Array, "..."]]
"""A key, a counter or a block of bits: two arrays of 32-bit words."""


class NoiseSource(NamedTuple):
    """A source of noise: two functions of a key, without a state.

    :data:`tempered_ebm.kernels.jax_random_noise` is the default of every kernel, and
    :data:`tempered_ebm.kernels.box_muller_noise` the faster one on CPU.

    Attributes:
        normal: ``(rng_key, shape, dtype) -> array`` of independent standard normals.
        uniform: ``(rng_key, shape, dtype) -> array`` of independent uniforms in [0, 1).
    """

    normal: Callable[[PRNGKey, tuple[int, ...], Any], Array]
    uniform: Callable[[PRNGKey, tuple[int, ...], Any], Array]

    def like(self, rng_key: PRNGKey, position: Position) -> Position:
        """Draw independent standard normals shaped and typed like ``position``."""
        leaves, treedef = jax.tree.flatten(position)
        keys = [rng_key] if len(leaves) == 1 else list(jax.random.split(rng_key, len(leaves)))
        noise = [self.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves)]
        return jax.tree.unflatten(treedef, noise)

    def __repr__(self) -> str:
        # The default of an argument in every signature; addresses of functions tell nothing.
        return f"<tempered_ebm.kernels.{self.normal.__name__.replace('normal', 'noise')}>"


def check_noise(noise: NoiseSource) -> None:
    """Require a :class:`NoiseSource`.

    Raises:
        InputError: if ``noise`` is something else.
    """
    if not isinstance(noise, NoiseSource):
        raise InputError(f"noise must be a tempered_ebm.kernels.NoiseSource, got {noise!r}")


def threefry_2x32(key: Words, counter: Words) -> Words:
    """Encrypt counters by the block cipher threefry-2x32 of 20 rounds.

    The rotations are those of Salmon et al. (2011), table 2. Written out here because the
    primitive of JAX is a call, which XLA does not fuse with what makes normals of its bits.

    Args:
        key: two words, which broadcast against the counter.
        counter: two words.

    Returns:
        Two words of the counter's shape.
    """
    schedule = (*key, key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _inlined(fn: Callable) -> Callable:
    # One dispatch for a step that is not compiled, and nothing to call in one that is.
    return jax.jit(fn, inline=True)


def _is_threefry(rng_key: PRNGKey) -> bool:
    if jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(rng_key)) == "threefry2x32"
    return jax.config.jax_default_prng_impl == "threefry2x32"  # type: ignore[attr-defined]


def _is_plain(rng_key: PRNGKey, size: int, dtype: Any) -> bool:
    """Check that ``jax.random`` would take one threefry block for each number."""
    return (
        jax.default_backend() == "cpu"
        and dtype == jnp.float32
        and size < 2**32
        and jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
        and _is_threefry(rng_key)
    )


def _words(rng_key: PRNGKey) -> Words:
    data = rng_key
    if jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
        data = jax.random.key_data(rng_key)
    return data[0], data[1]


def _index(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Places in an array in row-major order, without a reshape that would fix a layout."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    index = jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(strides):
        index = index + lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(stride)
    return index


def _jax_bits(rng_key: PRNGKey, index: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The bits that ``jax.random.bits`` has at a place, by rounds that XLA fuses."""
    high, low = threefry_2x32(_words(rng_key), (jnp.zeros_like(index), index))
    return high ^ low


def _jax_uniform(bits: UInt32[Array, "..."]) -> Float[Array, "..."]:
    return lax.bitcast_convert_type((bits >> np.uint32(9)) | _ONE, jnp.float32) - 1


def _jax_normal(bits: UInt32[Array, "..."]) -> Float[Array, "..."]:
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, _jax_uniform(bits) * (np.float32(1) - low) + low)
    return np.float32(math.sqrt(2)) * lax.erf_inv(uniform)


_jax_normal_at = _inlined(lambda rng_key, index: _jax_normal(_jax_bits(rng_key, index)))
_jax_uniform_at = _inlined(lambda rng_key, index: _jax_uniform(_jax_bits(rng_key, index)))


def jax_random_normal(rng_key: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
    if not _is_plain(rng_key, math.prod(shape), dtype):
        return jax.random.normal(rng_key, shape, dtype)
    return _jax_normal_at(rng_key, _index(shape))


def _jax_random_uniform(rng_key: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
    if not _is_plain(rng_key, math.prod(shape), dtype):
        return jax.random.uniform(rng_key, shape, dtype)
    return _jax_uniform_at(rng_key, _index(shape))


jax_random_noise = NoiseSource(jax_random_normal, _jax_random_uniform)
"""The numbers of ``jax.random``, bit for bit. On CPU its rounds of threefry are laid out so that
they run as one vectorised loop."""


def _sine(x: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Taylor's polynomial of degree 11, within 6e-8 on :math:`[-\pi/2, \pi/2]`."""
    y = x * x
    total = jnp.full_like(y, -1 / math.factorial(11))
    for k, sign in ((9, 1), (7, -1), (5, 1), (3, -1), (1, 1)):
        total = total * y + np.float32(sign / math.factorial(k))
    return x * total


def _pairs(rng_key: PRNGKey, index: UInt32[Array, "..."]) -> tuple[Array, Array]:
    """Two normals at each place, from the two words of one block of threefry."""
    key = _words(rng_key)
    if not _is_threefry(rng_key):
        high, low = jax.random.bits(rng_key, (2,), jnp.uint32)
        key = high, low
    radius_word, angle_word = threefry_2x32(key, (jnp.ones_like(index), index))
    coarse, fine = _as_float(radius_word >> np.uint32(8)), _as_float(radius_word & np.uint32(0xFF))
    u = coarse * np.float32(2**-24) + (fine * np.float32(2**-32) + np.float32(2**-33))
    radius = jnp.sqrt(-2 * jnp.log(u))
    # A quotient, and not a product: XLA computes it once for its two readers.
    angle = _as_float(angle_word) / np.float32(2**31 / math.pi)
    quarter = np.float32(math.pi / 2)
    cosine = _sine(quarter - jnp.abs(angle))
    sine = jnp.sign(angle) * _sine(quarter - jnp.abs(jnp.abs(angle) - quarter))
    return radius * cosine, radius * sine


def _as_float(word: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """The word as a signed number."""
    return lax.bitcast_convert_type(word, jnp.int32).astype(jnp.float32)


_pairs_at = _inlined(_pairs)


def box_muller_normal(rng_key: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
    if not shape:
        return box_muller_normal(rng_key, (1,), dtype)[0]
    half = (*shape[:-1], -(-shape[-1] // 2))
    pair = lax.optimization_barrier(_pairs_at(rng_key, _index(half)))
    return jnp.concatenate(pair, axis=-1)[..., : shape[-1]].astype(dtype)


box_muller_noise = NoiseSource(box_muller_normal, _jax_random_uniform)
r"""Pairs of normals from the two words of a threefry-2x32 block of 20 rounds.

.. math:: \sqrt{-2 \log u}\,(\cos 2\pi v, \sin 2\pi v)

(Box and Muller 1958; Salmon et al. 2011), in single precision whatever the dtype asked for;
tails end at 6.8 standard deviations. ``jax.random`` uses a block for each number."""
