"""Moments, laws and entropies of densities on the plane, by Gauss-Legendre panels in float64.

The rule, its nodes and the region (a fifth wider than ``bounds``) are all other than those
of ``toy.quadrature``, so that the two can be held against each other.
"""

from __future__ import annotations

import math
from functools import cache, cached_property

import jax
import numpy as np

NODES_A_PANEL = 8


def panels(lower: float, upper: float, num_panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on an interval cut into equal panels."""
    unit, weights = np.polynomial.legendre.leggauss(NODES_A_PANEL)
    edges = np.linspace(lower, upper, num_panels + 1)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (1 + unit)).ravel(), (half * weights).ravel()


class Reference:
    """Everything about a density that a fine grid tells."""

    def __init__(self, density, num_panels: tuple[int, int] = (50, 50)):
        self.density = density
        axes = []
        for (lower, upper), number in zip(density.bounds, num_panels, strict=True):
            margin = 0.1 * (upper - lower)
            axes.append(panels(lower - margin, upper + margin, number))
        (x, x_weights), (y, y_weights) = axes
        self.points = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
        with jax.enable_x64(True):
            log_values = np.asarray(jax.jit(density.logdensity_fn)(self.points))
        assert log_values.dtype == np.float64
        peak = log_values.max()
        mass = np.outer(x_weights, y_weights).ravel() * np.exp(log_values - peak)
        self.log_normalizer = peak + math.log(mass.sum())
        self.probability = mass / mass.sum()
        self.entropy = self.log_normalizer - self.probability @ np.maximum(log_values, -1e300)

    @cached_property
    def moments(self) -> np.ndarray:
        return self.probability @ statistics(self.points)

    @cache  # noqa: B019
    def projected_cdf(self, angle: float):
        """Distribution function of the coordinate along a direction."""
        along = self.points @ [math.cos(angle), math.sin(angle)]
        # Along an axis, whole rows of points share one value.
        values, group = np.unique(along.round(9), return_inverse=True)
        probability = np.bincount(group, self.probability)
        cdf = np.cumsum(probability) - 0.5 * probability
        return lambda z: np.interp(z, values, cdf)

    def mass_within_bounds(self) -> float:
        lower, upper = np.transpose(self.density.bounds)
        inside = np.all((self.points > lower) & (self.points < upper), axis=1)
        return float(self.probability[inside].sum())


def statistics(z) -> np.ndarray:
    """First and second moments, one row for each point."""
    z = np.asarray(z, np.float64)
    return np.column_stack([z, z**2, z.prod(1)])
