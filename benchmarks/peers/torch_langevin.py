"""TorchEBM's samplers: Langevin dynamics, and Hamiltonian Monte Carlo of one leapfrog step.

Its Langevin step is ``z' = z - η ∇U(z) + sqrt(2η) ξ``, so that η is our h; a leapfrog step of
length ε proposes the same with h = ε²/2, and the Metropolis test makes it MALA. It has no sampler
that keeps the gradient: a step of HMC evaluates two gradients and two energies more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from benchmarks.peers import densities
from benchmarks.peers.torch_threads import best_threads, device
from benchmarks.work import Prepared

# The cache of graphs looks into every loaded module, and fails at a placeholder of Haiku's.
_OPTIONS = {"fx_graph_cache": False}


def model(name: densities.Name, params: Any = None, *, compiled: bool = False) -> Any:
    """TorchEBM's model of a log-density; compiled, its energy and its gradient are each one graph.

    Raises:
        ImportError: without PyTorch or TorchEBM.
    """
    import torch
    from torchebm.core import BaseModel

    where = device()
    energy = densities.in_torch(name, params, where)

    class Energy(BaseModel):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return energy(x)

    class CompiledEnergy(BaseModel):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            derivative = torch.func.grad(lambda x: energy(x).sum())
            self.value = torch.compile(energy, options=_OPTIONS)
            self.derivative = torch.compile(derivative, options=_OPTIONS)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.value(x)

        def gradient(self, x: torch.Tensor) -> torch.Tensor:
            return self.derivative(x)

    return (CompiledEnergy if compiled else Energy)(device=where)


def factory(
    logdensity: densities.Name,
    params: Any,
    position: Array,
    step_size: float,
    num_steps: int,
    metropolis: bool,
    *,
    compiled: bool = False,
) -> Callable[[], Prepared]:
    """Chains of TorchEBM, eager or with ``torch.compile``, on the better number of threads.

    Args:
        logdensity: which of :mod:`benchmarks.peers.densities`.
        params: of the MLP, or None.
        position: starts, (N, d).
        step_size: h.
        num_steps: steps of a chain.
        metropolis: whether steps are adjusted.
        compiled: whether energy and gradient are compiled.
    """

    def prepare() -> Prepared:
        import torch
        from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics

        start = time.perf_counter()
        energy, where = model(logdensity, params, compiled=compiled), device()
        x = torch.tensor(np.array(position, np.float32), device=where)
        if metropolis:
            epsilon = float(np.sqrt(2 * step_size))
            sampler = HamiltonianMonteCarlo(
                energy, step_size=epsilon, n_leapfrog_steps=1, device=where
            )
        else:
            sampler = LangevinDynamics(energy, step_size=step_size, device=where)
        sampler.sample(x=x, n_steps=2)
        seconds = time.perf_counter() - start if compiled else None
        call = best_threads(lambda: sampler.sample(x=x, n_steps=num_steps))
        return Prepared(call, seconds)

    return prepare
