r"""Check a reference with particles that it has not seen.

Every diagnostic of a run along a path from a reference looks at draws that the reference led to;
a mode that it lacks leaves no trace in them. Particles of a second, independent exploration do not
depend on it. With weights :math:`w = p\,e^\ell / r` of draws of the reference r and of those
particles, bridge sampling (Meng and Wong 1996),

.. math::
    Z = \frac{E_r\left[w / (s_1 w / Z + s_0)\right]}
             {E_\text{particles}\left[1 / (s_1 w / Z + s_0)\right]},

counts particles where r has next to nothing (w / Z large) as mass that is missing: a share m of
them raises Z by :math:`-\log(1 - m)` above what the reference sees.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_ITERATIONS = 100
_MISSING_NATS, _MISSING_ERRORS = 0.05, 4.0


class Estimate(NamedTuple):
    """A rough log evidence and its standard error, in nats."""

    log_evidence: float
    standard_error: float

    def excess(self, log_evidence: float, standard_error: float) -> tuple[float, float]:
        """Return by how much it is above another estimate, and the standard error of that."""
        gap = self.log_evidence - log_evidence
        return gap, math.hypot(self.standard_error, standard_error)


def is_missing(nats: float, error: float) -> bool:
    """Return whether an independent exploration found more than chance explains."""
    return nats > max(_MISSING_NATS, _MISSING_ERRORS * error)


def bridge(
    draws: Float[np.ndarray, "n"],
    particles: Float[np.ndarray, "N"],
    ancestors: Int[np.ndarray, "N"],
) -> Estimate:
    """Return the log evidence by bridge sampling between a reference and particles.

    Args:
        draws: ``log p + ℓ - log r`` of independent draws of the reference.
        particles: the same of the particles.
        ancestors: the first particle from which each descends. Relatives are alike, so that the
            standard error counts families.
    """
    # +inf is where the reference has no density at all: missing mass, not a fault.
    possible = ~(np.isnan(particles) | np.isneginf(particles))
    families, family = np.unique(ancestors[possible], return_inverse=True)
    particles = particles[possible]
    top = draws.max()
    if not (np.isfinite(top) and particles.size):
        return Estimate(math.nan, math.inf)
    share = len(families) / (len(families) + len(draws))
    log_odds = math.log(share / (1 - share))
    log_z = top + math.log(np.mean(np.exp(draws - top)))
    for _ in range(_ITERATIONS):
        above, below = _bridge_terms(draws, particles, log_z, log_odds)
        change = math.log(above.mean()) - math.log(below.mean())
        log_z += change
        if abs(change) < 1e-6:
            break
    above, below = _bridge_terms(draws, particles, log_z, log_odds)
    sums = np.bincount(family, below / below.mean() - 1, len(families))
    variance = above.var() / above.mean() ** 2 / len(above) + sums @ sums / len(below) ** 2
    return Estimate(log_z, math.sqrt(variance))


def _bridge_terms(
    draws: np.ndarray, particles: np.ndarray, log_z: float, log_odds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(w / Z) / (1 + odds w / Z)`` of the draws, and ``1 / (1 + odds w / Z)``."""
    lower = np.exp(-np.logaddexp(0.0, particles - log_z + log_odds))
    with np.errstate(over="ignore"):
        upper = np.exp(-np.logaddexp(log_odds, log_z - draws))
    return upper, np.maximum(lower, 1e-300)
