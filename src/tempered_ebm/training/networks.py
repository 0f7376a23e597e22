"""Options of networks and chains that several models share, and what is built from them.

The builders import networks and models when they are called: options are read for ``--help``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

import jax

from tempered_ebm.errors import InputError
from tempered_ebm.training.config import AnyDataset, Count, Options, Positive, Probability, is_small

if TYPE_CHECKING:
    import haiku as hk

    from tempered_ebm.models import ChainSettings

Activation = Literal["gelu", "silu", "softplus", "leaky_relu"]
Generator = Literal["mlp", "deconv"]
Network = Literal["mlp", "conv", "residual"]

ACTIVATIONS: dict[Activation, Callable] = {
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
}


def _check_layers(name: str, widths: tuple[int, ...]) -> None:
    if not widths:
        raise InputError(f"{name} must name at least one layer, got none")


Widths = Annotated[tuple[Count, ...], _check_layers]
"""Units of each hidden layer."""


@dataclass(frozen=True)
class GeneratorConfig(Options):
    """Gaussian likelihood around a generator."""

    latent_dim: Count | None = None
    """Dimension of the latent vector z. Default: 16 for images up to 16 pixels, else 32."""
    sigma: Positive = 0.3
    """Standard deviation of the Gaussian likelihood, for pixels in [-1, 1]."""
    generator: Generator | None = None
    """Generator network. Default: mlp for images up to 16 pixels, else deconv."""
    generator_width: Count | None = None
    """Units per hidden layer (mlp), or channels of the last hidden layer, halved (deconv).
    Default: 128 for mlp, 8 for deconv."""
    activation: Activation = "silu"
    """Activation of the networks. Langevin chains want a smooth one."""

    def resolve(self, dataset: AnyDataset) -> Self:
        """Fill in the options that depend on the size of the images."""
        small = is_small(dataset)
        config = self.with_defaults(
            latent_dim=16 if small else 32, generator="mlp" if small else "deconv"
        )
        return config.with_defaults(generator_width=128 if config.generator == "mlp" else 8)


@dataclass(frozen=True)
class NetworkConfig(Options):
    """Network from an observation to numbers."""

    network: Network | None = None
    """Network. Default: mlp for points and images up to 16 pixels, conv for other images."""
    width: Count | None = None
    """Units per hidden layer (mlp), or channels of the first layer. Default: 128 for mlp, else
    32."""
    depth: Count = 3
    """Hidden layers (mlp), or residual blocks of each size of the image (residual)."""
    activation: Activation = "silu"
    """Activation of the network. Langevin chains want a smooth one."""
    spectral_norm: bool = False
    """Divide every weight of a convolutional network by its largest singular value."""

    def resolve(self, dataset: AnyDataset) -> Self:
        """Fill in the options that depend on the size of the images."""
        config = self.with_defaults(network="mlp" if is_small(dataset) else "conv")
        return config.with_defaults(width=128 if config.network == "mlp" else 32)


@dataclass(frozen=True)
class LangevinConfig(Options):
    """Langevin chains, x' = x + h u(grad log p(x)) + s noise."""

    steps: Count | None = None
    """Steps of a chain per update."""
    step_size: Positive | None = None
    """Step size h."""
    final_step_size: Positive | None = None
    """Step size of the last step of a run, approached geometrically. Default: as the first."""
    noise_scale: Positive | None = None
    """Standard deviation s of the noise. Default: sqrt(2h), temperature 1, for points; 0.01 for
    images, which is a temperature far below 1."""
    max_drift: Positive | None = None
    """Bound on every coordinate of the gradient. Default: none."""
    metropolis: bool = False
    """Correct every step by a Metropolis test (MALA)."""
    sampling_steps: Count | None = 1000
    """Steps of the chains with which a trained model is sampled; they start like new chains."""

    @property
    def is_decoupled(self) -> bool:
        """True if the chains have another law than the one that a Metropolis test keeps."""
        return (self.final_step_size, self.noise_scale, self.max_drift) != (None, None, None)

    def scaled(self, factor: float) -> Self:
        """Return the options with step sizes times ``factor``, at an unchanged temperature.

        The temperature is σ²/(2h), so a noise scale of its own goes with the root of the factor.
        """
        scaled = self._times(factor, "step_size", "final_step_size")
        return scaled._times(math.sqrt(factor), "noise_scale")

    def _require_law(self, options: str) -> None:
        """Require chains of the law that a Metropolis test, asked for by ``options``, keeps."""
        if self.is_decoupled:
            raise InputError(
                f"{options} chains whose law --final-step-size, --noise-scale and "
                "--max-drift would change; expected none of them, got "
                f"{self.final_step_size}, {self.noise_scale} and {self.max_drift}"
            )


@dataclass(frozen=True)
class BufferConfig(Options):
    """Replay buffer of persistent chains."""

    capacity: Count = 10_000
    """Chains in the buffer."""
    restart: Probability = 0.05
    """Probability that a chain starts afresh before it is continued."""
    start_low: float | None = None
    """Lower bound of uniform starts. Default: that of the data."""
    start_high: float | None = None
    """Upper bound of uniform starts. Default: that of the data."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        low, high = self.start_low, self.start_high
        if low is not None and high is not None and not low < high:
            raise InputError(f"--start-low must be below --start-high, got {low} and {high}")

    def resolve(self, dataset: AnyDataset) -> Self:
        """Fill in the bounds of uniform starts."""
        x = dataset.x_train
        return self.with_defaults(start_low=float(x.min()), start_high=float(x.max()))


def check_capacity(capacity: int, batch_size: int) -> None:
    """Require a buffer of persistent chains that can fill a batch.

    Raises:
        InputError: naming both values.
    """
    if capacity < batch_size:
        raise InputError(
            f"--capacity must be at least the --batch-size of {batch_size}, got {capacity}"
        )


def build_generator(config: GeneratorConfig, image_shape: tuple[int, int, int]) -> hk.Transformed:
    """Return the generator of resolved options."""
    from tempered_ebm.networks import deconv_generator, mlp_generator

    width, activation = config.generator_width or 1, ACTIVATIONS[config.activation]
    if config.generator == "deconv":
        return deconv_generator(image_shape, width=width, activation=activation)
    return mlp_generator(image_shape, widths=(width, width), activation=activation)


def build_encoder(config: GeneratorConfig, width: int, num_outputs: int) -> hk.Transformed:
    """Return the encoder that mirrors the generator of resolved options."""
    from tempered_ebm.networks import conv_encoder, mlp_encoder

    activation = ACTIVATIONS[config.activation]
    if config.generator == "deconv":
        return conv_encoder(num_outputs, width=width, activation=activation)
    return mlp_encoder(num_outputs, widths=(width, width), activation=activation)


def build_network(config: NetworkConfig, num_outputs: int) -> hk.Transformed:
    """Return the network of resolved options from an observation to ``num_outputs`` numbers."""
    from tempered_ebm.networks import conv_network, mlp_encoder, residual_network

    width, activation = config.width or 1, ACTIVATIONS[config.activation]
    if config.network == "mlp":
        return mlp_encoder(num_outputs, widths=(width,) * config.depth, activation=activation)
    if config.network == "conv":
        return conv_network(
            num_outputs, width=width, activation=activation, spectral_norm=config.spectral_norm
        )
    return residual_network(
        num_outputs,
        width=width,
        blocks_per_size=config.depth,
        activation=activation,
        spectral_norm=config.spectral_norm,
    )


def build_chain(config: LangevinConfig, *, sampling: bool) -> ChainSettings:
    """Return the chain of resolved options, of the length of sampling or of an update."""
    from tempered_ebm.models import ChainSettings

    return ChainSettings(
        num_steps=(config.sampling_steps if sampling else config.steps) or 1,
        step_size=config.step_size or 1.0,
        final_step_size=config.final_step_size,
        noise_scale=config.noise_scale,
        max_drift=config.max_drift,
        metropolis=config.metropolis,
    )
