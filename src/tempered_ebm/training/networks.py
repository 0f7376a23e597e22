"""Networks that options describe."""

from __future__ import annotations

from collections.abc import Callable

import haiku as hk
import jax

from tempered_ebm.encoders import conv_encoder, mlp_encoder
from tempered_ebm.generators import deconv_generator, mlp_generator
from tempered_ebm.training.generator_options import GeneratorConfig

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
