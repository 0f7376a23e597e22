"""Networks of energy-based models in Haiku: their output f is the *negative* energy.

There is no batch normalisation and no dropout in them, so that f is a function of one input, and
activations are smooth by default, since Langevin chains follow the gradient of f. With several
outputs they are classifiers, whose logits are those of a joint energy-based model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.networks._convolutions import convolution

Activation = Callable[[Array], Array]

_SMALLEST_GRID = 4
_POWER_ITERATIONS = 8


def mlp_network(
    widths: Sequence[int] = (200, 200), *, activation: Activation = jax.nn.gelu
) -> hk.Transformed:
    """Return the network of the latent prior of Pang et al. (2020): an MLP with one output.

    The output is f, the *negative* energy of ``p(z) ∝ exp(f(z)) N(z; 0, I)``.

    Args:
        widths: sizes of the hidden layers.
        activation: elementwise.

    Returns:
        A Haiku pair ``init(rng_key, z)``, ``apply(params, z)`` for ``z`` of shape
        (n, latent_dim), giving (n,).

    Raises:
        InputError: if ``widths`` is empty or holds a size below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import mlp_network
        >>> net = mlp_network((32,))
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 8))).shape
        (3,)
    """
    is_size = [isinstance(width, int | np.integer) and width >= 1 for width in widths]
    if not widths or not all(is_size):
        raise InputError(f"widths must be at least one positive size, got {tuple(widths)}")

    def forward(z: Float[Array, "n latent_dim"]) -> Float[Array, "n"]:
        return hk.nets.MLP([*widths, 1], activation=activation)(z)[:, 0]

    return hk.without_apply_rng(hk.transform(forward))


def spectrally_normalized(w: Float[Array, "*in out"]) -> Float[Array, "*in out"]:
    r"""Return a weight divided by its largest singular value.

    The weight is a matrix from its inputs to its outputs. The singular value is that of power
    iteration from a fixed start, so that the network stays a function of its parameters; Miyato
    et al. (2018, section 2.1) keep the vector between updates instead.
    For a convolution the matrix is the reshaped kernel, as there: a bound of the map's norm up to
    a constant of the kernel size.

    Args:
        w: a weight whose last axis is its output.
    """
    matrix = w.reshape(-1, w.shape[-1])
    u = jnp.ones(matrix.shape[-1], w.dtype) / jnp.sqrt(jnp.asarray(w.shape[-1], w.dtype))
    frozen = jax.lax.stop_gradient(matrix)

    def iterate(u: Array, _: None) -> tuple[Array, None]:
        v = frozen.T @ (frozen @ u)
        return v / (jnp.linalg.norm(v) + 1e-12), None

    u, _ = jax.lax.scan(iterate, u, None, length=_POWER_ITERATIONS)
    left = frozen @ u
    left = left / (jnp.linalg.norm(left) + 1e-12)
    return w / (left @ matrix @ u + 1e-12)


class _Convolution(hk.Module):
    """Convolution with bias and SAME padding."""

    def __init__(self, channels: int, size: int, *, stride: int = 1):
        super().__init__(name="convolution")
        self.channels, self.size, self.stride = channels, size, stride

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 channels"]:
        shape = (self.size, self.size, x.shape[-1], self.channels)
        scale = 1.0 / (self.size * x.shape[-1] ** 0.5)
        w = hk.get_parameter("w", shape, x.dtype, hk.initializers.TruncatedNormal(scale))
        b = hk.get_parameter("b", shape[-1:], x.dtype, jnp.zeros)
        return convolution(x, w, stride=self.stride) + b


def _transform(forward: Callable[[Array], Array], *, spectral_norm: bool) -> hk.Transformed:
    """Return a network, with every weight spectrally normalised if asked for."""

    def normalise(next_getter: Callable, value: Array, context: hk.GetterContext) -> Array:
        value = next_getter(value)
        return spectrally_normalized(value) if context.name == "w" else value

    def normalised(x: Array) -> Array:
        with hk.custom_getter(normalise):
            return forward(x)

    return hk.without_apply_rng(hk.transform(normalised if spectral_norm else forward))


def conv_network(
    num_outputs: int = 1,
    *,
    width: int = 32,
    activation: Activation = jax.nn.silu,
    spectral_norm: bool = False,
) -> hk.Transformed:
    """Return a network of convolutions of stride 2 down to a grid of 4 or less, and a linear layer.

    A convolution of size 3 keeps the size of the image, and is followed by strided ones that double
    the channels. With one output it is f, the *negative* energy of an image.

    Args:
        num_outputs: 1 for f alone, the number of classes for a classifier.
        width: channels of the first convolution.
        activation: elementwise, smooth by default: chains follow the gradient.
        spectral_norm: whether every weight is divided by its spectral norm.

    Returns:
        A Haiku pair ``init(rng_key, x)``, ``apply(params, x)`` for ``x`` of shape
        (n, height, width, channels), giving (n, num_outputs).

    Raises:
        InputError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import conv_network
        >>> net = conv_network(width=4)
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
        >>> jax.jit(net.apply)(params, jnp.zeros((3, 28, 28, 1))).shape
        (3, 1)
    """
    checks.at_least("num_outputs", num_outputs, 1)
    checks.at_least("width", width, 1)

    def forward(x: Float[Array, "n h w c"]) -> Float[Array, "n num_outputs"]:
        channels = width
        x = activation(_Convolution(channels, 3)(x))
        while max(x.shape[1:3]) > _SMALLEST_GRID:
            channels *= 2
            x = activation(_Convolution(channels, 4, stride=2)(x))
        return hk.Linear(num_outputs)(x.reshape(x.shape[0], -1))

    return _transform(forward, spectral_norm=spectral_norm)


def residual_network(
    num_outputs: int = 1,
    *,
    width: int = 64,
    blocks_per_size: int = 1,
    activation: Activation = jax.nn.silu,
    spectral_norm: bool = False,
) -> hk.Transformed:
    """Return a residual network with average pooling, in the manner of Du and Mordatch (2019).

    Each size has ``blocks_per_size`` blocks of two convolutions of size 3; the image is then
    halved and its channels doubled, down to a grid of at most 4; the sum over that grid goes
    through a linear layer. No normalisation of activations, no dropout.

    Args:
        num_outputs: 1 for f alone, the number of classes for a classifier.
        width: channels of the first convolution.
        blocks_per_size: residual blocks before each halving.
        activation: elementwise, smooth by default.
        spectral_norm: whether every weight is divided by its spectral norm.

    Returns:
        A Haiku pair as :func:`conv_network` returns.

    Raises:
        InputError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from tempered_ebm.networks import residual_network
        >>> net = residual_network(10, width=4)
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        >>> jax.jit(net.apply)(params, jnp.zeros((2, 32, 32, 3))).shape
        (2, 10)
    """
    checks.at_least("num_outputs", num_outputs, 1)
    checks.at_least("width", width, 1)
    checks.at_least("blocks_per_size", blocks_per_size, 1)

    def block(x: Array, channels: int) -> Array:
        inner = _Convolution(channels, 3)(activation(x))
        inner = _Convolution(channels, 3)(activation(inner))
        if x.shape[-1] != channels:
            x = _Convolution(channels, 1)(x)
        return x + inner

    def forward(x: Float[Array, "n h w c"]) -> Float[Array, "n num_outputs"]:
        channels = width
        x = _Convolution(channels, 3)(x)
        while True:
            for _ in range(blocks_per_size):
                x = block(x, channels)
            if max(x.shape[1:3]) <= _SMALLEST_GRID:
                break
            x = hk.avg_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
            channels *= 2
        return hk.Linear(num_outputs)(jnp.sum(activation(x), (1, 2)))

    return _transform(forward, spectral_norm=spectral_norm)
