r"""What a pod would do, by formula: compute from counted FLOPs, communication by a ring.

.. math::
    T(n, b) = \frac{b F}{u R} + E\,t_0 + \frac{2(n-1)}{n}\frac{4P}{W} + h(n)\,t_1

for n chips with b images each: F FLOPs per image and update, R the rate of a chip and u the
share of it that is reached, E evaluations that wait for each other and their overhead t_0,
P parameters, W bytes per second and direction, and h(n) hops of latency t_1. Nothing here was
measured on an accelerator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from tempered_ebm.models import LatentEBM
from tempered_ebm.training.latent.config import preset as latent_preset
from tempered_ebm.training.latent.learner import build_model


@dataclass(frozen=True)
class Chip:
    """Assumptions about an accelerator. The defaults are those of TPU v4.

    Rate, links and torus: Jouppi et al. (2023), "TPU v4: An Optically Reconfigurable
    Supercomputer for Machine Learning". ``reached``, ``overhead`` and ``latency`` are guesses.

    Attributes:
        rate: R, FLOPs per second at best, in bfloat16.
        reached: u, share of the rate that networks of this size reach.
        bandwidth: W, bytes per second that a ring moves in one direction: one link.
        overhead: t_0, seconds of an evaluation however small.
        latency: t_1, seconds of a hop.
        dimensions: of the torus; an all-reduce goes along one after the other.
    """

    rate: float = 275e12
    reached: float = 0.1
    bandwidth: float = 50e9
    overhead: float = 20e-6
    latency: float = 1e-6
    dimensions: int = 3


@dataclass(frozen=True)
class Update:
    """What one training update is made of.

    Attributes:
        flops: F, for one image.
        evaluations: E, one after the other.
        parameters: P, in float32.
    """

    flops: float
    evaluations: int
    parameters: int


def ring_bytes(num_chips: int, num_bytes: float) -> float:
    """Bytes that each chip sends in a ring all-reduce, ``2 (n - 1) / n`` times the array.

    Example:
        >>> ring_bytes(4, 100.0)
        150.0
    """
    return 2 * (num_chips - 1) / num_chips * num_bytes


def seconds(update: Update, chip: Chip, num_chips: int, images_per_chip: float) -> float:
    """Seconds of one update, communication after computation."""
    compute = images_per_chip * update.flops / (chip.reached * chip.rate)
    hops = 2 * chip.dimensions * (num_chips ** (1 / chip.dimensions) - 1)
    moved = ring_bytes(num_chips, 4 * update.parameters)
    waiting = update.evaluations * chip.overhead + hops * chip.latency
    return compute + waiting + moved / chip.bandwidth


def table(
    update: Update,
    chip: Chip,
    counts: Sequence[int] = (1, 8, 64, 512, 4096),
    *,
    per_chip: int = 100,
    batch: int = 4096,
) -> list[dict[str, float]]:
    """Efficiency against the number of chips.

    Args:
        update: what is computed.
        chip: on what.
        counts: numbers of chips.
        per_chip: images of each chip, where the batch grows with the chips (``weak``).
        batch: images of all chips, where it does not (``strong``); NaN beyond one each.
    """
    rows = []
    for n in counts:
        weak = seconds(update, chip, 1, per_chip) / seconds(update, chip, n, per_chip)
        strong = seconds(update, chip, 1, batch) / (n * seconds(update, chip, n, batch / n))
        rows.append(
            {
                "chips": n,
                "milliseconds": 1e3 * seconds(update, chip, n, per_chip),
                "megabytes_sent": ring_bytes(n, 4 * update.parameters) / 1e6,
                "weak": weak,
                "strong": strong if n <= batch else float("nan"),
            }
        )
    return rows


def _flops(function: Any, *arguments: Any) -> float:
    """FLOPs of a program without loops, by XLA's count before optimisation.

    The library chooses algorithms by backend when it traces; those of accelerators are counted.
    """
    with mock.patch.object(jax, "default_backend", return_value="tpu"):
        lowered = jax.jit(function).lower(*arguments)
    analysis = lowered.cost_analysis()
    return float(analysis["flops"])


def count(model: LatentEBM, image_shape: tuple[int, ...], batch: int = 8) -> Update:
    """Count one update: the chains' gradients, and that of the objective.

    Args:
        model: with its chains of training.
        image_shape: (height, width, channels).
        batch: images in the programs that are counted.
    """
    z = jnp.zeros((batch, model.latent_dim))
    x = jnp.zeros((batch, *image_shape))
    params = jax.eval_shape(model.init, jax.random.key(0))

    def prior(params: Any, z: jax.Array) -> jax.Array:
        return model.logprior(params, z).sum()

    def posterior(params: Any, x: jax.Array, z: jax.Array) -> jax.Array:
        return model.log_joint(params, x, z).sum()

    def objective(params: Any, x: jax.Array, z: jax.Array) -> jax.Array:
        prior_draws = model.negative_energy(params, 2 * z).sum()
        return posterior(params, x, z) - prior_draws

    prior_flops = _flops(jax.grad(prior, 1), params, z)
    posterior_flops = _flops(jax.grad(posterior, 2), params, x, z)
    learning_flops = _flops(jax.grad(objective), params, x, z)
    steps = model.prior_chain.num_steps, model.posterior_chain.num_steps
    total = steps[0] * prior_flops + steps[1] * posterior_flops + learning_flops
    return Update(
        flops=total / batch,
        evaluations=sum(steps) + 1,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
    )


SIZES = {
    "32 x 32 x 3": ("pang2020-svhn", (32, 32, 3)),
    "64 x 64 x 3": ("pang2020-celeba", (64, 64, 3)),
}
"""Presets of Pang et al. (2020) and their images."""


def updates() -> dict[str, Update]:
    """The updates of ``SIZES``, counted."""
    return {
        name: count(build_model(latent_preset(preset), shape), shape)
        for name, (preset, shape) in SIZES.items()
    }


def measure() -> dict[str, Any]:
    """Assumptions, counts and tables; nothing is timed."""
    chip = Chip()
    return {
        "chip": dataclasses.asdict(chip),
        "sizes": {
            name: dataclasses.asdict(update) | {"table": table(update, chip)}
            for name, update in updates().items()
        },
    }
