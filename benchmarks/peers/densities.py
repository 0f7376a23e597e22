"""The two log-densities that all samplers of the benchmarks draw from, in JAX and in PyTorch.

On the mixture all samplers in JAX are given one and the same function, that of the library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tempered_ebm import densities as toy

Name = Literal["mixture", "mlp"]

RADIUS, SCALE, COMPONENTS = 2.0, 0.2, 8

_ANGLES = 2 * math.pi * np.arange(COMPONENTS) / COMPONENTS
MEANS = (RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)).astype(np.float32)
"""Means of eight equally weighted normals, (8, 2)."""


def layers(params: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (in, out) and biases of :func:`tempered_ebm.networks.mlp_network`, in order."""
    return [(np.asarray(params[k]["w"]), np.asarray(params[k]["b"])) for k in sorted(params)]


def in_jax(name: Name, params: Any = None) -> Callable[[Array], Array]:
    """``(..., d) -> (...)``: log of eight normals on a circle, or f(z) - |z|²/2 of an MLP f."""
    if name == "mixture":
        return toy.eight_gaussians(RADIUS, SCALE).logdensity_fn
    weights = [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers(params)]

    def mlp(z: Array) -> Array:
        hidden = z
        for w, b in weights[:-1]:
            hidden = jax.nn.gelu(hidden @ w + b)
        w, b = weights[-1]
        return (hidden @ w + b)[..., 0] - 0.5 * jnp.sum(z**2, -1)

    return mlp


def in_torch(name: Name, params: Any = None, device: str = "cpu") -> Callable:
    """``(n, d) -> (n,)``: the same as an energy, minus the log-density, on tensors.

    Raises:
        ImportError: without PyTorch.
    """
    import torch

    if name == "mixture":
        means = torch.tensor(MEANS, device=device)

        def mixture(z: Any) -> Any:
            squares = (z[:, None, :] - means).square().sum(-1)
            return -torch.logsumexp(-0.5 / SCALE**2 * squares, -1)

        return mixture
    weights = [
        (torch.tensor(w.T.copy(), device=device), torch.tensor(b, device=device))
        for w, b in layers(params)
    ]

    def mlp(z: Any) -> Any:
        hidden = z
        for w, b in weights[:-1]:
            hidden = torch.nn.functional.linear(hidden, w, b)
            hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
        w, b = weights[-1]
        return 0.5 * z.square().sum(-1) - torch.nn.functional.linear(hidden, w, b)[:, 0]

    return mlp
