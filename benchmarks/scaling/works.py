"""The work that is divided over devices: chains, tempered chains, a training update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from benchmarks.scaling.turns import Run
from tempered_ebm import densities as toy
from tempered_ebm.training.devices import Devices
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent.learner import build_learner

STEPS = 200
RUNGS = 8
IMAGE_SHAPE = (32, 32, 3)


class Program(NamedTuple):
    """A compiled work on certain devices.

    Attributes:
        run: does it once.
        text: its HLO.
    """

    run: Run
    text: str


Build = Callable[[Devices, int], Program]


class Work(NamedTuple):
    """A work of a size that devices divide.

    Attributes:
        build: compiles it for devices and a size.
        size: chains, ladders or images of all devices in strong scaling.
        unit: what the size counts.
    """

    build: Build
    size: int
    unit: str


def _starts(devices: Devices, shape: tuple[int, ...], chain_axis: int) -> Any:
    start = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if devices.mesh is None:
        return jnp.asarray(start)
    return te.sharding.shard_chains(start, devices.mesh, chain_axis=chain_axis)


def _program(function: Callable, *arguments: Any) -> Program:
    compiled = jax.jit(function).lower(*arguments).compile()
    return Program(lambda: compiled(*arguments), compiled.as_text())


def _target() -> te.TemperedTarget:
    """From a wide normal to eight Gaussians in the plane."""
    return te.TemperedTarget(
        lambda z: -0.125 * jnp.sum(z**2, -1), toy.eight_gaussians().logdensity_fn
    )


def _chains(kernel_of: Callable) -> Build:
    def build(devices: Devices, size: int) -> Program:
        kernel = kernel_of(toy.eight_gaussians().logdensity_fn, 0.01)

        def run(key: jax.Array, z: jax.Array) -> jax.Array:
            return te.inference.short_run(key, kernel, z, STEPS).position

        return _program(run, jax.random.key(0), _starts(devices, (size, 2), 0))

    return build


def _folded(devices: Devices, size: int) -> Program:
    """A ladder repeated along the chain axis, a temperature for every chain."""
    ladder = np.asarray(te.schedules.power(RUNGS, 2.0))
    temperatures = np.repeat(ladder, size)
    if devices.mesh is not None:
        temperatures = te.sharding.shard_chains(temperatures, devices.mesh)

    def run(key: jax.Array, z: jax.Array, t: jax.Array) -> jax.Array:
        kernel = te.tempered_mala(_target(), t, 0.01)
        return te.inference.short_run(key, kernel, z, STEPS).position

    z = _starts(devices, (RUNGS * size, 2), 0)
    return _program(run, jax.random.key(0), z, temperatures)


def _exchange(devices: Devices, size: int) -> Program:
    """Independent ladders of replica exchange, side by side."""
    kernel = te.replica_exchange(_target(), te.schedules.power(RUNGS, 2.0), 0.01)

    def run(key: jax.Array, z: jax.Array) -> jax.Array:
        return te.inference.short_run(key, kernel, z, STEPS).position

    return _program(run, jax.random.key(0), _starts(devices, (RUNGS, size, 2), 1))


def update_config(batch_size: int) -> configs.LatentConfig:
    """A latent EBM of images of 32 x 32 pixels that two cores update in a fraction of a second."""
    return configs.LatentConfig(
        model=configs.LatentModelConfig(
            latent_dim=32,
            energy_widths=(200, 200),
            generator="deconv",
            generator_width=4,
            sigma=0.3,
        ),
        chain=configs.LatentChainConfig(chains="short_run"),
        optimizer=configs.LatentOptimizerConfig(num_steps=1000, batch_size=batch_size),
    )


@functools.cache
def _initial_state() -> Any:
    """On the host; without persistent chains it depends on no batch."""
    learner = build_learner(update_config(1), IMAGE_SHAPE, 1)
    return jax.device_get(jax.jit(learner.init)(jax.random.key(0)))


def _update(devices: Devices, size: int) -> Program:
    """Training updates as the command line makes them: the batch divided, the state donated."""
    devices.require_divisible(size)
    learner = build_learner(update_config(size), IMAGE_SHAPE, size)
    images = np.random.default_rng(1).uniform(-1, 1, (size, *IMAGE_SHAPE)).astype(np.float32)
    images, index = devices.replicate(images), devices.replicate(np.arange(size))
    key = jax.random.key(1)
    state = devices.replicate(_initial_state())
    update = devices.compile(learner.update, donates=True)
    compiled = update.lower(state, key, images, index).compile()

    def run() -> Any:
        nonlocal state
        state = compiled(state, key, images, index)
        return state

    return Program(run, compiled.as_text())


WORKS: dict[str, Work] = {
    "mala": Work(_chains(te.mala), 8192, "chains"),
    "ula": Work(_chains(te.ula), 8192, "chains"),
    "folded ladder": Work(_folded, 1024, "ladders"),
    "replica exchange": Work(_exchange, 1024, "ladders"),
    "training update": Work(_update, 64, "images"),
}
"""Two kernels, two kinds of tempering, and one update of a latent EBM."""
