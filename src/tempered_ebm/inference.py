"""Loops around a kernel: last state only, streaming statistics, or the full trace.

Call them inside ``jax.jit``: an eager call compiles its loop every time. Each is one
``jax.lax.scan`` over the steps, so ``with blackjax.progress_bar():`` around a call shows how
far it is (that needs the extra ``blackjax[progress]``). Chain axes may be spread over devices
(:mod:`tempered_ebm.sharding`).

Streaming statistics take constant memory. An accumulator holds a count, means and centred sums.
It is updated value by value inside a loop (Welford 1962), and accumulators of separate streams,
such as chains or devices, are merged exactly (Chan, Golub and LeVeque 1983).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm import _closures, _files
from tempered_ebm.errors import InputError
from tempered_ebm.types import Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


def _scan(
    one_step: Callable[[Any, PRNGKey], tuple[Any, Any]],
    start: Any,
    rng_key: PRNGKey,
    num_steps: int,
) -> tuple[Any, Any]:
    """Scan over the keys of the steps, each carried into its step by the one before.

    XLA vectorises a loop of noise on CPU if its key stands in a buffer of its own, and not if it is
    a slice of all keys.
    """
    keys = jax.random.split(rng_key, num_steps)
    if not num_steps:
        return jax.lax.scan(one_step, start, keys)

    def with_carried_key(carry: tuple, following: PRNGKey) -> tuple[tuple, Any]:
        state, kept = one_step(*carry)
        return (state, jax.random.clone(following)), kept

    # Copies of keys are no second use of them; the one that the last step hands on is not used.
    first, rest, unused = (jax.random.clone(keys)[part] for part in (0, slice(1, None), slice(1)))
    following = jnp.concatenate([rest, unused])
    (end, _), kept = jax.lax.scan(with_carried_key, (start, first), following)
    return end, kept


def advance(rng_key: PRNGKey, kernel: SamplingAlgorithm, state: Any, num_steps: int) -> Any:
    """Move ``state`` by ``num_steps`` steps and keep only where it ends.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from, as ``kernel.init`` or a step returned it.
        num_steps: number of steps, at least 0.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 0.
    """
    checks.key("rng_key", rng_key)
    checks.algorithm("kernel", kernel)
    checks.at_least("num_steps", num_steps, 0)

    def one_step(state: Any, key: PRNGKey) -> tuple[Any, None]:
        return kernel.step(key, state)[0], None

    return _scan(one_step, state, rng_key, num_steps)[0]


def short_run(
    rng_key: PRNGKey, kernel: SamplingAlgorithm, position: Position, num_steps: int
) -> Any:
    """Start a chain at ``position``, run it, and keep the last state only.

    This is the short-run sampler of Nijkamp et al. (2019): no trajectory is stored.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        position: initial position, or a batch of them with leading chain axes.
        num_steps: number of steps, at least 0.

    Returns:
        The final state of the kernel.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 0.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> state = te.inference.short_run(jax.random.key(0), kernel, jnp.zeros((3, 2)), 10)
        >>> state.position.shape
        (3, 2)
    """
    checks.algorithm("kernel", kernel)
    return advance(rng_key, kernel, kernel.init(position), num_steps)


def _position(state: Any, info: Any) -> Any:
    return state.position


def run_with_moments(
    rng_key: PRNGKey,
    kernel: SamplingAlgorithm,
    state: Any,
    num_steps: int,
    *,
    statistic_fn: Callable[[Any, Any], Any] = _position,
) -> tuple[Any, RunningMoments]:
    """Run a chain and accumulate mean and variance of a statistic along it.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from.
        num_steps: number of steps, at least 1.
        statistic_fn: ``(state, info) -> pytree`` of floating arrays; the position by
            default. Its shape is kept, so chain axes stay apart.

    Returns:
        The final state and the moments over the steps.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> state, moments = te.inference.run_with_moments(
        ...     jax.random.key(0), kernel, kernel.init(jnp.zeros((3, 2))), 100,
        ...     statistic_fn=lambda state, info: info.acceptance_rate,
        ... )
        >>> moments.mean.shape
        (3,)
    """
    _check_run(rng_key, kernel, num_steps, statistic_fn)

    def one_step(carry: tuple, key: PRNGKey) -> tuple[tuple, None]:
        state, moments = carry
        state, info = kernel.step(key, state)
        return (state, update_moments(moments, statistic_fn(state, info))), None

    shape = jax.eval_shape(lambda s: statistic_fn(*kernel.step(rng_key, s)), state)
    return _scan(one_step, (state, init_moments(shape)), rng_key, num_steps)[0]


def _check_run(
    rng_key: PRNGKey, kernel: SamplingAlgorithm, num_steps: int, statistic_fn: Callable
) -> None:
    checks.key("rng_key", rng_key)
    checks.algorithm("kernel", kernel)
    checks.at_least("num_steps", num_steps, 1)
    checks.function("statistic_fn", statistic_fn, "of (state, info)")


def run_with_covariance(
    rng_key: PRNGKey,
    kernel: SamplingAlgorithm,
    state: Any,
    num_steps: int,
    *,
    statistic_fn: Callable[[Any, Any], Array] = _position,
) -> tuple[Any, RunningCovariance]:
    r"""Run a chain and accumulate mean vector and covariance matrix of a statistic along it.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from.
        num_steps: number of steps, at least 1.
        statistic_fn: ``(state, info) -> vectors`` of shape (\*chains, d); the position by
            default. Chain axes stay apart; :func:`pool_covariance`
            merges them.

    Returns:
        The final state and the covariance over the steps, (\*chains, d, d).

    Raises:
        InputError: if ``rng_key`` is not one key, ``num_steps`` not an integer of at least 1,
            or the statistic not one array of vectors.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> _, running = te.inference.run_with_covariance(
        ...     jax.random.key(0), kernel, kernel.init(jnp.zeros((3, 2))), 100
        ... )
        >>> running.covariance.shape
        (3, 2, 2)
    """
    _check_run(rng_key, kernel, num_steps, statistic_fn)
    shape = jax.eval_shape(lambda s: statistic_fn(*kernel.step(rng_key, s)), state)
    if not isinstance(shape, jax.ShapeDtypeStruct) or not shape.shape:
        raise InputError(f"statistic_fn must return one array of vectors, got {shape}")

    def one_step(carry: tuple, key: PRNGKey) -> tuple[tuple, None]:
        state, running = carry
        state, info = kernel.step(key, state)
        return (state, update_covariance(running, statistic_fn(state, info))), None

    return _scan(one_step, (state, init_covariance(shape)), rng_key, num_steps)[0]


def trace(
    rng_key: PRNGKey,
    kernel: SamplingAlgorithm,
    state: Any,
    num_steps: int,
    *,
    statistic_fn: Callable[[Any, Any], Any] = _position,
) -> tuple[Any, Float[Array, "num_steps ..."]]:
    """Run a chain and keep a statistic of every step: memory grows with ``num_steps``.

    Args:
        rng_key: key of the whole run.
        kernel: any BlackJAX-style algorithm.
        state: state to start from.
        num_steps: number of steps, at least 1.
        statistic_fn: ``(state, info) -> pytree`` to keep; the position by default.

    Returns:
        The final state and the stacked statistics, with a leading axis ``num_steps``.

    Raises:
        InputError: if ``rng_key`` is not one key, or ``num_steps`` not an integer of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> run = jax.jit(lambda key, state: te.inference.trace(key, kernel, state, 10))
        >>> _, positions = run(jax.random.key(0), kernel.init(jnp.zeros((3, 2))))
        >>> positions.shape
        (10, 3, 2)
    """
    _check_run(rng_key, kernel, num_steps, statistic_fn)

    def one_step(state: Any, key: PRNGKey) -> tuple[Any, Any]:
        state, info = kernel.step(key, state)
        return state, statistic_fn(state, info)

    return _scan(one_step, state, rng_key, num_steps)


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
    """Return an accumulator of moments without any value.

    Args:
        like: a value, or its ``jax.ShapeDtypeStruct``.
    """

    def zeros() -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, _accumulator(leaf.dtype)), like)

    return RunningMoments(jnp.zeros((), jnp.int32), zeros(), zeros())


def _accumulator(dtype: Any) -> Any:
    """Return single precision at least: a sum of many numbers needs more digits than one."""
    return jnp.promote_types(dtype, jnp.float32)


def init_covariance(like: Float[Array, "*batch d"] | jax.ShapeDtypeStruct) -> RunningCovariance:
    """Return an accumulator of a covariance without any vector.

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
        >>> import tempered_ebm as te
        >>> moments = te.inference.init_moments(jnp.zeros(3))
        >>> for value in ([1.0, 2.0, 6.0], [3.0, 4.0, 8.0]):
        ...     moments = te.inference.update_moments(moments, jnp.array(value))
        >>> pooled = te.inference.pool_moments(moments, 1)
        >>> int(pooled.num_values), float(pooled.mean), round(float(pooled.variance), 4)
        (6, 4.0, 6.8)
    """
    axes = tuple(range(num_axes))

    def merge(mean: Array, square: Array) -> Array:
        between = moments.num_values * jnp.sum((mean - mean.mean(axes, keepdims=True)) ** 2, axes)
        return square.sum(axes) + between

    streams = math.prod(jax.tree.leaves(moments.mean)[0].shape[:num_axes])
    return RunningMoments(
        moments.num_values.astype(float) * streams,
        jax.tree.map(lambda mean: mean.mean(axes), moments.mean),
        jax.tree.map(merge, moments.mean, moments.sum_of_squares),
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


def checkpointed(path: str | Path, fn: Callable, *args: Any) -> Any:
    """Return ``fn(*args)``, read from a file if this very call has been made before.

    A long run in blocks, each a call of its own to a file of its own, survives whatever stops the
    process: made again, it reads what is there, bit for bit, and goes on. The file has the arrays
    of the result and a digest of the traced program, with the data that it closes over, and of the
    arguments.

    Args:
        path: an ``.npz`` file, written at once when the result is there. Its folder is made.
        fn: function of pytrees of arrays, under ``jax.jit`` in most cases.
        *args: its arguments.

    Returns:
        The result, a pytree of arrays.

    Raises:
        InputError: if the file is damaged or holds the result of another call.
        OSError: if it cannot be written.

    Example:
        >>> import jax, tempfile, tempered_ebm as te
        >>> kernel = te.mala(lambda z: -0.5 * (z**2).sum(), step_size=0.5)
        >>> block = jax.jit(lambda key, state: te.inference.advance(key, kernel, state, 100))
        >>> state, folder = kernel.init(jax.numpy.zeros(2)), tempfile.mkdtemp()
        >>> for i in range(3):
        ...     key = jax.random.fold_in(jax.random.key(0), i)
        ...     state = te.inference.checkpointed(f"{folder}/{i}.npz", block, key, state)
        >>> sorted(file.name for file in __import__("pathlib").Path(folder).iterdir())
        ['0.npz', '1.npz', '2.npz']
    """
    path = checks.path("path", path)
    leaves, structure = jax.tree.flatten(jax.eval_shape(fn, *args))
    digest = _digest(fn, args)
    if path.exists():
        try:
            arrays = _files.read_npz("checkpoint", path, any_of=["digest"])
        except InputError as error:
            raise InputError(f"{error}; remove it to compute it again") from error
        if str(arrays.pop("digest")) != digest:
            raise InputError(
                f"checkpoint {path} holds the result of another call: its function, its arguments "
                "or the data differ; give another path, or remove it"
            )
        return jax.tree.unflatten(
            structure, [_as_leaf(arrays[str(i)], leaf) for i, leaf in enumerate(leaves)]
        )
    result = jax.block_until_ready(fn(*args))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _files.open_atomically(path) as file:
        arrays = {str(i): _as_plain(leaf) for i, leaf in enumerate(jax.tree.leaves(result))}
        np.savez(file, allow_pickle=False, digest=np.array(digest), **arrays)
    return result


def _digest(fn: Callable, args: tuple) -> str:
    """Return a digest of a program, of the arrays that it closes over, and of its arguments."""
    closed = _closures.close(fn, *args)
    # Addresses of objects, which some programs show, are others in every process.
    program: Any = closed.func
    text = re.sub(r" at 0x[0-9a-f]+", "", str(program.key))
    digest = hashlib.sha256(text.encode())
    for leaf in jax.tree.leaves((closed.args, args)):
        array = _as_plain(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _as_plain(leaf: Any) -> np.ndarray:
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _as_leaf(array: np.ndarray, like: jax.ShapeDtypeStruct) -> Array:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        impl = jax.random.key_impl(jnp.zeros((), like.dtype))
        return jax.random.wrap_key_data(jnp.asarray(array), impl=impl)
    # NumPy's format has no name for bfloat16 and its kind, and keeps the bytes.
    return jnp.asarray(array.view(like.dtype) if array.dtype.kind == "V" else array)
