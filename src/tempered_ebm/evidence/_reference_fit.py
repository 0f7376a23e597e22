"""Fit a reference to a posterior, from its modes and by adaptive importance sampling."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempered_ebm.evidence import _mixtures as mixtures
from tempered_ebm.evidence._reference import TAIL_FREEDOM, TAIL_SHARE, Reference, importance_draws
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

_COMPONENTS = (1, 2, 4, 8, 16, 32)
_NEWTON_STEPS = 12
_HALVINGS = 4
_SAME_MODE = 1.0
_LEAST_CURVATURE = 1e-2
_FLAT = 0.25
"""Curvature, in units of the prior's scale, below which a direction is wider than the prior."""
_TRUST_IN_PARTICLES = 0.5
"""Independent draws that a particle is worth; particles know of places that no draw has been to."""
_LAPLACE_SHARE, _WIDE_SHARE = 0.05, 0.25
"""Shares of the reference that the modes found, and wider copies of the fit, keep whatever the
draws say of them so far: they bound the weights where the fit is too narrow."""
_MOST_MODES = 32
_MOST_SLOTS = 2 * _COMPONENTS[-1] + _MOST_MODES
_FEWEST_ROUNDS, _MOST_ROUNDS, _DRAWS_OF_A_ROUND = 3, 5, 2000
_GOOD_ESS, _CLOSE_ESS = 0.9, 0.99
"""Effective shares of the weights at which a fit is good enough, and no larger one is tried."""
_FEW_COORDINATES, _KEPT_LOOKS = 6, 64
"""In so few coordinates, values all over the prior find a narrow peak; the highest are climbed."""
_MANY_COORDINATES = 32
"""Beyond these a Hessian is too expensive to search for modes away from the particles."""


class Fit(NamedTuple):
    """A fitted reference, and the evaluations that it cost.

    Attributes:
        reference: the fit.
        ess: effective share of its weights, estimated from draws of other references.
        num_gradients: gradients spent; a Hessian counts as 2d of them.
        num_values: values without gradient spent.
    """

    reference: Reference
    ess: float
    num_gradients: int
    num_values: int


def _spread(draws: Float[np.ndarray, "M d"]) -> Float[np.ndarray, "d"]:
    """Return the interquartile range of each coordinate, which heavy tails leave as it is."""
    low, high = np.quantile(draws, [0.25, 0.75], axis=0)
    return np.maximum(high - low, 1e-9 * (1 + np.abs(draws).max(0)))


class _NewtonResult(NamedTuple):
    mode: Float[Array, "M d"]
    height: Float[Array, "M"]
    precision: Float[Array, "M d d"]
    num_iterations: Int[Array, "M"]
    num_values: Int[Array, "M"]


@jax.jit
def _maximise(
    target: TemperedTarget, start: Float[Array, "M d"], scale: Float[Array, "d"]
) -> _NewtonResult:
    """Maximise by Newton's method, with clipped curvature and halved steps."""

    def height(u: Array) -> Array:
        z = (u * scale)[None]
        return (target.logprior_fn(z) + target.loglikelihood_fn(z))[0]

    def climb(u: Array) -> _NewtonResult:
        def iterate(carry: tuple) -> tuple:
            u, value, _, i, values = carry
            gradient, precision = jax.grad(height)(u), -_hessian(height, u)
            eigenvalues, vectors = jnp.linalg.eigh(jnp.nan_to_num(precision))
            curvature = jnp.maximum(jnp.abs(eigenvalues), _LEAST_CURVATURE)
            step = vectors @ ((vectors.T @ jnp.nan_to_num(gradient)) / curvature)
            scales = 0.5 ** jnp.arange(_HALVINGS)
            trials = jax.vmap(lambda s: height(u + s * step))(scales)
            trials = jnp.where(jnp.isnan(trials), -jnp.inf, trials)
            best = jnp.argmax(trials)
            rises = trials[best] > value
            new = jnp.where(rises, u + scales[best] * step, u)
            gain = jnp.where(rises, trials[best] - value, 0.0)
            return new, jnp.maximum(value, trials[best]), gain, i + 1, values + _HALVINGS

        def unfinished(carry: tuple) -> Array:
            return (carry[2] > 1e-2) & (carry[3] < _NEWTON_STEPS)

        zero = jnp.zeros((), jnp.int32)
        first = (u, height(u), jnp.array(jnp.inf, u.dtype), zero, zero + 1)
        u, value, _, i, values = jax.lax.while_loop(unfinished, iterate, first)
        precision = -_hessian(height, u) / (scale[:, None] * scale[None, :])
        return _NewtonResult(u * scale, value, precision, i, values)

    return jax.lax.map(climb, start / scale)


def _hessian(fn: Callable[[Array], Array], u: Float[Array, "d"]) -> Float[Array, "d d"]:
    try:
        return jax.hessian(fn)(u)
    except TypeError:  # A rule for reverse mode alone, such as that of an ODE solver.
        return jax.jacrev(jax.grad(fn))(u)


def _search_plan(dimension: int) -> tuple[int, int, int]:
    """Return the size and the number of batches of starts of Newton's method, least and most.

    Fewer where a Hessian is expensive; the most where more than one mode has been found.
    """
    if dimension <= 6:
        return 8, 3, 16
    if dimension <= 16:
        return 8, 2, 6
    return (4, 1, 2) if dimension <= _MANY_COORDINATES else (2, 1, 1)


def _first_starts(z: np.ndarray, log_joint: np.ndarray, scale: np.ndarray, num: int) -> np.ndarray:
    """Return the best particle, and those farthest from it and from each other."""
    chosen = [int(np.argmax(np.nan_to_num(log_joint, nan=-np.inf)))]
    white = z / scale
    while len(chosen) < num:
        gaps = np.min([np.sum((white - white[i]) ** 2, 1) for i in chosen], axis=0)
        chosen.append(int(np.argmax(gaps)))
    return z[chosen]


def _next_starts(
    history: np.ndarray, modes: mixtures.Mixture, num: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw visited positions by their squared distance from all known modes.

    Each is from a temperature of its own: at high ones every mode still has particles, at low
    ones particles are near their modes, and distances compare within one only.
    """
    precisions = np.linalg.inv(modes.covariances)
    starts = []
    for stage in rng.integers(0, len(history), num):
        z = history[stage]
        gaps = [np.einsum("na,ab,nb->n", z - m, p, z - m) for m, p in zip(modes.means, precisions)]
        squares = np.nan_to_num(np.min(gaps, axis=0), posinf=0.0) + 1e-12
        starts.append(z[rng.choice(len(z), p=squares / squares.sum())])
    return np.stack(starts)


def _laplace(climb: _NewtonResult, scale: np.ndarray) -> mixtures.Mixture | None:
    """Return a mixture of the distinct modes, weighted by their Laplace evidences."""
    order = np.argsort(-np.nan_to_num(climb.height, nan=-np.inf))
    resolution = 10 * np.finfo(climb.precision.dtype).eps
    means: list[np.ndarray] = []
    precisions: list[np.ndarray] = []
    logs: list[float] = []
    for i in order:
        mode = np.asarray(climb.mode[i], np.float64)
        precision = np.asarray(climb.precision[i], np.float64)
        precision = 0.5 * (precision + precision.T)
        if not (np.isfinite(climb.height[i]) and np.isfinite(precision).all()):
            continue
        curvature = np.linalg.eigvalsh(precision * scale[:, None] * scale[None, :])
        if curvature[0] < max(_FLAT, resolution * curvature[-1]):
            continue
        gaps = [(mode - m) @ p @ (mode - m) for m, p in zip(means, precisions)]
        if (gaps and min(gaps) < _SAME_MODE * len(mode)) or len(means) == _MOST_MODES:
            continue
        means.append(mode)
        precisions.append(precision)
        logs.append(float(climb.height[i]) - 0.5 * np.linalg.slogdet(precision)[1])
    if not means:
        return None
    shares = np.exp(np.array(logs) - max(logs))
    weights = np.maximum(shares / shares.sum(), 1e-3)
    return mixtures.Mixture(weights, np.stack(means), np.linalg.inv(np.stack(precisions)))


def num_slots(num: int) -> int:
    """Return the number of components that arrays have room for: shapes change seldom."""
    return 8 if num <= 8 else 32 if num <= 32 else _MOST_SLOTS


def _most_components(dimension: int) -> int:
    return _COMPONENTS[-1] if dimension <= 16 else 4


def as_reference(mixture: mixtures.Mixture, dtype: jnp.dtype) -> Reference:
    """Return a mixture as arrays on the device, padded so that shapes never change."""
    num, dimension = mixture.means.shape
    size = num_slots(num)
    eye = np.eye(dimension)
    log_weights = np.full(size, -np.inf)
    means, factors = np.zeros((size, dimension)), np.repeat(eye[None], size, 0)
    log_weights[:num] = np.log(mixture.weights / mixture.weights.sum())
    means[:num] = mixture.means
    factors[:num] = np.linalg.cholesky(mixture.covariances)
    leaves = (log_weights, means, factors, np.linalg.inv(factors))
    return Reference(*(jnp.asarray(leaf, dtype) for leaf in leaves))


def _joined(
    first: mixtures.Mixture, second: mixtures.Mixture | None, share: float
) -> mixtures.Mixture:
    """Return the mixture of two mixtures, the second of this weight."""
    if second is None:
        return first
    parts = (
        first._replace(weights=(1 - share) * first.weights),
        second._replace(weights=share * second.weights / second.weights.sum()),
    )
    return mixtures.Mixture(*(np.concatenate(leaves) for leaves in zip(*parts)))


class _WeightedDraws(NamedTuple):
    """The particles and the draws of all rounds, with weights that add up to their ESS."""

    z: np.ndarray
    log_joint: np.ndarray
    weights: np.ndarray

    def half(self, start: int) -> _WeightedDraws:
        """Return every other draw, with weights that add up to one."""
        z, log_joint, weights = (leaf[start::2] for leaf in self)
        return _WeightedDraws(z, log_joint, weights / weights.sum())

    def plus(self, z: np.ndarray, log_joint: np.ndarray, log_weights: np.ndarray) -> _WeightedDraws:
        """Add the draws of a round, with weights cut as by Ionides (2008); none if all are zero."""
        if np.isneginf(log_weights).all():
            return self
        weights = np.exp(log_weights - log_weights.max())
        weights = np.minimum(weights, np.sqrt(len(weights)) * weights.mean())
        worth = weights.sum() / np.sum(weights**2)
        new = _WeightedDraws(z, log_joint, weights * worth)
        return _WeightedDraws(*(np.concatenate(leaves) for leaves in zip(self, new)))


def _sizes(pool: _WeightedDraws) -> list[int]:
    """Return the numbers of components that the draws support."""
    dimension = pool.z.shape[1]
    parameters = dimension * (dimension + 3) / 2
    most = min(0.25 * pool.weights.sum() / parameters, _most_components(dimension) + 1)
    return [num for num in _COMPONENTS if num < most]


def inflated(mixture: mixtures.Mixture) -> mixtures.Mixture:
    """Return the mixture with covariances larger by ``1 + 2/d``: densities fall e-fold at most."""
    factor = 1 + 2 / mixture.means.shape[1]
    return mixture._replace(covariances=factor * mixture.covariances)


class _ModeSearch:
    """Modes found by Newton's method, and the evaluations that it cost."""

    def __init__(self, target: TemperedTarget, scale: np.ndarray, dtype: jnp.dtype) -> None:
        self._target, self._scale, self._dtype = target, scale, dtype
        self._results: list[_NewtonResult] = []
        self.num_gradients = 0
        self.num_values = 0

    def climb(self, starts: np.ndarray) -> None:
        arrays = (jnp.asarray(array, self._dtype) for array in (starts, self._scale))
        result = jax.device_get(_maximise(self._target, *arrays))
        evaluations = int(result.num_iterations.sum()) + len(starts)
        self.num_gradients += evaluations * (1 + 2 * starts.shape[1])
        self.num_values += int(result.num_values.sum())
        self._results.append(result)

    def laplace(self) -> mixtures.Mixture | None:
        together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *self._results)
        return _laplace(together, self._scale)


def _search_modes(
    search: _ModeSearch,
    z: np.ndarray,
    heights: np.ndarray,
    history: np.ndarray,
    scale: np.ndarray,
    crude: mixtures.Mixture,
    rng: np.random.Generator,
) -> None:
    """Search for modes from the particles, and from more places where there are several."""
    num_starts, num_batches, most_batches = _search_plan(z.shape[1])
    search.climb(_first_starts(z, heights, scale, num_starts))
    for batch in range(1, most_batches):
        modes = search.laplace() or crude
        if batch >= num_batches and len(modes.weights) == 1:
            break
        search.climb(_next_starts(history, modes, num_starts, rng))


def _look_around(
    rng_key: PRNGKey,
    target: TemperedTarget,
    prior_draws: Float[Array, "M d"],
    known: mixtures.Mixture,
    num: int,
) -> Float[np.ndarray, "8 d"]:
    """Return places, all over the prior, where the posterior rises most above a mixture.

    A peak that is narrow beside the prior and far from the bulk escapes particles: they come to
    where it is before it outweighs the rest.
    """
    z, log_joint = _look(rng_key, target, prior_draws, num)
    z, log_joint = np.asarray(z, np.float64), np.asarray(log_joint, np.float64)
    # Without tails, which would hide the flanks of a peak far out.
    excess = np.nan_to_num(log_joint - mixtures.log_density(known, z), nan=-np.inf)
    highest = np.argsort(-excess, kind="stable")[:_KEPT_LOOKS]
    return _first_starts(z[highest], excess[highest], _spread(np.asarray(prior_draws)), 8)


@functools.partial(jax.jit, static_argnames="num_looks")
def _look(
    rng_key: PRNGKey, target: TemperedTarget, prior_draws: Array, num_looks: int
) -> tuple[Array, Array]:
    """Return draws near those of the prior, by a kernel density estimate, and ``log p + ℓ``."""
    num, dimension = prior_draws.shape
    low, high = jnp.quantile(prior_draws, jnp.array([0.25, 0.75]), axis=0)
    width = (high - low) / 1.35 * num ** (-1 / (dimension + 4))

    def chunk(rng_key: PRNGKey) -> tuple[Array, Array]:
        choice_key, noise_key = jax.random.split(rng_key)
        centres = prior_draws[jax.random.choice(choice_key, num, (num_looks // 16,))]
        z = centres + width * jax.random.normal(noise_key, centres.shape, centres.dtype)
        return z, target.logprior_fn(z) + target.loglikelihood_fn(z)

    z, log_joint = jax.lax.map(chunk, jax.random.split(rng_key, 16))
    return z.reshape(-1, dimension), log_joint.reshape(-1)


def fit_reference(
    rng_key: PRNGKey,
    target: TemperedTarget,
    particles: Float[Array, "N d"],
    log_joint: Float[Array, "N"],
    history: Float[np.ndarray, "T N d"],
    prior_draws: Float[Array, "M d"],
    num_looks: int,
) -> Fit:
    """Fit a reference: Laplace at the modes, then adaptive importance sampling.

    The first reference joins the Laplace approximation at every mode that Newton's method
    finds from the particles with a normal fitted to the particles. Each round of the sampling
    climbs from the draws of the largest weight and of the highest density, signs of a mode that
    was missed; every mode found keeps a share of the reference.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        particles: draws that are roughly from the posterior.
        log_joint: log p + ℓ at the particles.
        history: the particles at each temperature on their way, from which to look for modes.
        prior_draws: draws from the prior. Their scale is that of the search for modes.
        num_looks: values all over the prior, in few coordinates.
    """
    dtype = particles.dtype
    z, heights = np.asarray(particles, np.float64), np.asarray(log_joint, np.float64)
    scale = _spread(np.asarray(prior_draws, np.float64))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(rng_key)))
    search = _ModeSearch(target, scale, dtype)
    crude = mixtures.fit(z, np.full(len(z), 1 / len(z)), 1, rng)
    _search_modes(search, z, heights, np.asarray(history, np.float64), scale, crude, rng)
    num_values = 0
    if prior_draws.shape[1] <= _FEW_COORDINATES:
        look_key, rng_key = jax.random.split(rng_key)
        known = _joined(crude, search.laplace(), 0.5)
        found = _look_around(look_key, target, prior_draws, known, num_looks)
        search.climb(found)
        num_values += num_looks
    pool = _WeightedDraws(z, heights, np.full(len(z), _TRUST_IN_PARTICLES))
    mixture, ess, num_drawn = _refine(rng_key, target, pool, crude, rng, dtype, search)
    num_values += num_drawn + search.num_values
    return Fit(as_reference(mixture, dtype), ess, search.num_gradients, num_values)


def fit_to_draws(
    rng_key: PRNGKey,
    target: TemperedTarget,
    draws: Float[np.ndarray, "n d"],
    log_joint: Float[np.ndarray, "n"],
    num_effective: float,
) -> Fit:
    """Fit a reference to correlated draws of the posterior, by values of the density alone.

    Args:
        rng_key: key of everything.
        target: prior and likelihood, for batches of vectors.
        draws: in an order in which every other draw is as good as independent of the rest: the
            number of components is chosen by what describes the other half best.
        log_joint: log p + ℓ at the draws.
        num_effective: number of independent draws that they are worth.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(rng_key)))
    num = len(draws)
    pool = _WeightedDraws(draws, log_joint, np.full(num, min(num_effective / num, 1.0)))
    crude = mixtures.fit(draws, np.full(num, 1 / num), 1, rng)
    dtype = jnp.result_type(float)
    mixture, ess, num_values = _refine(rng_key, target, pool, crude, rng, dtype)
    return Fit(as_reference(mixture, dtype), ess, 0, num_values)


def _refine(
    rng_key: PRNGKey,
    target: TemperedTarget,
    pool: _WeightedDraws,
    crude: mixtures.Mixture,
    rng: np.random.Generator,
    dtype: jnp.dtype,
    search: _ModeSearch | None = None,
) -> tuple[mixtures.Mixture, float, int]:
    """Adapt a mixture to weighted draws of its own (Cappe et al. 2008).

    Each round fits mixtures to one half of the draws of all rounds; what describes the other half
    best, they or the mixtures of earlier rounds, is drawn from in the next.

    Returns:
        The mixture, the effective share of its weights, and the number of draws.
    """
    kept = [crude]
    current = crude if search is None else _joined(crude, search.laplace(), 0.5)
    keys = jax.random.split(rng_key, _MOST_ROUNDS)
    for i, round_key in enumerate(keys):
        proposal = as_reference(inflated(current), dtype)
        drawn = importance_draws(round_key, target, proposal, _DRAWS_OF_A_ROUND)
        draws, log_weights, heights = (np.asarray(leaf, np.float64) for leaf in drawn)
        pool = pool.plus(draws, heights, log_weights)
        laplace = None
        if search is not None:
            if draws.shape[1] <= _MANY_COORDINATES:
                search.climb(draws[[np.argmax(log_weights), np.argmax(heights)]])
            laplace = search.laplace()
        best, ess = _best(pool, [*kept, *([] if laplace is None else [laplace])], rng)
        kept.append(best)
        current = _joined(_joined(best, inflated(best), _WIDE_SHARE), laplace, _LAPLACE_SHARE)
        if ess >= _GOOD_ESS and i + 1 >= _FEWEST_ROUNDS:
            break
    return current, ess, (i + 1) * _DRAWS_OF_A_ROUND


def _best(
    pool: _WeightedDraws, kept: list[mixtures.Mixture], rng: np.random.Generator
) -> tuple[mixtures.Mixture, float]:
    r"""Return the candidate of the largest relative ESS on held-out draws, and that ESS.

    With weighted draws of p, ``1 / E_p[p / r]`` is the effective share of the weights of draws
    of r; p is normalised by the candidate's own draws, ``1 = E_p[r / p]``.
    """
    half = pool.half(1)
    possible = (half.weights > 0) & np.isfinite(half.log_joint)
    if not possible.any():
        return kept[-1], 0.0
    z, log_joint, weights = (leaf[possible] for leaf in half)

    def share(mixture: mixtures.Mixture) -> float:
        logs = log_joint - mixtures.log_density(mixture, z, tails=(TAIL_SHARE, TAIL_FREEDOM))
        return float(np.nan_to_num(np.exp(-_log_mean(logs, weights) - _log_mean(-logs, weights))))

    shares = [share(mixture) for mixture in kept]
    best, chosen = max(shares), kept[int(np.argmax(shares))]
    fitting, is_fitted = pool.half(0), False
    for num in _sizes(pool):
        if best >= _CLOSE_ESS:
            break
        fit = mixtures.fit(fitting.z, fitting.weights, num, rng)
        found = share(fit)
        if found > best:
            best, chosen, is_fitted = found, fit, True
    if is_fitted:
        # A fit from another start could end in a worse optimum than the one that was assessed.
        weights = pool.weights / pool.weights.sum()
        chosen = mixtures.improve(chosen, pool.z, weights)
    return chosen, min(best, 1.0)


def _log_mean(logs: np.ndarray, weights: np.ndarray) -> float:
    top = logs.max()
    return float(top + np.log(weights @ np.exp(logs - top)))
