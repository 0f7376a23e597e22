"""Training steps of latent EBMs, and ladders of temperatures against one temperature at a time.

Peers have our networks, layer by layer, and make as many gradient evaluations. ``describe`` counts
the parameters of all of them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import tempered_ebm as te
from benchmarks.peers import sequential_ti, torch_pang
from benchmarks.peers.torch_pang import Setting
from benchmarks.work import Goal, Prepared, Work, jax_program
from tempered_ebm import schedules
from tempered_ebm.training.latent import learner
from tempered_ebm.training.state import skip_nonfinite

PANG = {
    "32x32x3": (Setting((32, 32, 3), 100, "deconv", 64), Goal(1.15, 1.3)),
    "28x28x1": (Setting((28, 28, 1), 32, "deconv", 8), Goal(2.0, 2.5)),
    "8x8x1": (Setting((8, 8, 1), 16, "mlp", 128), Goal(4.0, 5.1)),
}
"""By size of the images. The largest has the networks of Pang et al. (2020) for 32x32 pixels, the
others the generators and latent dimensions that are the defaults of training."""

TI = Setting((32, 32, 3), 32, "deconv", 4, batch=25, prior_steps=20)
TI_TEMPERATURES = 10


def model(setting: Setting, block: int | None = None) -> te.models.LatentEBM:
    """Our model of a setting, with ``block`` temperatures at a time, or all."""
    if setting.generator == "mlp":
        generator = te.networks.mlp_generator(setting.image_shape, widths=(setting.width,) * 2)
    else:
        generator = te.networks.deconv_generator(setting.image_shape, width=setting.width)
    step_sizes = (0.5 * s**2 for s in (setting.prior_noise, setting.posterior_noise))
    lengths = (setting.prior_steps, setting.posterior_steps)
    prior, posterior = map(te.models.ChainSettings, lengths, step_sizes)
    return te.models.LatentEBM(
        prior_network=te.networks.mlp_network(setting.energy_widths),
        generator=generator,
        likelihood=te.likelihoods.gaussian(setting.sigma),
        latent_dim=setting.latent_dim,
        prior_chain=prior,
        posterior_chain=posterior,
        temperature_block=block,
    )


def images(setting: Setting) -> Array:
    """A batch of noise in [-1, 1]: no time depends on what it shows."""
    shape = (setting.batch, *setting.image_shape)
    return jax.random.uniform(jax.random.key(0), shape, minval=-1.0)


def training_step(
    setting: Setting, num_temperatures: int = 1, block: int | None = None
) -> Callable[[], Prepared]:
    """Our update as one donated program: short runs from N(0, I), gradient, Adam, metrics.

    Args:
        setting: model and step.
        num_temperatures: of the posterior chains; above 1 the estimator is that of the path.
        block: temperatures whose likelihoods are evaluated at a time, or None for all.
    """

    def prepare() -> Prepared:
        latent_ebm = model(setting, block)
        ladder = None if num_temperatures == 1 else schedules.uniform(num_temperatures)
        estimator = te.learning.posterior() if ladder is None else te.learning.path()
        optimizer = skip_nonfinite(optax.adam(setting.learning_rate))
        state = learner.init_state(
            latent_ebm,
            optimizer,
            num_temperatures,
            jax.random.key(1),
            num_images=setting.batch,
            batch_size=setting.batch,
            persistent=False,
            names=learner.metric_names(latent_ebm, num_temperatures, setting.image_shape),
        )
        update = learner.build_update(latent_ebm, estimator, optimizer)
        arguments = (state, jax.random.key(2), ladder, images(setting), jnp.arange(setting.batch))
        return jax_program(update, *arguments, donate=0)()

    return prepare


def sequential(setting: Setting, num_temperatures: int) -> Callable[[], Prepared]:
    """The peer that walks the ladder rung by rung."""

    def prepare() -> Prepared:
        state, step = sequential_ti.build(
            setting,
            optax.adam(setting.learning_rate),
            schedules.uniform(num_temperatures),
            jax.random.key(1),
        )
        return jax_program(step, state, images(setting), donate=0)()

    return prepare


def multiply_adds(setting: Setting) -> tuple[int, int]:
    """Multiplications and additions of one forward pass of a latent vector: energy, generator."""
    sizes = (setting.latent_dim, *setting.energy_widths, 1)
    energy = sum(a * b for a, b in itertools.pairwise(sizes))
    height, breadth, channels = setting.image_shape
    if setting.generator == "mlp":
        sizes = (setting.latent_dim, setting.width, setting.width, height * breadth * channels)
        return energy, sum(a * b for a, b in itertools.pairwise(sizes))
    generator, outputs, width = 0, channels, setting.width
    while height % 2 == 0 and breadth % 2 == 0 and min(height, breadth) > 4:
        height, breadth, width = height // 2, breadth // 2, 2 * width
        generator += height * breadth * width * 16 * outputs
        outputs = width
    return energy, generator + setting.latent_dim * height * breadth * outputs


def flops(setting: Setting, num_temperatures: int = 1) -> float:
    """Operations of the products of one update.

    A gradient in z is two forward passes' worth, one in the parameters three.
    """
    energy, generator = multiply_adds(setting)
    prior = setting.prior_steps * 2 * energy + 3 * energy
    posterior = setting.posterior_steps * 2 * (energy + generator) + 3 * (energy + generator)
    return 2.0 * setting.batch * (prior + num_temperatures * posterior)


def describe(setting: Setting) -> dict[str, tuple[int, int]]:
    """Parameters of energy network and generator: ours, the sequential peer's, PyTorch's.

    A peer that is not installed or has no such network is left out.
    """
    counts = {"ours": tuple(map(_count, jax.eval_shape(model(setting).init, jax.random.key(0))))}
    if setting.generator == "deconv":
        z = jnp.zeros((1, setting.latent_dim))
        networks = sequential_ti.networks(setting)
        params = [jax.eval_shape(n.init, jax.random.key(0), z) for n in networks]
        counts["sequential"] = tuple(map(_count, params))
    with contextlib.suppress(ImportError):
        counts["PyTorch"] = torch_pang.count_parameters(setting)
    return counts


def _count(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _pang(name: str, setting: Setting, goal: Goal) -> Work:
    return Work(
        f"Pang training step, {name}, batch {setting.batch}, "
        f"{setting.prior_steps}+{setting.posterior_steps} steps, width {setting.width}",
        {
            "tempered_ebm": training_step(setting),
            "PyTorch": torch_pang.factory(setting, np.asarray(images(setting))),
        },
        {"PyTorch": goal},
        flops=flops(setting),
    )


def _ti() -> Work:
    return Work(
        f"TI training step, T={TI_TEMPERATURES}, 32x32x3, batch {TI.batch}, "
        f"{TI.posterior_steps} steps",
        {
            "tempered_ebm": training_step(TI, TI_TEMPERATURES),
            "tempered_ebm, two temperatures at a time": training_step(TI, TI_TEMPERATURES, block=2),
            "sequential scan": sequential(TI, TI_TEMPERATURES),
        },
        {"sequential scan": Goal(6.0, 9.0)},
        flops=flops(TI, TI_TEMPERATURES),
    )


def _chains(setting: Setting, num_temperatures: int) -> tuple[Callable, Callable]:
    """Posterior chains of a whole ladder, and of one temperature after another."""
    latent_ebm = model(setting)
    params, x = latent_ebm.init(jax.random.key(0)), images(setting)
    ladder = schedules.uniform(num_temperatures)

    def run(rng_key: Array, params: Any, x: Array, temperatures: Array) -> Array:
        return latent_ebm.draw(rng_key, params, x, temperatures).posterior.position

    def one_by_one() -> Prepared:
        start = jax_program(run, jax.random.key(1), params, x, ladder[:1])()
        compiled = jax.jit(run)
        keys = jax.random.split(jax.random.key(1), num_temperatures)

        def call() -> list[Array]:
            outputs = [compiled(k, params, x, ladder[i : i + 1]) for i, k in enumerate(keys)]
            return jax.block_until_ready(outputs)

        call()
        return Prepared(call, start.compile_seconds, start.planned_bytes)

    return jax_program(run, jax.random.key(1), params, x, ladder), one_by_one


def _ladder(name: str, setting: Setting, num_temperatures: int) -> Work:
    ours, theirs = _chains(setting, num_temperatures)
    return Work(
        f"{num_temperatures} temperatures, posterior chains, {name}, batch {setting.batch}, "
        f"{setting.posterior_steps} steps",
        {"tempered_ebm": ours, "T x one": theirs},
        {"T x one": Goal(1 / 1.05, 1 / 0.7 if num_temperatures >= 16 else None)},
    )


def works(quick: bool) -> list[Work]:
    """Training steps against PyTorch and a sequential scan, and ladders against T runs.

    Args:
        quick: without the largest networks.
    """
    pang = {name: row for name, row in PANG.items() if not quick or name != "32x32x3"}
    small = PANG["8x8x1"][0]
    rows = [_pang(name, *row) for name, row in pang.items()]
    rows += [_ti()]
    rows += [_ladder("8x8x1", small, count) for count in (4, 16, 32)]
    return rows
