"""Networks and chains that options describe."""

from __future__ import annotations

from collections.abc import Callable

import haiku as hk
import jax

from tempered_ebm.models import ChainSettings
from tempered_ebm.networks import (
    conv_encoder,
    conv_network,
    deconv_generator,
    mlp_encoder,
    mlp_generator,
    residual_network,
)
from tempered_ebm.training.generator_options import GeneratorConfig
from tempered_ebm.training.network_options import LangevinConfig, NetworkConfig

ACTIVATIONS: dict[str, Callable] = {
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
}


def build_generator(config: GeneratorConfig, image_shape: tuple[int, int, int]) -> hk.Transformed:
    """Generator of resolved options."""
    width, activation = config.generator_width or 1, ACTIVATIONS[config.activation]
    if config.generator == "deconv":
        return deconv_generator(image_shape, width=width, activation=activation)
    return mlp_generator(image_shape, widths=(width, width), activation=activation)


def build_encoder(config: GeneratorConfig, width: int, num_outputs: int) -> hk.Transformed:
    """Encoder that mirrors the generator of resolved options."""
    activation = ACTIVATIONS[config.activation]
    if config.generator == "deconv":
        return conv_encoder(num_outputs, width=width, activation=activation)
    return mlp_encoder(num_outputs, widths=(width, width), activation=activation)


def build_network(config: NetworkConfig, num_outputs: int) -> hk.Transformed:
    """Network of resolved options from an observation to ``num_outputs`` numbers."""
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
    """Chain of resolved options, of the length of sampling or of an update."""
    return ChainSettings(
        num_steps=(config.sampling_steps if sampling else config.steps) or 1,
        step_size=config.step_size or 1.0,
        final_step_size=config.final_step_size,
        noise_scale=config.noise_scale,
        max_drift=config.max_drift,
        metropolis=config.metropolis,
    )
