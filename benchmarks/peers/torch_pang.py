"""The training step of Pang et al. (2020, algorithm 1) as a PyTorch loop, written from the paper.

For a batch: prior chains on f(z) - |z|²/2 and posterior chains on f(z) - |z|²/2 - |x - g(z)|²/2σ²,
both from N(0, I); a descent step of the generator on |x - g(z)|²/2σ² at the posterior draws; one of
the energy network on mean f(prior draws) - mean f(posterior draws). Gradients in the chains are
taken in z alone. The networks are those of :mod:`tempered_ebm.networks` and
:func:`tempered_ebm.networks.mlp_network`, layer by layer, activations included.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.torch_threads import best_threads, device
from benchmarks.work import Prepared


class Setting(NamedTuple):
    """One model and its training step.

    Attributes:
        image_shape: (height, width, channels).
        latent_dim: dimension of z.
        generator: "deconv", or "mlp" for small images.
        width: of the generator: channels of the last hidden layer, halved; or hidden units.
        energy_widths: hidden layers of the energy network.
        batch: images, and chains of either kind.
        prior_steps: steps of a prior chain.
        posterior_steps: steps of a posterior chain.
        prior_noise: its noise scale s, with step s²/2.
        posterior_noise: the same for posterior chains.
        sigma: standard deviation of the likelihood.
        learning_rate: of Adam, for both networks.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    generator: str
    width: int
    energy_widths: tuple[int, ...] = (200, 200)
    batch: int = 100
    prior_steps: int = 60
    posterior_steps: int = 20
    prior_noise: float = 0.4
    posterior_noise: float = 0.1
    sigma: float = 0.3
    learning_rate: float = 1e-4


def networks(setting: Setting) -> tuple[Any, Any]:
    """The energy network (its output is f) and the generator, as modules on the device of JAX.

    Raises:
        ImportError: without PyTorch.
    """
    from torch import nn

    def activation() -> nn.Module:
        return nn.GELU(approximate="tanh")

    def perceptron(sizes: tuple[int, ...]) -> list[nn.Module]:
        parts: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            parts += [nn.Linear(inputs, outputs), activation()]
        return parts[:-1]

    height, breadth, channels = setting.image_shape
    if setting.generator == "mlp":
        hidden = (setting.width, setting.width)
        parts = perceptron((setting.latent_dim, *hidden, height * breadth * channels))
        parts += [nn.Unflatten(1, (channels, height, breadth))]
    else:
        doublings = 0
        while height % 2 == 0 and breadth % 2 == 0 and min(height, breadth) > 4:
            height, breadth, doublings = height // 2, breadth // 2, doublings + 1
        widths = [setting.width * 2**i for i in range(doublings, 0, -1)] + [channels]
        parts = [
            nn.Linear(setting.latent_dim, height * breadth * widths[0]),
            nn.Unflatten(1, (widths[0], height, breadth)),
        ]
        for inputs, outputs in itertools.pairwise(widths):
            parts += [activation(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
    generator = nn.Sequential(*parts, nn.Tanh())
    energy = nn.Sequential(
        *perceptron((setting.latent_dim, *setting.energy_widths, 1)), nn.Flatten(0)
    )
    return energy.to(device()), generator.to(device())


def count_parameters(setting: Setting) -> tuple[int, int]:
    """Parameters of the energy network and of the generator."""
    return tuple(sum(p.numel() for p in net.parameters()) for net in networks(setting))  # type: ignore[return-value]


def chain(log_prob: Callable[[Any], Any], z: Any, num_steps: int, noise_scale: float) -> Any:
    """Langevin chains ``z' = z + (s²/2) ∇log p(z) + s ξ`` from z, (n, d)."""
    import torch

    for _ in range(num_steps):
        z.requires_grad_(True)
        (gradient,) = torch.autograd.grad(log_prob(z).sum(), z)
        with torch.no_grad():
            z = z + 0.5 * noise_scale**2 * gradient + noise_scale * torch.randn_like(z)
    return z.detach()


def training_step(setting: Setting, energy: Any, generator: Any, x: Any) -> Callable[[], Any]:
    """One update of both networks on the batch x, (n, channels, height, width); returns losses."""
    import torch

    rate = setting.learning_rate
    energy_optimizer = torch.optim.Adam(energy.parameters(), lr=rate)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=rate)
    precision = 0.5 / setting.sigma**2

    def log_prior(z: Any) -> Any:
        return energy(z) - 0.5 * z.square().sum(1)

    def log_joint(z: Any) -> Any:
        return log_prior(z) - precision * (x - generator(z)).square().sum((1, 2, 3))

    def step() -> tuple[Any, Any]:
        start = torch.randn(2, len(x), setting.latent_dim, device=x.device)
        z_prior = chain(log_prior, start[0], setting.prior_steps, setting.prior_noise)
        z = chain(log_joint, start[1], setting.posterior_steps, setting.posterior_noise)

        generator_loss = precision * (x - generator(z)).square().sum() / len(x)
        generator_optimizer.zero_grad()
        generator_loss.backward()
        generator_optimizer.step()

        energy_loss = energy(z_prior).mean() - energy(z).mean()
        energy_optimizer.zero_grad()
        energy_loss.backward()
        energy_optimizer.step()
        return generator_loss.detach(), energy_loss.detach()

    return step


def factory(setting: Setting, images: np.ndarray) -> Callable[[], Prepared]:
    """The training step, eager, on the better number of threads.

    Args:
        setting: model and step.
        images: the batch in [-1, 1], (n, height, width, channels).
    """

    def prepare() -> Prepared:
        import torch

        start = time.perf_counter()
        energy, generator = networks(setting)
        x = torch.tensor(np.array(images, np.float32).transpose(0, 3, 1, 2).copy(), device=device())
        step = training_step(setting, energy, generator, x)
        step()
        slow = time.perf_counter() - start > 1
        return Prepared(best_threads(step, repeats=1 if slow else 3))

    return prepare
