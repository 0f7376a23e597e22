"""The methods: the library, and its peers by their defaults and by their grids."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence import host, nested, ours, persistent, smc
from benchmarks.evidence.cost import Method, Result
from benchmarks.evidence.problem import Problem

IN_JAX: tuple[Method, ...] = (
    smc.DEFAULT,
    smc.PRECONDITIONED,
    persistent.DEFAULT,
    nested.DEFAULT,
)
IN_PYTHON: tuple[Method, ...] = (host.Dynesty(), host.Dynesty(dynamic=True), host.Reddemcee())
OURS: tuple[Method, ...] = (ours.DEFAULT,)
DEFAULTS = IN_JAX + IN_PYTHON
"""One setting of each, for a quick look."""

GRID: tuple[Method, ...] = smc.GRID + persistent.GRID + nested.GRID
"""Settings from which the best is chosen afterwards, in the peers' favour."""

MOST_SEEDS_IN_PYTHON = 8
"""Runs of a peer whose likelihoods are called one at a time, at most."""


def estimate(method: Method, seeds: int | np.ndarray, problem: Problem, budget: float) -> Result:
    """Estimates for one seed or several, fewer of them where runs are slow."""
    seeds = np.atleast_1d(seeds)
    if method in IN_PYTHON:
        seeds = seeds[:MOST_SEEDS_IN_PYTHON]
    return method.estimate(seeds, problem, budget)
