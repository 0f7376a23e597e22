"""Decisive checks of references and of what is made with them, each an AssertionError if wrong."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, special, stats

import tempered_ebm as te
from tempered_ebm.evidence import (
    _mixtures as mixtures,
)
from tempered_ebm.evidence import (
    _reference as reference,
)
from tempered_ebm.evidence import (
    _reference_fit as fitting,
)
from tests import ground_truths as gt
from tests.evidence import checks_evidence

TAILS = (0.1, 3.0)
"""Share and degrees of freedom of the Student's t that every component has, as documented."""

NUM_SETS = 400


def operand(target: te.TemperedTarget) -> te.TemperedTarget:
    """The target as compiled functions take it: a pytree, here without leaves."""
    return te.TemperedTarget(*map(jax.tree_util.Partial, target))


def _self_consistent(ladder: np.ndarray, draws: np.ndarray, extra: np.ndarray) -> float:
    """Fixed-point iteration of the MBAR equations with ``N_0 = n + M``, as they are written."""
    pooled = np.concatenate([draws.ravel(), extra])
    numbers = np.full(len(ladder), float(draws.shape[1]))
    numbers[0] += len(extra)
    # 0 * -inf is 0: an impossible draw of the prior.
    products = np.column_stack([np.zeros(len(pooled)), np.outer(pooled, ladder[1:])])
    f = np.zeros(len(ladder))
    for _ in range(20_000):
        log_mixture = special.logsumexp(np.log(numbers) + products - f, axis=1)
        new = special.logsumexp(products - log_mixture[:, None], axis=0)
        new -= new[0]
        if np.abs(new - f).max() < 1e-13:
            break
        f = new
    return float(f[-1])


def unequal_numbers_solve_the_equation() -> None:
    """With more draws of the prior, also impossible ones, MBAR solves its equation to 1e-8."""
    for path in gt.REFERENCE_PATHS.values():
        for num in (2, 4):
            ladder = checks_evidence.power_ladder(num)
            draws = checks_evidence.exact_draws(path, ladder, 50, seed=1)
            for size in (37, 400):
                extra = checks_evidence.exact_draws(path, ladder[:1], size, seed=2)[0]
                for values in (extra, np.where(np.arange(size) % 3 == 1, -np.inf, extra)):
                    with jax.enable_x64(True):
                        got = jax.jit(te.mbar)(ladder, draws, prior_loglikelihoods=values)
                    expected = _self_consistent(ladder, draws, values)
                    np.testing.assert_allclose(
                        got.log_evidence, expected, atol=1e-8, err_msg=f"K={num}, M={size}"
                    )


def extra_draws_keep_errors_honest(num: int, num_extra: int) -> None:
    """The error bar is that of the estimate over many data sets with M more draws of the prior."""
    path, ladder, rng = gt.LINEAR_GAUSSIAN, checks_evidence.power_ladder(num), gt.rng(17)
    n = 256
    noise = rng.standard_normal((NUM_SETS, num, n, 2))
    draws = checks_evidence.loglikelihood_of_normals(path, ladder, noise).astype(np.float32)
    extra = path.loglikelihood(path.sample(rng, 0.0, NUM_SETS * num_extra))
    extra = extra.reshape(NUM_SETS, num_extra).astype(np.float32)

    def estimate(both):
        return te.mbar(jnp.asarray(ladder, jnp.float32), both[0], prior_loglikelihoods=both[1])[:2]

    values, errors = jax.jit(lambda both: jax.lax.map(estimate, both, batch_size=40))(
        (draws, extra)
    )
    z = (np.asarray(values, np.float64) - path.log_z(1.0)) / np.asarray(errors, np.float64)
    low, high = (limit**2 for limit in checks_evidence.HONEST)
    label = f"K={num}, M={num_extra}"
    gt.assert_expectations(z**2, (high + low) / 2, label, slack=(high - low) / 2)


def impossible_extra_draws_leave_a_binomial_error() -> None:
    """A quarter of the prior has a likelihood of one, the rest none: the error is that of a share.

    By the delta method the standard deviation of the logarithm of a share q of n draws is
    ``sqrt((1 - q) / (q n))``.
    """
    possible = np.random.default_rng(0).random(40_000) < 0.25
    extra = np.where(possible, 0.0, -np.inf).astype(np.float32)
    draws = np.stack([extra[:500], np.zeros(500)]).astype(np.float32)
    estimate = jax.jit(te.mbar)(np.array([0.0, 1.0]), draws, prior_loglikelihoods=extra[500:])
    np.testing.assert_allclose(estimate.standard_error, math.sqrt(3 / 40_000), rtol=0.1)
    np.testing.assert_allclose(estimate.log_evidence, math.log(possible.mean()), atol=1e-4)


def mixture_of_two(dimension: int) -> mixtures.Mixture:
    """Unequal weights and scales, and correlations of both signs."""
    correlation = np.eye(dimension)
    if dimension > 1:
        correlation += 0.45 * (np.eye(dimension, k=1) + np.eye(dimension, k=-1))
    flipped = 2 * np.eye(dimension) - correlation
    scale = 1 + np.arange(dimension)
    covariances = np.stack([correlation * np.outer(scale, scale), 0.09 * flipped])
    means = np.stack([np.linspace(-1.0, 0.5, dimension), np.linspace(2.0, 3.0, dimension)])
    return mixtures.Mixture(np.array([0.7, 0.3]), means, covariances)


def used(r: reference.Reference) -> reference.Reference:
    """Without the components of weight zero."""
    return reference.Reference(*(leaf[~np.isneginf(r.log_weights)] for leaf in r))


def in_double(dimension: int) -> reference.Reference:
    with jax.enable_x64(True):
        return used(fitting.as_reference(mixture_of_two(dimension), jnp.float64))


def log_prob(r: reference.Reference, z: np.ndarray) -> jax.Array:
    return jax.jit(lambda r, z: r.log_prob(z))(r, jnp.asarray(z))


def sample(r: reference.Reference, key: jax.Array, num: int) -> np.ndarray:
    return np.asarray(jax.jit(lambda r, key: r.sample(key, num))(r, key))


def density(r: reference.Reference, z: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.exp(np.asarray(log_prob(r, z)))


def _sinh_grid(num: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes out to ``sinh(reach)`` and their weights; the trapezoid rule in the argument."""
    u = np.linspace(-reach, reach, num)
    return np.sinh(u), np.cosh(u) * (u[1] - u[0])


def _plane() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = _sinh_grid(401, 8.0)
    z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    return z, np.outer(weights, weights).ravel()


def reference_integrates_to_one() -> None:
    """On the line to 1e-9, and in the plane, where tails are cut at 1500, to 1e-7."""
    nodes, weights = _sinh_grid(4_001, 14.0)
    line = weights @ density(in_double(1), nodes[:, None])
    z, weights = _plane()
    plane = weights @ density(in_double(2), z)
    np.testing.assert_allclose([line, plane], 1.0, atol=1e-7)
    np.testing.assert_allclose(line, 1.0, atol=1e-9)


def _bounded(z: np.ndarray) -> np.ndarray:
    """Statistics that see place, scale, correlation and weight of the tails."""
    first, second = z.T
    bump = np.exp(-0.5 * ((first - 2.5) ** 2 + (second - 3) ** 2))
    squares = first**2 + second**2
    return np.column_stack([
        np.tanh(first), np.tanh(second), np.tanh(first * second), bump,
        squares / (10 + squares), squares / (100 + squares), squares / (1000 + squares),
    ])  # fmt: skip


def draws_follow_the_density() -> None:
    """On the line by the integrated density; in the plane by expectations by quadrature."""
    r = in_double(1)
    nodes, _ = _sinh_grid(8_001, 10.0)
    cdf = integrate.cumulative_simpson(
        density(r, nodes[:, None]) * np.sqrt(1 + nodes**2), x=np.arcsinh(nodes), initial=0.0
    )
    with jax.enable_x64(True):
        line = sample(r, gt.key(5), 1_000_000)[:, 0]
        plane = sample(in_double(2), gt.key(6), 400_000)
    gt.assert_law(line, lambda z: np.interp(z, nodes, cdf), "reference on the line")
    z, weights = _plane()
    expected = (weights * density(in_double(2), z)) @ _bounded(z)
    gt.assert_expectations(_bounded(plane), expected, "reference in the plane")


def weights_have_mean_one() -> None:
    """``E_r[p / r] = 1`` for a normal p of twice the spread, where tails count, in float32."""
    for dimension in (1, 2):
        mixture = mixture_of_two(dimension)
        r = used(fitting.as_reference(mixture, jnp.float32))
        mean, covariance = (jnp.asarray(leaf[0], jnp.float32) for leaf in mixture[1:])

        def logpdf(z, mean=mean, covariance=covariance):
            return jax.scipy.stats.multivariate_normal.logpdf(z, mean, 4 * covariance)

        target = operand(te.TemperedTarget(logpdf, lambda z: jnp.zeros(z.shape[:-1])))
        _, log_weights, _ = reference.importance_draws(gt.key(dimension), target, r, 200_000)
        gt.assert_expectations(np.exp(log_weights), 1.0, f"weights in {dimension} dimensions")


def densities_agree() -> None:
    """NumPy's mixture with tails is the device's reference, in double and in single precision."""
    for dimension in (1, 2, 7):
        mixture, rng = mixture_of_two(dimension), np.random.default_rng(dimension)
        z = 4 * rng.standard_t(2, (500, dimension))
        expected = mixtures.log_density(mixture, z, tails=TAILS)
        with jax.enable_x64(True):
            double = log_prob(fitting.as_reference(mixture, jnp.float64), z)
        single = log_prob(fitting.as_reference(mixture, jnp.float32), z.astype(np.float32))
        np.testing.assert_allclose(double, expected, atol=1e-10)
        np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-5)
        written = _log_density_as_it_is_written(mixture, z)
        np.testing.assert_allclose(expected, written, atol=1e-9)


def _log_density_as_it_is_written(mixture: mixtures.Mixture, z: np.ndarray) -> np.ndarray:
    share, freedom = TAILS
    total = np.zeros(len(z))
    for weight, mean, covariance in zip(*mixture, strict=True):
        normal = stats.multivariate_normal(mean, covariance).pdf(z)
        student = stats.multivariate_t(mean, covariance, freedom).pdf(z)
        total += weight * ((1 - share) * normal + share * student)
    return np.log(total)


def unused_components_change_nothing() -> None:
    """Components of weight zero are never drawn, and add nothing where they are centred."""
    mixture = mixture_of_two(2)
    r = fitting.as_reference(mixture, jnp.float32)
    assert len(r.log_weights) > 2
    assert np.isneginf(r.log_weights[2:]).all()
    far = r._replace(means=r.means.at[2:].set(1e6))
    draws = sample(far, jax.random.key(1), 50_000)
    assert np.abs(draws).max() < 1e5
    bare = used(r)
    at = jnp.concatenate([jnp.asarray(draws[:100]), jnp.full((1, 2), 1e6)])
    got = log_prob(far, at)
    np.testing.assert_allclose(got, log_prob(bare, at), rtol=1e-6)
    assert math.isfinite(float(got[-1]))


def _as_moments(z: np.ndarray, weights: np.ndarray) -> gt.Moments:
    shares = weights / weights.sum()
    mean = shares @ z
    return gt.Moments(mean, (z - mean).T @ np.diag(shares) @ (z - mean))


def one_component_is_the_weighted_moments() -> None:
    """Exactly, up to the documented shrinkage, which leaves one covariance as it is."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((300, 3)) @ np.array([[1.0, 0, 0], [0.5, 2, 0], [0, -1, 0.1]])
    weights = rng.exponential(size=300)
    fit = mixtures.fit(z, weights / weights.sum(), 1, rng)
    expected = _as_moments(z, weights)
    np.testing.assert_allclose(fit.weights, [1.0])
    np.testing.assert_allclose(fit.means[0], expected.mean, atol=1e-12)
    np.testing.assert_allclose(fit.covariances[0], expected.covariance, rtol=1e-7, atol=1e-9)


def covariances_shrink_as_documented() -> None:
    """On two far clusters: ``(n_j C_j + (d + 1) W) / (n_j + d + 1)``, d = 2."""
    rng = np.random.default_rng(1)
    near, far = rng.standard_normal((30, 2)), 100 + 0.1 * rng.standard_normal((10, 2))
    z, weights = np.concatenate([near, far]), np.full(40, 1 / 40)
    fit = mixtures.fit(z, weights, 2, rng)
    order = np.argsort(fit.means[:, 0])
    own = [np.cov(points.T, ddof=0) for points in (near, far)]
    within = 0.75 * own[0] + 0.25 * own[1]
    for j, (n, covariance) in zip(order, zip((30, 10), own, strict=True), strict=True):
        expected = (n * covariance + 3 * within) / (n + 3)
        np.testing.assert_allclose(fit.covariances[j], expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(fit.weights[order], [0.75, 0.25], rtol=1e-9)


def two_components_are_recovered(weighted: bool) -> None:
    """From 40,000 draws: also from draws of even shares that are weighted to .7 and .3."""
    truth, rng = mixture_of_two(2), np.random.default_rng(2)
    shares = np.array([0.5, 0.5]) if weighted else truth.weights
    component = rng.choice(2, 40_000, p=shares)
    noise = rng.standard_normal((40_000, 2))
    factors = np.linalg.cholesky(truth.covariances)
    z = truth.means[component] + np.einsum("nab,nb->na", factors[component], noise)
    weights = (truth.weights / shares)[component]
    fit = mixtures.fit(z, weights / weights.sum(), 2, rng)
    order = np.argsort(-fit.weights)
    np.testing.assert_allclose(fit.weights[order], truth.weights, atol=0.02)
    np.testing.assert_allclose(fit.means[order], truth.means, atol=0.06)
    np.testing.assert_allclose(fit.covariances[order], truth.covariances, rtol=0.1, atol=0.01)


def no_fit_is_singular() -> None:
    """Two points many times over, points on a line, one weight that holds everything."""
    rng = np.random.default_rng(3)
    line = np.outer(rng.standard_normal(50), [1.0, 2.0, 3.0])
    heavy = np.full(50, 1e-12)
    heavy[7] = 1.0
    even = np.full(50, 1 / 50)
    cases = {
        "duplicates": (np.repeat([[0.0, 1.0, 2.0], [1.0, 1.0, 5.0]], 25, axis=0), even),
        "a line": (line, even),
        "one weight": (rng.standard_normal((50, 3)), heavy / heavy.sum()),
    }
    for name, (z, weights) in cases.items():
        for num in (1, 2, 4):
            try:
                fit = mixtures.fit(z, weights, num, rng)
            except np.linalg.LinAlgError as error:
                raise AssertionError(f"{name}, {num} normals: {error}") from error
            scale = np.sqrt(np.diagonal(fit.covariances, axis1=1, axis2=2))
            correlations = fit.covariances / (scale[:, :, None] * scale[:, None, :])
            assert np.linalg.eigvalsh(correlations).min() > 1e-12, (name, num)
            assert np.isfinite(mixtures.log_density(fit, z)).all(), (name, num)


def effective_share(fit: fitting.Fit, target: te.TemperedTarget, num: int = 20_000) -> float:
    """Of fresh draws of the reference."""
    draws = reference.importance_draws(jax.random.key(99), operand(target), fit.reference, num)
    weights = np.exp(np.asarray(draws[1], np.float64) - float(draws[1].max()))
    return float(weights.sum() ** 2 / np.sum(weights**2) / num)


def fitted(
    target: te.TemperedTarget,
    particles: np.ndarray,
    history: np.ndarray | None = None,
    seed: int = 0,
) -> fitting.Fit:
    particles = jnp.asarray(particles, jnp.float32)
    log_joint = target.logprior_fn(particles) + target.loglikelihood_fn(particles)
    history = particles[None] if history is None else history
    return fitting.fit_reference(
        jax.random.key(seed), operand(target), particles, log_joint, history, particles, 1024
    )


def gaussian_posterior(dimension: int):
    """A normal prior and a correlated normal likelihood, and the posterior's moments."""
    rng = np.random.default_rng(dimension)
    root = rng.standard_normal((dimension, dimension)) / math.sqrt(dimension)
    precision = 10 * root @ root.T + np.eye(dimension)
    centre = rng.standard_normal(dimension)
    covariance = np.linalg.inv(precision + np.eye(dimension))
    single = jnp.asarray(precision, jnp.float32), jnp.asarray(centre, jnp.float32)

    def loglikelihood(z):
        shift = z - single[1]
        return -0.5 * jnp.sum(shift @ single[0] * shift, -1)

    target = te.TemperedTarget(lambda z: jax.scipy.stats.norm.logpdf(z).sum(-1), loglikelihood)
    return target, gt.Moments(covariance @ precision @ centre, covariance)


def a_gaussian_posterior_is_fitted(dimension: int) -> None:
    """Nine tenths of the draws count; its log evidence is in the weights."""
    target, posterior = gaussian_posterior(dimension)
    rng = np.random.default_rng(0)
    fit = fitted(target, rng.multivariate_normal(*posterior, size=128))
    assert effective_share(fit, target) > 0.9
    assert abs(fit.ess - effective_share(fit, target)) < 0.1
    assert fit.num_gradients > 0
    assert fit.num_values >= 4_000


def masses(r: reference.Reference, centres: np.ndarray) -> np.ndarray:
    """Share of the reference's draws nearest to each centre."""
    z = sample(r, jax.random.key(5), 20_000)
    nearest = np.argmin(np.sum((z[:, None] - centres) ** 2, -1), axis=1)
    return np.bincount(nearest, minlength=len(centres)) / len(z)


def errors_of_whole_jobs_are_honest(name: str, path: str) -> None:
    """Over 60 seeds, each with prior draws, exploration, fit and ladder of its own.

    At the false-alarm rate of all tests, so few seeds notice an error bar of less than about half
    the right length, and none that is too long.
    """
    truth, rows = gt.REFERENCE_PATHS[name], []
    target = truth.target
    options = {"path": path, "budget": 12_000}
    if path == "prior":
        options |= {"num_temperatures": 5, "num_ensembles": 16, "pilot_rounds": 2}
        options |= {"pilot_steps": 20, "budget": 20_000}
    for seed in range(60):
        start = jnp.asarray(truth.sample(gt.rng(seed), 0.0, 256), jnp.float32)
        report = te.log_evidence(gt.key(seed), target, start, **options)
        rows.append((report.log_evidence - truth.log_z(1.0)) / report.standard_error)
    low, high = (limit**2 for limit in checks_evidence.HONEST)
    squares = np.square(rows)
    gt.assert_expectations(squares, (high + low) / 2, f"{name}, {path}", slack=(high - low) / 2)


def a_whole_job_is_within_its_error(path=gt.SKEWED_GAMMA) -> te.evidence.EvidenceReport:
    """From a reference, with the settings and shapes of other tests, which share its programs."""
    start = jnp.asarray(path.sample(gt.rng(0), 0.0, 256), jnp.float32)
    report = te.log_evidence(
        gt.key(0), path.target, start, path="reference", num_samples=100, num_ensembles=32
    )
    assert report.standard_error < 0.002
    # 32 ensembles: Student's with 31 degrees of freedom.
    z = (report.log_evidence - path.log_z(1.0)) / report.standard_error
    assert abs(z) < gt.z_threshold(1, 32), f"z = {z}"
    return report
