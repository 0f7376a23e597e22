r"""A short unadjusted Langevin run of an MLP's density as one program of the accelerator.

For :math:`\log p(z) = f(z) - |z|^2/2` with a small MLP ``f``, a step of :func:`tempered_ebm.ula` is
a dozen programs that hardly fill an accelerator. Here one Pallas program makes all steps of a
block of chains: weights are read once, noise is a function of its index
(:mod:`tempered_ebm.counter_noise`), and the gradient is a backward pass written out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm import counter_noise
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import fused_program
from tempered_ebm.kernels.fused_program import ACTIVATIONS, Layers, ShortRun
from tempered_ebm.types import Params, PRNGKey

BLOCK = 16
"""Chains of a program: the smallest block that tensor cores multiply."""
ON_CHIP_BYTES = 216 * 2**10
"""What padded weights may take, each counted twice: the shared memory of a program on an H100,
227 KiB, less that of its activations. A GPU with less refuses to compile the program."""
FASTER_ON: frozenset[str] = frozenset()
"""Kinds of devices, as ``jax.Device.device_kind`` names them, on which ``python -m benchmarks
--suite kernels`` has shown it to be the faster one. None has been measured yet."""


class MLP(NamedTuple):
    """What a network says of itself in its attribute ``mlp``, so that its chains may be fused.

    Attributes:
        layers: ``params -> layers``, weight and bias of each.
        activation: elementwise, between layers.
        dtype: of the factors of matrix products.
    """

    layers: Callable[[Params], Layers]
    activation: Callable[[Array], Array]
    dtype: Any = jnp.float32


def is_supported(
    backend: str,
    layers: Layers,
    *,
    activation: Callable[[Array], Array],
    dtype: Any = jnp.float32,
    block: int = BLOCK,
) -> bool:
    """Whether :func:`fused_short_run` compiles to a kernel that keeps the weights on the chip.

    Args:
        backend: as ``jax.default_backend()`` names it.
        layers: weight and bias of each layer, arrays or their shapes.
        activation: elementwise.
        dtype: of the factors of matrix products.
        block: chains of a program.

    Returns:
        True on an NVIDIA GPU, for a known activation, float32 parameters and weights that take
        ``ON_CHIP_BYTES`` at most, if the compiler takes the kernel. The first question about
        a network compiles it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.kernels import fused_langevin
        >>> layers = [(jnp.zeros((4, 8)), jnp.zeros(8)), (jnp.zeros((8, 1)), jnp.zeros(1))]
        >>> fused_langevin.is_supported("cpu", layers, activation=jax.nn.gelu)
        False
    """
    arrays = jax.tree.leaves(layers)
    if backend not in ("gpu", "cuda") or activation not in ACTIVATIONS:
        return False
    if any(array.dtype != jnp.float32 for array in arrays):
        return False
    shapes = tuple(weight.shape for weight, _ in layers)
    padded = fused_program.padded
    size = sum(2 * padded(rows) * padded(columns) for rows, columns in shapes[:-1])
    if size * jnp.dtype(dtype).itemsize > ON_CHIP_BYTES:
        return False
    return _compiles(shapes, activation, jnp.dtype(dtype), block)


@functools.cache
def _compiles(
    shapes: tuple[tuple[int, int], ...], activation: Callable, dtype: np.dtype, block: int
) -> bool:
    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    run = functools.partial(
        fused_program.run,
        num_steps=2,
        activation=activation,
        block=block,
        dtype=dtype,
        interpret=False,
    )
    layers = tuple((array(*shape), array(shape[1])) for shape in shapes)
    words = jax.ShapeDtypeStruct((2,), jnp.uint32)
    try:
        jax.jit(run).lower(words, layers, array(block, shapes[0][0]), array(2)).compile()
    except Exception:
        # A compiler refuses in ways of its own, by version and device; all mean the same here.
        return False
    return True


def fused_short_run(
    rng_key: PRNGKey,
    layers: Layers,
    position: Float[Array, "*chains d"],
    step_size: float | Float[Array, ""],
    num_steps: int,
    *,
    activation: Callable[[Array], Array],
    block: int = BLOCK,
    dtype: Any = jnp.float32,
    interpret: bool | None = None,
) -> ShortRun:
    r"""Run unadjusted Langevin chains of an MLP's density in one kernel.

    .. math:: z' = z + h\,(\nabla f(z) - z) + \sqrt{2h}\,\xi, \qquad
        f(z) = W_L\,a(\dots a(W_1 z + b_1) \dots) + b_L

    The law is that of :func:`tempered_ebm.ula` on :math:`\log p(z) = f(z) - |z|^2/2`; the draws
    are others. The noise of step k, chain n and coordinate i is a function of the key and of
    (k, n, i), so draws depend neither on the block nor on devices. Positions, activations
    and noise are float32, and the sums of matrix products; what their factors lose is what
    ``dtype`` and ``jax.default_matmul_precision`` say. Nothing in here is differentiated.

    Args:
        rng_key: key of the noise.
        layers: weight (fan_in, fan_out) and bias (fan_out,) of each layer; the last has one
            output.
        position: start of each chain.
        step_size: ``h > 0``, in squared units of the position.
        num_steps: number of steps, at least 1.
        activation: elementwise between the layers, one of ``ACTIVATIONS``.
        block: chains of a program, a power of two of at least 16.
        dtype: of the factors of matrix products, float32 or bfloat16.
        interpret: whether to run the kernel's operations as those of JAX; by default wherever
            there is no GPU.

    Returns:
        Position at the end and mean norm of the drift.

    Raises:
        InputError: for layers that do not make a function of the position, an activation or
            dtype that the kernel does not know, a block that is no power of two, or a
            number that is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.kernels import fused_langevin
        >>> layers = [(jnp.ones((3, 8)), jnp.zeros(8)), (jnp.ones((8, 1)), jnp.zeros(1))]
        >>> run = fused_langevin.fused_short_run(
        ...     jax.random.key(0), layers, jnp.zeros((5, 3)), 0.1, 10, activation=jax.nn.gelu
        ... )
        >>> run.position.shape, run.drift_norm.shape
        ((5, 3), (5,))
    """
    if activation not in ACTIVATIONS:
        known = ", ".join(function.__name__ for function in ACTIVATIONS)
        raise InputError(f"activation must be one of jax.nn's {known}, got {activation!r}")
    checks.at_least("block", block, 16)
    if block & (block - 1):
        raise InputError(f"block must be a power of two, got {block}")
    run = functools.partial(
        fused_program.run,
        activation=activation,
        block=block,
        dtype=dtype,
        interpret=jax.default_backend() != "gpu" if interpret is None else interpret,
    )
    return _checked(run, rng_key, layers, position, step_size, num_steps, dtype)


def reference_short_run(
    rng_key: PRNGKey,
    layers: Layers,
    position: Float[Array, "*chains d"],
    step_size: float | Float[Array, ""],
    num_steps: int,
    *,
    activation: Callable[[Array], Array],
    dtype: Any = jnp.float32,
) -> ShortRun:
    """:func:`fused_short_run` in plain JAX: the same noise, and the gradient of autodiff.

    Any activation will do. Arguments, result and errors are those of the kernel.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.kernels import fused_langevin
        >>> layers = [(jnp.ones((3, 8)), jnp.zeros(8)), (jnp.ones((8, 1)), jnp.zeros(1))]
        >>> run = fused_langevin.reference_short_run(
        ...     jax.random.key(0), layers, jnp.zeros((5, 3)), 0.1, 10, activation=jnp.sin
        ... )
        >>> run.position.shape
        (5, 3)
    """
    run = functools.partial(_reference, activation=activation, dtype=dtype)
    return _checked(run, rng_key, layers, position, step_size, num_steps, dtype)


def _checked(
    run: Callable[..., ShortRun],
    rng_key: PRNGKey,
    layers: Layers,
    position: Array,
    step_size: float | Array,
    num_steps: int,
    dtype: Any,
) -> ShortRun:
    """Check what both runs take, and run all chains along one axis."""
    key = jnp.stack(counter_noise.key_words(rng_key))
    position = chains.as_position(position)
    if jnp.ndim(position) == 0:
        raise InputError("position must have a last axis of coordinates, got a scalar")
    _check_layers(layers, position.shape[-1])
    checks.positive("step_size", step_size)
    if jnp.ndim(step_size):
        raise InputError(f"step_size must be a scalar, got shape {jnp.shape(step_size)}")
    checks.at_least("num_steps", num_steps, 1)
    if num_steps * position.shape[-1] >= 2**32:
        raise InputError(
            f"num_steps must be below 2**32 / {position.shape[-1]} coordinates, got {num_steps}"
        )
    if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
        raise InputError(f"dtype must be float32 or bfloat16, got {jnp.dtype(dtype)}")
    h = jnp.asarray(step_size, jnp.float32)
    rows = position.reshape(-1, position.shape[-1]).astype(jnp.float32)
    frozen = jax.lax.stop_gradient(
        (key, tuple((w, b) for w, b in layers), rows, jnp.stack([h, jnp.sqrt(2 * h)]))
    )
    end, drift_norm = run(*frozen, num_steps=num_steps)
    return ShortRun(
        end.reshape(position.shape).astype(position.dtype),
        drift_norm.reshape(position.shape[:-1]).astype(position.dtype),
    )


def _check_layers(layers: Layers, dim: int) -> None:
    fan_in = dim
    for i, (weight, bias) in enumerate(layers):
        last = i == len(layers) - 1
        fan_out = 1 if last else weight.shape[-1] if jnp.ndim(weight) else 0
        if jnp.shape(weight) != (fan_in, fan_out) or jnp.shape(bias) != (fan_out,) or not fan_out:
            wanted = f"({fan_in}, 1) and (1,)" if last else f"({fan_in}, n) and (n,)"
            raise InputError(
                f"layers[{i}] must have a weight and a bias of shapes {wanted}, got "
                f"{jnp.shape(weight)} and {jnp.shape(bias)}"
            )
        fan_in = fan_out
    if not layers:
        raise InputError("layers must be at least one pair of weight and bias, got none")


def _reference(
    key: Array,
    layers: Layers,
    position: Array,
    scales: Array,
    *,
    num_steps: int,
    activation: Callable,
    dtype: Any,
) -> ShortRun:
    def value(z: Array) -> Array:
        for weight, bias in layers[:-1]:
            z = activation(fused_program.dot(z, weight, dtype=dtype) + bias)
        return (z @ layers[-1][0])[:, 0]

    def step(k: Array, z: Array) -> tuple[Array, Array]:
        _, grad = chains.value_and_grad(value, z)
        return fused_program.move((key[0], key[1]), k, z, grad, scales[0], scales[1], 0, z.shape[1])

    return fused_program.steps(step, position, num_steps)
