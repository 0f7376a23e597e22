"""Problems on which an estimate of the evidence can be confidently wrong, with their truths.

Where nothing else is said, the posterior is a normalised density q and the log-likelihood is
``log q - log prior``, so that the log evidence is exactly 0 under any prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import permutations, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy import stats
from scipy import special

import tempered_ebm as te


class Problem(NamedTuple):
    """A model whose evidence is known.

    Attributes:
        target: normalised log prior and log-likelihood of one position.
        sample_prior: ``(rng_key, n)`` to ``(n, d)`` exact draws.
        log_evidence: the truth, in nats.
        is_easy: whether a warning would be a false one.
    """

    target: te.TemperedTarget
    sample_prior: Callable[[Array, int], Array]
    log_evidence: float
    is_easy: bool = False


class Prior(NamedTuple):
    """A normalised log-density and exact draws."""

    log_prob: Callable[[Array], Array]
    sample: Callable[[Array, int], Array]


def _normal(dimension: int, scale: float = 1.0) -> Prior:
    return Prior(
        lambda z: stats.norm.logpdf(z, 0.0, scale).sum(),
        lambda key, n: scale * jax.random.normal(key, (n, dimension)),
    )


def _cauchy(dimension: int) -> Prior:
    return Prior(
        lambda z: stats.cauchy.logpdf(z).sum(),
        lambda key, n: jax.random.cauchy(key, (n, dimension)),
    )


def _uniform(dimension: int) -> Prior:
    """Return a uniform prior on the unit cube, with hard walls."""
    return Prior(
        lambda z: jnp.where(jnp.all((z > 0) & (z < 1)), 0.0, -jnp.inf),
        lambda key, n: jax.random.uniform(key, (n, dimension)),
    )


def _logistic(dimension: int) -> Prior:
    """Return a uniform prior on the unit cube, as logits."""
    return Prior(
        lambda z: stats.logistic.logpdf(z).sum(),
        lambda key, n: jax.random.logistic(key, (n, dimension)),
    )


def _posterior(prior: Prior, log_prob: Callable[[Array], Array], is_easy: bool = False) -> Problem:
    target = te.TemperedTarget(prior.log_prob, lambda z: log_prob(z) - prior.log_prob(z))
    return Problem(target, prior.sample, 0.0, is_easy)


def _model(
    prior: Prior, loglikelihood: Callable[[Array], Array], truth: float, is_easy: bool = False
) -> Problem:
    return Problem(te.TemperedTarget(prior.log_prob, loglikelihood), prior.sample, truth, is_easy)


def _integral(log_values: np.ndarray, *grids: np.ndarray) -> float:
    """Return the logarithm of an integral of exp by the trapezoidal rule on a fine grid."""
    top = log_values.max()
    value = np.exp(log_values - top)
    for grid in reversed(grids):
        value = np.trapezoid(value, grid, axis=-1)
    return float(top + np.log(value))


def _modes(means: np.ndarray, scale: float | np.ndarray, weights: np.ndarray | None = None):
    """Return the log-density of a mixture of round normals."""
    num, dimension = means.shape
    weights = np.full(num, 1 / num) if weights is None else np.asarray(weights)
    scale = np.broadcast_to(scale, (num,))
    constant = np.log(weights) - dimension * np.log(scale) - 0.5 * dimension * math.log(2 * math.pi)

    def log_prob(z: Array) -> Array:
        squares = jnp.sum(((z - means) / scale[:, None]) ** 2, -1)
        return jax.nn.logsumexp(constant - 0.5 * squares)

    return log_prob


def egg_box(walls: bool) -> Problem:
    """Return (2 + cos(x/2) cos(y/2))^5 on [0, 10 pi]^2 (Feroz, Hobson and Bridges 2009)."""

    def value(x: Array, y: Array, xp=jnp) -> Array:
        return (2 + xp.cos(x / 2) * xp.cos(y / 2)) ** 5

    grid = np.linspace(0, 10 * np.pi, 4001)
    truth = _integral(value(grid[:, None], grid, np), grid, grid) - 2 * math.log(10 * math.pi)
    prior = _uniform(2) if walls else _logistic(2)

    def loglikelihood(z: Array) -> Array:
        x = 10 * jnp.pi * (z if walls else jax.nn.sigmoid(z))
        return value(x[0], x[1])

    return _model(prior, loglikelihood, truth)


def bananas() -> Problem:
    """Return five independent pairs, the second of each bent along the square of the first."""

    def log_prob(z: Array) -> Array:
        x, y = z[::2], z[1::2]
        return (stats.norm.logpdf(x, 0, 2) + stats.norm.logpdf(y, 0.5 * (x**2 - 4), 0.5)).sum()

    return _posterior(_normal(10, 5.0), log_prob)


def rosenbrock() -> Problem:
    """Return a chain of ten coordinates, each near the square of the last."""

    def log_prob(z: Array) -> Array:
        rest = stats.norm.logpdf(z[1:], 0.5 * z[:-1] ** 2, 0.3)
        return stats.norm.logpdf(z[0], 0.5, 0.7) + rest.sum()

    return _posterior(_normal(10, 3.0), log_prob)


def labels() -> Problem:
    """Return four means that may be exchanged: 24 equal modes."""
    means = 1.5 * np.array(list(permutations([-1.5, -0.5, 0.5, 1.5])))
    return _posterior(_normal(4, 3.0), _modes(means, 0.2))


def ring() -> Problem:
    """Return a thin ring in the plane, and eight normal coordinates."""

    def log_prob(z: Array) -> Array:
        radius = jnp.sqrt(z[0] ** 2 + z[1] ** 2)
        return (
            stats.norm.logpdf(radius, 3.0, 0.1)
            - jnp.log(2 * jnp.pi * radius)
            + stats.norm.logpdf(z[2:], 0.0, 0.5).sum()
        )

    return _posterior(_normal(10, 3.0), log_prob)


def factor_model() -> Problem:
    r"""Return loadings (5, 2) whose rotations are alike: radii near 4 of the whole matrix.

    The density of the Gram matrix, and so of the radius alone, is a thin shell in 10 dimensions.
    """
    dimension = 10
    surface = math.log(2) + 0.5 * dimension * math.log(math.pi) - math.lgamma(0.5 * dimension)

    def log_prob(z: Array) -> Array:
        radius = jnp.sqrt(jnp.sum(z**2))
        shell = stats.norm.logpdf(radius, 4.0, 0.1) - surface
        return shell - (dimension - 1) * jnp.log(radius)

    return _posterior(_normal(dimension, 2.0), log_prob)


def _effects(num: int) -> np.ndarray:
    return np.random.default_rng(7).normal(0.5, 1.5, num)


SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SCHOOLS_ERROR = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def _hierarchy_truth(y: np.ndarray, error: np.ndarray | float, location: float, scale: float):
    """Integrate over mean and log scale, N(0, location) and N(0, 1) + log(scale)."""
    mu = np.linspace(-8, 8, 801) * location
    log_tau = np.linspace(-8, 8, 801)
    deviation = np.sqrt(np.asarray(error) ** 2 + (scale * np.exp(log_tau[:, None])) ** 2)

    def normal(x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return -0.5 * (x / s) ** 2 - np.log(s) - 0.5 * math.log(2 * math.pi)

    log_values = normal(mu[:, None], location) + normal(log_tau, 1.0)
    for j in range(len(y)):
        log_values = log_values + normal(
            y[j] - mu[:, None], deviation[:, min(j, deviation.shape[1] - 1)]
        )
    return _integral(log_values, mu, log_tau)


def hierarchy(
    y: np.ndarray, error: np.ndarray | float, location: float, scale: float, centred: bool
) -> Problem:
    """Return normal effects about an unknown mean, of unknown scale: (mean, log scale, effects)."""
    num = len(y)

    def parts(z: Array) -> tuple[Array, Array]:
        return location * z[0], scale * jnp.exp(z[1])

    def logprior(z: Array) -> Array:
        mu, tau = parts(z)
        top = stats.norm.logpdf(z[:2]).sum()
        if centred:
            return top + stats.norm.logpdf(z[2:], mu, tau).sum()
        return top + stats.norm.logpdf(z[2:]).sum()

    def loglikelihood(z: Array) -> Array:
        mu, tau = parts(z)
        theta = z[2:] if centred else mu + tau * z[2:]
        return stats.norm.logpdf(y, theta, error).sum()

    def sample(key: Array, n: int) -> Array:
        z = jax.random.normal(key, (n, 2 + num))
        if not centred:
            return z
        mu, tau = jax.vmap(parts)(z)
        return z.at[:, 2:].set(mu[:, None] + tau[:, None] * z[:, 2:])

    truth = _hierarchy_truth(y, np.broadcast_to(error, (num,)), location, scale)
    return _model(Prior(logprior, sample), loglikelihood, truth)


def funnel() -> Problem:
    """Return Neal's funnel in ten coordinates, each of nine observed with unit error."""
    y = np.random.default_rng(3).normal(0, 1.5, 9)

    def logprior(z: Array) -> Array:
        return stats.norm.logpdf(z[0], 0, 3) + stats.norm.logpdf(z[1:], 0, jnp.exp(z[0] / 2)).sum()

    def sample(key: Array, n: int) -> Array:
        z = jax.random.normal(key, (n, 10))
        return jnp.concatenate([3 * z[:, :1], z[:, 1:] * jnp.exp(1.5 * z[:, :1])], 1)

    v = np.linspace(-24, 24, 20_001)
    variance = 1 + np.exp(v)
    log_values = -0.5 * (v / 3) ** 2 - math.log(3) - 0.5 * math.log(2 * math.pi)
    log_values -= 0.5 * np.sum(y**2) / variance + 4.5 * np.log(2 * np.pi * variance)
    prior = Prior(logprior, sample)
    return _model(prior, lambda z: stats.norm.logpdf(y, z[1:]).sum(), _integral(log_values, v))


def ill_conditioned() -> Problem:
    """Return a 50-d normal of condition number 10,000 in rotated coordinates."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(50, 50)))[0]
    deviation = np.geomspace(0.01, 1.0, 50)
    mean = rng.normal(size=50)
    whitening = (rotation / deviation).T

    def log_prob(z: Array) -> Array:
        return stats.norm.logpdf(whitening @ (z - mean)).sum() - np.log(deviation).sum()

    return _posterior(_normal(50, 3.0), log_prob)


def period() -> Problem:
    """Return a sine of unknown period over a baseline of 100 of them; amplitudes N(0, 1)."""
    rng = np.random.default_rng(5)
    times = np.sort(rng.uniform(0, 100, 60))
    y = 0.8 * np.sin(2 * np.pi * 0.437 * times + 0.3) + rng.normal(0, 0.5, 60)

    def loglikelihood(z: Array) -> Array:
        phase = 2 * jnp.pi * jax.nn.sigmoid(z[0]) * times
        return stats.norm.logpdf(y, z[1] * jnp.sin(phase) + z[2] * jnp.cos(phase), 0.5).sum()

    def logprior(z: Array) -> Array:
        return stats.logistic.logpdf(z[0]) + stats.norm.logpdf(z[1:]).sum()

    def sample(key: Array, n: int) -> Array:
        keys = jax.random.split(key)
        return jnp.concatenate(
            [jax.random.logistic(keys[0], (n, 1)), jax.random.normal(keys[1], (n, 2))], 1
        )

    frequency = np.linspace(0, 1, 40_001)
    phase = 2 * np.pi * frequency[:, None] * times
    design = np.stack([np.sin(phase), np.cos(phase)], -1)
    gram = np.swapaxes(design, 1, 2) @ design / 0.25 + np.eye(2)
    moment = np.einsum("fti,t->fi", design, y) / 0.25
    fitted = np.einsum("fi,fi->f", moment, np.linalg.solve(gram, moment[..., None])[..., 0])
    constant = -0.5 * np.sum(y**2) / 0.25 - 30 * math.log(2 * math.pi * 0.25)
    log_values = constant + 0.5 * fitted - 0.5 * np.linalg.slogdet(gram)[1]
    return _model(Prior(logprior, sample), loglikelihood, _integral(log_values, frequency))


def peaks(dimension: int, narrow: float, share: float, distance: float) -> Problem:
    """Return a narrow peak of the given share beside one of scale 1."""
    means = np.array([np.zeros(dimension), np.full(dimension, distance)])
    scales = np.array([1.0, narrow])
    log_prob = _modes(means, scales, np.array([1 - share, share]))
    return _posterior(_normal(dimension, 3.0), log_prob)


def spike_and_slab(dimension: int) -> Problem:
    """Return coefficients that are nearly zero or not, each observed with error."""
    y = np.random.default_rng(1).normal(0, 1.0, dimension) + np.where(
        np.arange(dimension) % 3, 0, 2
    )
    variances = np.array([0.05**2, 2.0**2])

    def logprior(z: Array) -> Array:
        both = stats.norm.logpdf(z[:, None], 0, np.sqrt(variances)) + math.log(0.5)
        return jax.nn.logsumexp(both, axis=1).sum()

    def sample(key: Array, n: int) -> Array:
        keys = jax.random.split(key)
        chosen = jax.random.bernoulli(keys[0], 0.5, (n, dimension)).astype(int)
        return jnp.sqrt(variances)[chosen] * jax.random.normal(keys[1], (n, dimension))

    error = 0.3**2
    both = -0.5 * y[:, None] ** 2 / (variances + error) - 0.5 * np.log(
        2 * np.pi * (variances + error)
    )
    truth = np.sum(special.logsumexp(both + math.log(0.5), axis=1))
    return _model(Prior(logprior, sample), lambda z: stats.norm.logpdf(y, z, 0.3).sum(), truth)


def log_gamma() -> Problem:
    """Return four modes in ten coordinates, skewed in half of them (Beaujean and Caldwell 2013)."""

    def skewed(x: Array) -> Array:
        return x - jnp.exp(x)

    def log_prob(x: Array) -> Array:
        first = jnp.logaddexp(skewed(x[0] - 10), skewed(x[0] + 10)) - math.log(2)
        second = jnp.logaddexp(stats.norm.logpdf(x[1], 10), stats.norm.logpdf(x[1], -10))
        rest = skewed(x[2:6]).sum() + stats.norm.logpdf(x[6:]).sum()
        return first + second - math.log(2) + rest

    def loglikelihood(z: Array) -> Array:
        return log_prob(60 * jax.nn.sigmoid(z) - 30) + 10 * math.log(60)

    return _model(_logistic(10), loglikelihood, 0.0)


def horseshoe(num: int = 5) -> Problem:
    """Return means under a horseshoe prior, each observed with unit error."""
    y = np.array([0.3, -0.6, 4.0, 0.1, -3.0])[:num]

    def half_cauchy(log_x: Array, xp=jnp) -> Array:
        return math.log(2 / math.pi) + log_x - xp.log1p(xp.exp(2 * log_x))

    def logprior(z: Array) -> Array:
        return half_cauchy(z[: num + 1]).sum() + stats.norm.logpdf(z[num + 1 :]).sum()

    def loglikelihood(z: Array) -> Array:
        return stats.norm.logpdf(y, jnp.exp(z[0] + z[1 : num + 1]) * z[num + 1 :]).sum()

    def sample(key: Array, n: int) -> Array:
        keys = jax.random.split(key)
        scales = jnp.log(jnp.abs(jax.random.cauchy(keys[0], (n, num + 1))))
        return jnp.concatenate([scales, jax.random.normal(keys[1], (n, num))], 1)

    grid = np.linspace(-25, 25, 2501)
    variance = 1 + np.exp(2 * (grid[:, None] + grid))
    total = half_cauchy(grid, np)
    for value in y:
        inner = (
            half_cauchy(grid, np) - 0.5 * value**2 / variance - 0.5 * np.log(2 * np.pi * variance)
        )
        top = inner.max(1)
        total = total + top + np.log(np.trapezoid(np.exp(inner - top[:, None]), grid, axis=1))
    return _model(Prior(logprior, sample), loglikelihood, _integral(total, grid))


def cauchy_logistic(dimension: int) -> Problem:
    """Return a Cauchy prior and a likelihood that is flat in one tail."""
    grid = np.tan(np.linspace(-np.pi / 2, np.pi / 2, 400_003)[1:-1])
    weights = 1 / len(grid)
    one = float(np.log(np.sum(np.exp(3 * -np.logaddexp(0, -grid))) * weights))
    return _model(_cauchy(dimension), lambda z: 3 * jax.nn.log_sigmoid(z).sum(), dimension * one)


def cauchy_modes() -> Problem:
    """Return two narrow modes far apart under a Cauchy prior, in two dimensions."""

    def one(z: Array, m: float) -> Array:
        return stats.norm.logpdf(z, m, 0.3).sum()

    grid = np.linspace(-20, 20, 400_001)

    def marginal(m: float) -> float:
        normal = -0.5 * ((grid - m) / 0.3) ** 2 - math.log(0.3) - 0.5 * math.log(2 * math.pi)
        return 2 * _integral(normal - np.log(np.pi * (1 + grid**2)), grid)

    truth = float(np.logaddexp(marginal(-6.0), marginal(6.0)))
    return _model(_cauchy(2), lambda z: jnp.logaddexp(one(z, -6.0), one(z, 6.0)), truth)


def gamma_poisson() -> Problem:
    """Return counts with rates Gamma(a, b), log a and log b standard normal, in logarithms."""
    counts = np.array([0, 3, 1, 7, 2, 12, 0, 4, 2, 1])
    num = len(counts)

    def logprior(z: Array) -> Array:
        a, b = jnp.exp(z[0]), jnp.exp(z[1])
        rates = a * z[1] - jax.scipy.special.gammaln(a) + a * z[2:] - b * jnp.exp(z[2:])
        return stats.norm.logpdf(z[:2]).sum() + rates.sum()

    def sample(key: Array, n: int) -> Array:
        keys = jax.random.split(key)
        top = jax.random.normal(keys[0], (n, 2))
        rates = jax.random.loggamma(keys[1], jnp.exp(top[:, :1]), (n, num)) - top[:, 1:]
        return jnp.concatenate([top, rates], 1)

    def loglikelihood(z: Array) -> Array:
        return (counts * z[2:] - jnp.exp(z[2:]) - special.gammaln(counts + 1)).sum()

    grid = np.linspace(-7, 7, 1201)
    a, b = np.exp(grid)[:, None], np.exp(grid)
    log_values = -0.5 * (grid[:, None] ** 2 + grid**2) - math.log(2 * math.pi)
    for y in counts:
        log_values = log_values + (
            special.gammaln(a + y) - special.gammaln(a) - special.gammaln(y + 1)
            + a * np.log(b / (1 + b)) - y * np.log1p(b)
        )  # fmt: skip
    return _model(Prior(logprior, sample), loglikelihood, _integral(log_values, grid, grid))


def many_modes(dimension: int, num: int, scale: float) -> Problem:
    """Return normals of unequal weights at random places."""
    rng = np.random.default_rng(num)
    weights = rng.dirichlet(np.full(num, 2.0))
    return _posterior(
        _normal(dimension, 4.0), _modes(rng.normal(0, 3, (num, dimension)), scale, weights)
    )


def at_the_border() -> Problem:
    """Return an exponential posterior whose mode is a corner of the unit cube, with hard walls."""
    rate = 8.0
    constant = 3 * (math.log(rate) - math.log1p(-math.exp(-rate)))
    return _posterior(_uniform(3), lambda z: constant - rate * z.sum())


def student(dimension: int = 5) -> Problem:
    """Return a posterior with the tails of Student's t, three degrees of freedom."""
    constant = special.gammaln(0.5 * (3 + dimension)) - special.gammaln(1.5)
    constant -= 0.5 * dimension * math.log(3 * math.pi)

    def log_prob(z: Array) -> Array:
        return constant - 0.5 * (3 + dimension) * jnp.log1p(jnp.sum((z - 1) ** 2) / 3)

    return _posterior(_cauchy(dimension), log_prob)


def linear_gaussian(dimension: int) -> Problem:
    """Return a standard normal prior and correlated normal observations of every coordinate."""
    rng = np.random.default_rng(dimension)
    design = rng.normal(size=(2 * dimension, dimension)) / math.sqrt(dimension)
    y = design @ rng.normal(size=dimension) + 0.5 * rng.normal(size=2 * dimension)
    covariance = design @ design.T + 0.25 * np.eye(2 * dimension)
    logdet = np.linalg.slogdet(2 * np.pi * covariance)[1]
    truth = -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * logdet
    return _model(
        _normal(dimension), lambda z: stats.norm.logpdf(y, design @ z, 0.5).sum(), truth, True
    )


def beta_binomial() -> Problem:
    """Return a uniform prior of a probability, as a logit, and 7 successes of 20."""
    truth = math.log(math.comb(20, 7)) + special.betaln(8, 14)

    def loglikelihood(z: Array) -> Array:
        return math.log(math.comb(20, 7)) + (7 * z - 20 * jax.nn.softplus(z)).sum()

    return _model(_logistic(1), loglikelihood, truth, True)


def exponential_rate() -> Problem:
    """Return a rate, Gamma(2, 1), in its logarithm, and 15 waiting times."""
    times = np.random.default_rng(2).exponential(0.5, 15)
    truth = special.gammaln(17) - 17 * np.log1p(times.sum())

    def logprior(z: Array) -> Array:
        return (2 * z - jnp.exp(z)).sum()

    def sample(key: Array, n: int) -> Array:
        return jnp.log(jax.random.gamma(key, 2.0, (n, 1)))

    return _model(
        Prior(logprior, sample),
        lambda z: (15 * z - jnp.exp(z) * times.sum()).sum(),
        truth,
        True,
    )


def two_modes(dimension: int) -> Problem:
    """Return two equal normal modes at a distance of eight standard deviations."""
    means = np.array([np.full(dimension, -1.0), np.full(dimension, 1.0)])
    scale = 2 * math.sqrt(dimension) / 8
    return _posterior(_normal(dimension, 2.0), _modes(means, scale), True)


def skewed() -> Problem:
    """Return four independent coordinates, each the logarithm of a Gamma(2) variable."""
    return _posterior(_normal(4, 3.0), lambda z: (2 * z - jnp.exp(z)).sum(), True)


def correlated(dimension: int, correlation: float) -> Problem:
    """Return a normal posterior with equal correlations."""
    covariance = (1 - correlation) * np.eye(dimension) + correlation
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    logdet = np.linalg.slogdet(covariance)[1]

    def log_prob(z: Array) -> Array:
        return stats.norm.logpdf(whitening @ (z - 1)).sum() - 0.5 * logdet

    return _posterior(_normal(dimension, 2.0), log_prob, True)


def state_space(length: int) -> Problem:
    """A random walk observed with noise, in terms of its innovations; evidence by Kalman filter."""
    innovation, noise = 0.3, 0.5
    rng = np.random.default_rng(0)
    walk = np.cumsum(innovation * rng.standard_normal(length))
    y = walk + noise * rng.standard_normal(length)
    mean, variance, log_evidence = 0.0, 0.0, 0.0
    for value in y:
        variance += innovation**2
        predicted = variance + noise**2
        log_evidence -= 0.5 * math.log(2 * math.pi * predicted)
        log_evidence -= 0.5 * (value - mean) ** 2 / predicted
        gain = variance / predicted
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    prior = _normal(length)

    def loglikelihood(z: Array) -> Array:
        return stats.norm.logpdf(jnp.asarray(y), innovation * jnp.cumsum(z), noise).sum()

    return Problem(
        te.TemperedTarget(prior.log_prob, loglikelihood), prior.sample, log_evidence, is_easy=True
    )


MAKERS: dict[str, Callable[[], Problem]] = {
    "state-space-107": partial(state_space, 107),
    "linear-gaussian-2": partial(linear_gaussian, 2),
    "linear-gaussian-10": partial(linear_gaussian, 10),
    "linear-gaussian-30": partial(linear_gaussian, 30),
    "beta-binomial": beta_binomial,
    "exponential-rate": exponential_rate,
    "two-modes-2": partial(two_modes, 2),
    "two-modes-5": partial(two_modes, 5),
    "skewed-4": skewed,
    "correlated-5": partial(correlated, 5, 0.9),
    "correlated-20": partial(correlated, 20, 0.99),
    "egg-box": partial(egg_box, False),
    "egg-box-walls": partial(egg_box, True),
    "bananas-10": bananas,
    "rosenbrock-10": rosenbrock,
    "labels-4": labels,
    "ring-10": ring,
    "factor-model-10": factor_model,
    "random-effects-26": partial(hierarchy, _effects(24), 1.0, 2.0, 1.0, False),
    "random-effects-26-centred": partial(hierarchy, _effects(24), 1.0, 2.0, 1.0, True),
    "eight-schools": partial(hierarchy, SCHOOLS, SCHOOLS_ERROR, 5.0, 5.0, False),
    "eight-schools-centred": partial(hierarchy, SCHOOLS, SCHOOLS_ERROR, 5.0, 5.0, True),
    "funnel-10": funnel,
    "ill-conditioned-50": ill_conditioned,
    "period": period,
    "narrow-peak-4": partial(peaks, 4, 0.1, 0.6, 3.0),
    "narrower-peak-2": partial(peaks, 2, 0.02, 0.5, 2.0),
    "spike-and-slab-12": partial(spike_and_slab, 12),
    "log-gamma-10": log_gamma,
    "horseshoe-11": horseshoe,
    "cauchy-logistic-1": partial(cauchy_logistic, 1),
    "cauchy-logistic-4": partial(cauchy_logistic, 4),
    "cauchy-modes-2": cauchy_modes,
    "gamma-poisson-12": gamma_poisson,
    "many-modes-2": partial(many_modes, 2, 30, 0.15),
    "many-modes-5": partial(many_modes, 5, 20, 0.3),
    "grid-of-modes-2": lambda: _posterior(
        _normal(2, 4.0), _modes(2.0 * np.array(list(product(range(-2, 3), repeat=2)), float), 0.2)
    ),
    "corner-3": at_the_border,
    "student-5": student,
}
