"""Statistics of a stream of values in constant memory.

An accumulator holds a count, means and centred sums. It is updated value by value inside a
loop (Welford 1962), and accumulators of separate streams, such as chains or devices, are
merged exactly (Chan, Golub and LeVeque 1983).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class RunningMoments(NamedTuple):
    """Mean and variance of a pytree of statistics.

    Attributes:
        num_values: number of values seen; a floating number once streams are pooled.
        mean: their mean, shaped like one value.
        sum_of_squares: their summed squared deviations from the mean.
    """

    num_values: Int[Array, ""] | Float[Array, ""]
    mean: Any
    sum_of_squares: Any

    @property
    def variance(self) -> Any:
        """Unbiased variance, shaped like one value; NaN below two values."""
        return jax.tree.map(lambda s: s / (self.num_values - 1), self.sum_of_squares)


class RunningCovariance(NamedTuple):
    """Mean vector and covariance matrix of vectors.

    Attributes:
        num_values: number of vectors seen; a floating number once streams are pooled.
        mean: their mean, (..., d).
        sum_of_products: their summed outer products of deviations from the mean, (..., d, d).
    """

    num_values: Int[Array, ""] | Float[Array, ""]
    mean: Float[Array, "*batch d"]
    sum_of_products: Float[Array, "*batch d d"]

    @property
    def covariance(self) -> Float[Array, "*batch d d"]:
        """Unbiased covariance matrix; NaN below two vectors."""
        return self.sum_of_products / (self.num_values - 1)


def init_moments(like: Any) -> RunningMoments:
    """Moments of no value yet.

    Args:
        like: a value, or its ``jax.ShapeDtypeStruct``.
    """

    def zeros() -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, _accumulator(leaf.dtype)), like)

    return RunningMoments(jnp.zeros((), jnp.int32), zeros(), zeros())


def _accumulator(dtype: Any) -> Any:
    """Single precision at least: a sum of many numbers needs digits that one number does not."""
    return jnp.promote_types(dtype, jnp.float32)


def init_covariance(like: Float[Array, "*batch d"] | jax.ShapeDtypeStruct) -> RunningCovariance:
    """Covariance of no vector yet.

    Args:
        like: a vector, or its ``jax.ShapeDtypeStruct``; leading axes stay apart.
    """
    dtype = _accumulator(like.dtype)
    products = jnp.zeros((*like.shape, like.shape[-1]), dtype)
    return RunningCovariance(jnp.zeros((), jnp.int32), jnp.zeros(like.shape, dtype), products)


def update_moments(moments: RunningMoments, value: Any) -> RunningMoments:
    """Add one value."""
    num_values = moments.num_values + 1
    value = jax.tree.map(lambda v, m: jnp.asarray(v, m.dtype), value, moments.mean)
    mean = jax.tree.map(lambda m, v: m + (v - m) / num_values, moments.mean, value)
    sum_of_squares = jax.tree.map(
        lambda s, v, old, new: s + (v - old) * (v - new),
        moments.sum_of_squares,
        value,
        moments.mean,
        mean,
    )
    return RunningMoments(num_values, mean, sum_of_squares)


def update_covariance(
    running: RunningCovariance, value: Float[Array, "*batch d"]
) -> RunningCovariance:
    """Add one vector."""
    num_values = running.num_values + 1
    value = jnp.asarray(value, running.mean.dtype)
    mean = running.mean + (value - running.mean) / num_values
    product = (value - running.mean)[..., :, None] * (value - mean)[..., None, :]
    return RunningCovariance(num_values, mean, running.sum_of_products + product)


def pool_moments(moments: RunningMoments, num_axes: int) -> RunningMoments:
    """Merge the streams along the first ``num_axes`` axes, all of them equally long.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import streaming
        >>> moments = streaming.init_moments(jnp.zeros(3))
        >>> for value in ([1.0, 2.0, 6.0], [3.0, 4.0, 8.0]):
        ...     moments = streaming.update_moments(moments, jnp.array(value))
        >>> pooled = streaming.pool_moments(moments, 1)
        >>> int(pooled.num_values), float(pooled.mean), round(float(pooled.variance), 4)
        (6, 4.0, 6.8)
    """

    def merge(mean: Array, square: Array) -> tuple[Array, Array]:
        axes = tuple(range(num_axes))
        between = moments.num_values * jnp.sum((mean - mean.mean(axes, keepdims=True)) ** 2, axes)
        return mean.mean(axes), square.sum(axes) + between

    leaves, treedef = jax.tree.flatten(moments.mean)
    squares = jax.tree.leaves(moments.sum_of_squares)
    pooled = [merge(*pair) for pair in zip(leaves, squares, strict=True)]
    streams = math.prod(leaves[0].shape[:num_axes])
    return RunningMoments(
        moments.num_values.astype(float) * streams,
        jax.tree.unflatten(treedef, [mean for mean, _ in pooled]),
        jax.tree.unflatten(treedef, [square for _, square in pooled]),
    )


def pool_covariance(running: RunningCovariance, num_axes: int) -> RunningCovariance:
    """Merge the streams along the first ``num_axes`` axes, all of them equally long."""
    axes = tuple(range(num_axes))
    deviation = running.mean - running.mean.mean(axes, keepdims=True)
    between = running.num_values * (deviation[..., :, None] * deviation[..., None, :]).sum(axes)
    streams = math.prod(running.mean.shape[:num_axes])
    return RunningCovariance(
        running.num_values.astype(float) * streams,
        running.mean.mean(axes),
        running.sum_of_products.sum(axes) + between,
    )
