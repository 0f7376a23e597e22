"""Options of networks that judge an observation, and of chains in the space of observations."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, TypeVar

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.training.generator_options import Activation

Network = Literal["mlp", "conv", "residual"]


@dataclass(frozen=True)
class NetworkConfig:
    """Network from an observation to numbers."""

    network: Network | None = None
    """Network. Default: mlp for points and images up to 16 pixels, conv for other images."""
    width: int | None = None
    """Units per hidden layer (mlp), or channels of the first layer. Default: 128 for mlp, else
    32."""
    depth: int = 3
    """Hidden layers (mlp), or residual blocks of each size of the image (residual)."""
    activation: Activation = "silu"
    """Activation of the network. Langevin chains want a smooth one."""
    spectral_norm: bool = False
    """Divide every weight of a convolutional network by its largest singular value."""


@dataclass(frozen=True)
class LangevinConfig:
    """Langevin chains, x' = x + h u(grad log p(x)) + s noise."""

    steps: int | None = None
    """Steps of a chain per update."""
    step_size: float | None = None
    """Step size h."""
    final_step_size: float | None = None
    """Step size of the last step of a run, approached geometrically. Default: as the first."""
    noise_scale: float | None = None
    """Standard deviation s of the noise. Default: sqrt(2h), temperature 1, for points; 0.01 for
    images, which is a temperature far below 1."""
    max_drift: float | None = None
    """Bound on every coordinate of the gradient. Default: none."""
    metropolis: bool = False
    """Correct every step by a Metropolis test (MALA)."""
    sampling_steps: int | None = 1000
    """Steps of the chains with which a trained model is sampled; they start like new chains."""


Langevin = TypeVar("Langevin", bound=LangevinConfig)


@dataclass(frozen=True)
class BufferConfig:
    """Replay buffer of persistent chains."""

    capacity: int = 10_000
    """Chains in the buffer."""
    restart: float = 0.05
    """Probability that a chain starts afresh before it is continued."""
    start_low: float | None = None
    """Lower bound of uniform starts. Default: that of the data."""
    start_high: float | None = None
    """Upper bound of uniform starts. Default: that of the data."""


def validate_network(config: NetworkConfig) -> None:
    """Check the options of a network.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.at_least("--depth", config.depth, 1)
    if config.width is not None:
        checks.at_least("--width", config.width, 1)


def validate_langevin(config: LangevinConfig) -> None:
    """Check the options of chains.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    if config.steps is not None:
        checks.at_least("--steps", config.steps, 1)
    if config.sampling_steps is not None:
        checks.at_least("--sampling-steps", config.sampling_steps, 1)
    for flag, value in (
        ("--step-size", config.step_size),
        ("--final-step-size", config.final_step_size),
        ("--noise-scale", config.noise_scale),
        ("--max-drift", config.max_drift),
    ):
        if value is not None:
            checks.positive(flag, value)


def with_smaller_steps(config: Langevin, factor: float) -> Langevin:
    """Chains with step sizes multiplied by ``factor``, at the temperature that they had.

    A noise scale of its own goes with the root of the factor: the temperature is σ²/(2h).
    """

    def times(value: float | None, factor: float) -> float | None:
        return None if value is None else value * factor

    return dataclasses.replace(
        config,
        step_size=times(config.step_size, factor),
        final_step_size=times(config.final_step_size, factor),
        noise_scale=times(config.noise_scale, math.sqrt(factor)),
    )


def is_decoupled(config: LangevinConfig) -> bool:
    """Whether chains have a law that a Metropolis test would not leave alone."""
    return (config.final_step_size, config.noise_scale, config.max_drift) != (None, None, None)


def validate_buffer(config: BufferConfig) -> None:
    """Check the options of the replay buffer.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    checks.at_least("--capacity", config.capacity, 1)
    checks.in_unit_interval("--restart", config.restart)
    low, high = config.start_low, config.start_high
    if low is not None and high is not None and not low < high:
        raise InputError(f"--start-low must be below --start-high, got {low} and {high}")
