"""Langevin kernels against the samplers of other libraries, on a mixture and on a perceptron.

All make the same steps from the same starts and keep the last state only. Ours is the library as
a user calls it; a second row of ours takes its noise from ``te.kernels.box_muller_noise``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

import tempered_ebm as te
from benchmarks.peers import (
    blackjax_langevin,
    densities,
    numpyro_langevin,
    tfp_langevin,
    torch_langevin,
)
from benchmarks.work import Goal, Prepared, Work, jax_program
from tempered_ebm import densities as toy
from tempered_ebm.networks import mlp_network

DIMENSION, WIDTHS = 100, (200, 200)


def _ours(
    logdensity: Callable[[Array], Array],
    position: Array,
    step_size: float,
    num_steps: int,
    metropolis: bool,
    noise: Any,
) -> Callable[[], Prepared]:
    kernel = (te.mala if metropolis else te.ula)(logdensity, step_size, noise=noise)

    def run(rng_key: Array, position: Array) -> Any:
        return te.inference.short_run(rng_key, kernel, position, num_steps)

    return jax_program(run, jax.random.key(0), position)


def _torch(*arguments: Any, compiled: bool) -> Callable[[], Prepared]:
    return torch_langevin.factory(*arguments, compiled=compiled)


def _work(
    title: str,
    name: densities.Name,
    params: Any,
    logdensity: Callable[[Array], Array],
    position: Array,
    step_size: float,
    num_steps: int,
    metropolis: bool,
    goals: dict[str, Goal],
    gemms: tuple[tuple[int, int, int], ...] = (),
) -> Work:
    same = (position, step_size, num_steps, metropolis)
    arguments = (name, params, *same)
    competitors: dict[str, Callable[[], Prepared]] = {
        "tempered_ebm": _ours(logdensity, *same, te.kernels.jax_random_noise),
        "tempered_ebm, Box-Muller noise": _ours(logdensity, *same, te.kernels.box_muller_noise),
        "BlackJAX": blackjax_langevin.factory(*arguments),
        "NumPyro": numpyro_langevin.factory(*arguments),
        "TensorFlow Probability": tfp_langevin.factory(*arguments),
    }
    if not metropolis:
        competitors["TorchEBM, eager"] = _torch(*arguments, compiled=False)
        competitors["TorchEBM, compiled"] = _torch(*arguments, compiled=True)
    flops = 2.0 * num_steps * sum(m * k * n for m, k, n in gemms) if gemms else None
    return Work(title, competitors, goals, flops, gemms)


def mixture(num_chains: int, num_steps: int, metropolis: bool) -> Work:
    """Eight Gaussians on the plane."""
    density = toy.eight_gaussians(densities.RADIUS, densities.SCALE)
    position = density.sample(jax.random.key(1), num_chains)
    goals = {"BlackJAX": Goal(2.5, 4)} if metropolis else {"BlackJAX": Goal(3, 5)}
    if not metropolis:
        goals |= {name: Goal(5, 10) for name in ("TorchEBM, eager", "TorchEBM, compiled")}
    kind = "MALA" if metropolis else "ULA"
    return _work(
        f"{kind}, 8 Gaussians, {num_chains} chains x {num_steps} steps",
        "mixture",
        None,
        densities.in_jax("mixture"),
        position,
        0.005,
        num_steps,
        metropolis,
        goals,
    )


def perceptron(num_chains: int, num_steps: int, metropolis: bool) -> Work:
    """A perceptron of two layers with a standard normal around it."""
    network = mlp_network(WIDTHS)
    params = network.init(jax.random.key(2), jnp.zeros((1, DIMENSION)))
    position = jax.random.normal(jax.random.key(1), (num_chains, DIMENSION))
    sizes = (DIMENSION, *WIDTHS, 1)
    layers = list(itertools.pairwise(sizes))
    gemms = tuple((num_chains, a, b) for a, b in layers)
    gemms += tuple((num_chains, b, a) for a, b in reversed(layers))
    goals = {"BlackJAX": Goal(1.15, 1.3) if metropolis else Goal(1.12, 1.25)}
    if not metropolis:
        goals |= {name: Goal(2.5, 3.5) for name in ("TorchEBM, eager", "TorchEBM, compiled")}
    kind = "MALA" if metropolis else "ULA"
    return _work(
        f"{kind}, MLP {DIMENSION}-200-200-1, {num_chains} chains x {num_steps} steps",
        "mlp",
        params,
        lambda z: network.apply(params, z) - 0.5 * jnp.sum(z**2, -1),
        position,
        0.005,
        num_steps,
        metropolis,
        goals,
        gemms,
    )


def works(quick: bool) -> list[Work]:
    """Both kernels on the mixture, and on the perceptron with few and many chains.

    Args:
        quick: few chains and steps.
    """
    if quick:
        return [mixture(256, 50, False), perceptron(64, 10, True)]
    both = (False, True)
    return [
        *(mixture(4096, 1000, adjusted) for adjusted in both),
        *(perceptron(n, 60, adjusted) for n in (128, 1024, 4096) for adjusted in both),
    ]
