"""Weighted maximum likelihood for mixtures of normals, in NumPy and float64."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_ITERATIONS = 30
_SMALL_GAIN = 1e-3
"""Rise of the mean log-density, in nats, below which a fit has converged."""
_TINY = 1e-300


class Mixture(NamedTuple):
    """A mixture of J normals in d dimensions.

    Attributes:
        weights: shares, (J,).
        means: (J, d).
        covariances: (J, d, d).
    """

    weights: Float[np.ndarray, "J"]
    means: Float[np.ndarray, "J d"]
    covariances: Float[np.ndarray, "J d d"]


def log_densities(
    mixture: Mixture,
    z: Float[np.ndarray, "n d"],
    tails: tuple[float, float] = (0.0, 1.0),
) -> Float[np.ndarray, "n J"]:
    """Return the logarithm of each component's density times its weight.

    Args:
        mixture: J normals.
        z: where.
        tails: share of a Student's t that every component has beside its normal, of the same
            centre and scale, and its degrees of freedom.
    """
    share, freedom = tails
    columns = []
    for weight, mean, covariance in zip(*mixture, strict=True):
        dimension = len(mean)
        factor = np.linalg.cholesky(covariance)
        squares = np.sum(np.linalg.solve(factor, (z - mean).T) ** 2, 0)
        logs = -0.5 * squares - 0.5 * dimension * math.log(2 * math.pi)
        if share:
            student = (
                math.lgamma(0.5 * (freedom + dimension))
                - math.lgamma(0.5 * freedom)
                - 0.5 * dimension * math.log(freedom * math.pi)
                - 0.5 * (freedom + dimension) * np.log1p(squares / freedom)
            )
            logs = np.logaddexp(math.log1p(-share) + logs, math.log(share) + student)
        columns.append(math.log(max(weight, _TINY)) - np.log(np.diag(factor)).sum() + logs)
    return np.stack(columns, 1)


def log_density(
    mixture: Mixture,
    z: Float[np.ndarray, "n d"],
    tails: tuple[float, float] = (0.0, 1.0),
) -> Float[np.ndarray, "n"]:
    """Return the log-density of the mixture, with ``tails`` as in :func:`log_densities`."""
    return np.logaddexp.reduce(log_densities(mixture, z, tails), axis=1)


def moments(
    z: Float[np.ndarray, "n d"], weights: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    """Return the weighted mean and covariance, for weights that add up to one."""
    mean = weights @ z
    return mean, ((z - mean) * weights[:, None]).T @ (z - mean)


def fit(
    z: Float[np.ndarray, "n d"],
    weights: Float[np.ndarray, "n"],
    num_components: int,
    rng: np.random.Generator,
) -> Mixture:
    r"""Fit a mixture by expectation maximisation, its covariances shrunk to their common mean.

    A component with weights worth :math:`n_j` draws has covariance
    :math:`(n_j C_j + \kappa W) / (n_j + \kappa)`, with :math:`\kappa = d + 1` and W the mean of
    all :math:`C_j`: few draws cannot make it singular.

    Args:
        z: draws.
        weights: their weights, adding up to one.
        num_components: J.
        rng: picks the starts, far from each other.
    """
    dimension = z.shape[1]
    mean, covariance = moments(z, weights)
    covariance = covariance + _floor(covariance)
    centres = _far_apart(z, weights, num_components, mean, covariance, rng)
    num = len(centres)
    spread = covariance * num ** (-2.0 / dimension)
    start = Mixture(np.full(num, 1.0 / num), centres, np.repeat(spread[None], num, 0))
    return improve(start, z, weights)


def improve(
    mixture: Mixture, z: Float[np.ndarray, "n d"], weights: Float[np.ndarray, "n"]
) -> Mixture:
    """Fit a mixture as :func:`fit` does, from a start that is close."""
    num_effective = 1.0 / np.sum(weights**2)
    floor = _floor(moments(z, weights)[1])
    height = -math.inf
    for _ in range(_ITERATIONS):
        logs = log_densities(mixture, z)
        reached = float(weights @ np.logaddexp.reduce(logs, axis=1))
        if reached - height < _SMALL_GAIN:
            break
        mixture, height = _step(logs, z, weights, num_effective, floor), reached
    return mixture


def _floor(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """Return what is added to every covariance, so that none is singular."""
    return 1e-9 * np.diag(np.diag(covariance)) + 1e-30 * np.eye(len(covariance))


def _step(
    logs: np.ndarray, z: np.ndarray, weights: np.ndarray, num_effective: float, floor: np.ndarray
) -> Mixture:
    """Return the mixture after one step of expectation maximisation."""
    shares = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)) * weights[:, None]
    totals = shares.sum(0)
    kept = totals * num_effective > 1.0
    shares, totals = shares[:, kept], totals[kept]
    means = (shares.T @ z) / totals[:, None]
    scatters = np.stack([((z - m) * s[:, None]).T @ (z - m) for m, s in zip(means, shares.T)])
    within = scatters.sum(0) / totals.sum()
    strength = z.shape[1] + 1.0
    counts = totals * num_effective
    covariances = (scatters * num_effective + strength * within) / (counts + strength)[
        :, None, None
    ]
    return Mixture(totals / totals.sum(), means, covariances + floor)


def _far_apart(
    z: np.ndarray,
    weights: np.ndarray,
    num: int,
    mean: np.ndarray,
    covariance: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw starts with probability in the squared distance to those before (k-means++).

    Fewer than asked for where there are no more distinct draws of positive weight.
    """
    white = np.linalg.solve(np.linalg.cholesky(covariance), (z - mean).T).T
    chosen = [int(rng.choice(len(z), p=weights / weights.sum()))]
    for _ in range(num - 1):
        gaps = np.min([np.sum((white - white[i]) ** 2, 1) for i in chosen], axis=0) * weights
        if not gaps.any():
            break
        chosen.append(int(rng.choice(len(z), p=gaps / gaps.sum())))
    return z[chosen]
