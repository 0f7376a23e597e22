"""Decisive checks of what makes an estimate of the evidence unreliable without a trace."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import tempered_ebm as te
from tempered_ebm.evidence import _coverage as coverage
from tempered_ebm.evidence import _heavy_tails as heavy_tails
from tempered_ebm.evidence import _prior_constant as prior_constant
from tests import ground_truths as gt


def _normal(z: np.ndarray, mean: float, scale: float = 1.0) -> np.ndarray:
    return -0.5 * ((z - mean) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


def _close(value: float, truth: float, error: float) -> None:
    assert abs(value - truth) < gt.z_threshold(1) * error, (value, truth, error)


def _draws(share: float, seed: int, families: int = 400, size: int = 1):
    """Log ratios of a standard normal posterior with a mode at 30 that holds ``share`` of the mass.

    The reference is a normal of scale 1.2 at 0: of draws of it, of particles, and the families.
    """
    rng = gt.rng(seed)

    def log_ratio(z: np.ndarray) -> np.ndarray:
        modes = (math.log1p(-share) + _normal(z, 0.0), math.log(share) + _normal(z, 30.0))
        return np.logaddexp(*modes) - _normal(z, 0.0, 1.2)

    first = 30.0 * (rng.random(families) < share) + rng.standard_normal(families)
    particles = np.repeat(first, size)
    return (
        log_ratio(1.2 * rng.standard_normal(2000)),
        log_ratio(particles),
        np.repeat(np.arange(families), size),
    )


def mass_that_no_draw_sees_is_counted() -> None:
    """The reference sees log(1 - share); particles know of all, log 1."""
    draws, particles, ancestors = _draws(0.3, seed=1)
    seen = math.log(np.mean(np.exp(draws)))
    assert abs(seen - math.log(0.7)) < 0.05
    look = coverage.bridge(draws, particles, ancestors)
    _close(look.log_evidence, 0.0, look.standard_error)
    assert coverage.is_missing(*look.excess(seen, 0.01))


def nothing_is_missing_where_all_is_covered() -> None:
    draws, particles, ancestors = _draws(1e-30, seed=2)
    look = coverage.bridge(draws, particles, ancestors)
    _close(look.log_evidence, 0.0, look.standard_error)
    assert look.standard_error < 0.05
    assert not coverage.is_missing(*look.excess(0.0, 0.01))


def errors_count_families() -> None:
    """Copies of a particle add nothing: the error is that of as many single ones."""
    single = coverage.bridge(*_draws(0.3, seed=3))
    copied = coverage.bridge(*_draws(0.3, seed=3, size=16))
    # From the binomial number of particles in the missing mode.
    expected = math.sqrt(0.3 / 0.7 / 400)
    for look in (single, copied):
        assert 0.7 * expected < look.standard_error < 1.5 * expected


def places_without_any_reference_are_missing() -> None:
    """A log ratio of +inf is mass that is missing; one that is not a number is none."""
    draws, particles, ancestors = _draws(1e-30, seed=4)
    particles[:120] = np.inf
    look = coverage.bridge(draws, particles, ancestors)
    _close(look.log_evidence, -math.log(0.7), look.standard_error)


def coordinates_keep_integrals() -> None:
    """In u, the prior integrates to one and the evidence is that in z, by quadrature."""
    quantiles = np.tan(np.pi * (np.arange(1, 400) / 400 - 0.5))
    draws = jnp.asarray(2.0 + 3.0 * quantiles)[:, None]
    coordinates = heavy_tails.of(draws, draws)
    assert coordinates is not None
    target = te.TemperedTarget(
        Partial(lambda z: jax.scipy.stats.cauchy.logpdf(z, 2.0, 3.0).sum(-1)),
        Partial(lambda z: -0.5 * ((z - 4.0) ** 2).sum(-1)),
    )
    new = coordinates.target(target)
    with jax.enable_x64(True):
        u = jnp.linspace(-45.0, 45.0, 200_001)[:, None]
        log_joint = np.asarray(new.logprior_fn(u) + new.loglikelihood_fn(u))
        z = jnp.linspace(-10.0, 20.0, 200_001)[:, None]
        truth = np.trapezoid(np.exp(target.logprior_fn(z) + target.loglikelihood_fn(z)), z[:, 0])
        total = np.trapezoid(np.exp(np.asarray(new.logprior_fn(u))), u[:, 0])
        found = np.trapezoid(np.exp(log_joint), u[:, 0])
        there_and_back = coordinates.forward(coordinates.back(u[::1000]))
        np.testing.assert_allclose(there_and_back, u[::1000], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose([total, found / truth], 1.0, rtol=1e-4)


def constants_of_priors_are_found() -> None:
    """Of a normal in three dimensions without its constant."""
    key = jax.random.key(5)
    draws = 2.0 * jax.random.normal(key, (256, 3)) + 1.0
    target = te.TemperedTarget(
        Partial(lambda z: -0.125 * ((z - 1.0) ** 2).sum(-1)), Partial(lambda z: z.sum(-1))
    )
    truth = 1.5 * math.log(2 * math.pi * 4)
    found = prior_constant.measure(key, target, draws)
    _close(found.log_evidence, truth, found.standard_error)
    assert found.standard_error < 0.1
    (said,) = prior_constant.warnings(key, target, draws)
    assert f"exp({found.log_evidence:.3g}" in said


def a_normalised_prior_is_left_alone() -> None:
    key = jax.random.key(6)
    target = te.TemperedTarget(
        Partial(lambda z: jax.scipy.stats.logistic.logpdf(z).sum(-1)), Partial(lambda z: z.sum(-1))
    )
    for seed in range(5):
        draws = jax.random.logistic(jax.random.key(seed), (256, 2))
        assert prior_constant.warnings(key, target, draws) == ()


def few_draws_in_many_coordinates_say_nothing() -> None:
    """128 draws are too few for a covariance of 107 coordinates, and enough for variances."""
    key, d = jax.random.key(7), 107
    draws = jax.random.normal(key, (256, d))

    def logprior(z: jax.Array) -> jax.Array:
        return jax.scipy.stats.norm.logpdf(z).sum(-1)

    def logprior_of_sums(z: jax.Array) -> jax.Array:
        return logprior(jnp.diff(z, prepend=0.0))

    for fn, z in ((logprior, draws), (logprior_of_sums, jnp.cumsum(draws, -1))):
        target = te.TemperedTarget(Partial(fn), Partial(lambda z: z.sum(-1)))
        assert prior_constant.warnings(key, target, z) == ()


ALL = (
    mass_that_no_draw_sees_is_counted,
    nothing_is_missing_where_all_is_covered,
    errors_count_families,
    places_without_any_reference_are_missing,
    coordinates_keep_integrals,
    constants_of_priors_are_found,
    a_normalised_prior_is_left_alone,
    few_draws_in_many_coordinates_say_nothing,
)
