"""Decisive checks of likelihoods, learning objectives and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import tempered_ebm as te
from tests import ground_truths as gt


def gaussian_log_density() -> None:
    """The Gaussian likelihood is a full log-density, with its normalising constant."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for sigma in (0.3, 2.0):
            x, output = rng.normal(size=(2, 4, 3, 2))
            got = te.likelihoods.gaussian(sigma).log_prob(
                jnp.asarray(x), jnp.asarray(output), event_ndim=2
            )
            expected = stats.norm(output, sigma).logpdf(x).sum((1, 2))
            np.testing.assert_allclose(got, expected, rtol=1e-12)


# ------------------------------------------------- learning, in one dimension

S2, X = 0.09, 1.5
PARAMS = np.array([0.4, 0.7])


def log_z(t, params):
    """Log E exp(t l) over the prior N(a, 1), with l = log N(x; b z, s2)."""
    a, b = params[0], params[1]
    variance = S2 + t * b**2
    constant = -0.5 * t * np.log(2 * np.pi * S2) - 0.5 * jnp.log(variance / S2)
    return constant - 0.5 * t * (X - a * b) ** 2 / variance


def path_objective(weight):
    """``params -> int w(t) log Z_t dt`` by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    nodes, weights = (nodes + 1) / 2, weights / 2

    def objective(params):
        return jnp.sum(weights * weight(nodes) * log_z(nodes, params))

    return objective


def path_objective_gradient(weight) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.grad(path_objective(weight)))(jnp.asarray(PARAMS)))


def tempered_moments(t: float) -> tuple[float, float]:
    a, b = PARAMS
    precision = 1 + t * b**2 / S2
    return (a + t * b * X / S2) / precision, precision**-0.5


def draws_with_exact_moments(t: float) -> np.ndarray:
    """Two draws are enough: l and its gradient are quadratic in z, f is linear."""
    mean, deviation = tempered_moments(t)
    return np.array([mean - deviation, mean + deviation])


def mean_gradients(t: float) -> np.ndarray:
    """(E_t[z] - E_0[z], E_t[d l / d b]), from the moments."""
    mean, deviation = tempered_moments(t)
    a, b = PARAMS
    return np.array([mean - a, (X * mean - b * (mean**2 + deviation**2)) / S2])


def estimate_gradient(estimator, num: int = 2, ladder=None) -> np.ndarray:
    """Gradient in (a, b) of the estimator's objective at draws with exact moments."""
    ladder = np.linspace(0, 1, num) if ladder is None else ladder
    z = np.stack([draws_with_exact_moments(t) for t in ladder])

    def objective(params):
        ell = -0.5 * (X - params[1] * z[..., None]) ** 2 / S2
        f = params[0] * z[..., None]
        return estimator.objective(jnp.asarray(ladder), ell, f, f[0].ravel())

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.grad(objective))(jnp.asarray(PARAMS)))


def nodes(t: float, num: int) -> np.ndarray:
    """Quantiles of q_t at the midpoints of equal shares of probability."""
    mean, deviation = tempered_moments(t)
    return mean + deviation * stats.norm.ppf((np.arange(num) + 0.5) / num)


def gradient_at_nodes(estimator, ladder, num: int) -> np.ndarray:
    """Gradient in (a, b) at many equally likely chains of each rung."""
    z = np.stack([nodes(t, num) for t in ladder])[..., None]

    def objective(params):
        ell = -0.5 * np.log(2 * np.pi * S2) - 0.5 * (X - params[1] * z) ** 2 / S2
        f = params[0] * z
        return estimator.objective(jnp.asarray(ladder), ell, f, f[0].ravel())

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.grad(objective))(jnp.asarray(PARAMS)))


def trapezoid_gradient(ladder) -> np.ndarray:
    """Gradient of the trapezoidal sum of E_t[l], from the closed form of log Z_t."""
    ladder = jnp.asarray(ladder)

    def total(params):
        integrand = jax.vmap(jax.grad(log_z), in_axes=(0, None))(ladder, params)
        return jnp.trapezoid(integrand, ladder)

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.grad(total))(jnp.asarray(PARAMS)))


def covariance_gradient_is_that_of_the_integral() -> None:
    """Of the trapezoidal sum at any ladder, and of log p(x) as the ladder fills up."""
    for ladder in ((np.arange(6) / 5) ** 3, (np.arange(201) / 200) ** 3):
        got = gradient_at_nodes(te.learning.covariance(), ladder, 4_000)
        np.testing.assert_allclose(got, trapezoid_gradient(ladder), rtol=5e-3)
    np.testing.assert_allclose(got, [1.4724, 2.7316], rtol=5e-3)


def pooled_gradient_is_exact_on_a_coarse_ladder() -> None:
    """Reweighting leaves no discretisation: five rungs, many draws, the gradient of log p(x)."""
    for ladder in ((np.arange(5) / 4) ** 3, np.array([0.0, 0.3, 1.0])):
        got = gradient_at_nodes(te.learning.pooled(), ladder, 2_000)
        np.testing.assert_allclose(got, [1.4724, 2.7316], rtol=5e-3)


def posterior_gradient_is_exact() -> None:
    """Fisher's identity: the surrogate's gradient is the gradient of log p(x)."""
    np.testing.assert_allclose(
        estimate_gradient(te.learning.posterior()), [1.4724, 2.7316], atol=1e-4
    )
    with jax.enable_x64(True):
        exact = jax.jit(jax.grad(lambda p: log_z(1.0, p)))(jnp.asarray(PARAMS))
    np.testing.assert_allclose(estimate_gradient(te.learning.posterior()), exact, rtol=1e-10)


# ------------------------------------------------- statistics of gradients


def gradient_statistics_are_unbiased(with_noisy_reference: bool = False) -> None:
    """Means over many experiments are the parts that the estimates were made of."""
    rng, experiments, batches, repeats, n = gt.rng(77), 4_000, 5, 3, 4
    minibatch, mcmc, noise = 0.8, 1.7, 0.6
    mean, bias = rng.normal(size=n), np.array([0.5, 0.0, -1.0, 0.2])
    exact = mean + minibatch * rng.normal(size=(experiments, batches, n))
    estimates = (exact + bias)[:, :, None] + mcmc * rng.normal(
        size=(experiments, batches, repeats, n)
    )
    if with_noisy_reference:
        exact = exact + noise * rng.normal(size=exact.shape)

    @jax.jit
    @jax.vmap
    def analyse(g, reference):
        return te.learning.gradient_statistics({"w": g}, {"w": reference})["w"]

    with jax.enable_x64(True):
        got = analyse(jnp.asarray(estimates), jnp.asarray(exact))
    centre = mean + bias
    expected = {
        "mcmc_variance": n * mcmc**2,
        "minibatch_variance": n * minibatch**2,
        "variance": n * (mcmc**2 + minibatch**2),
        "squared_norm": centre @ centre,
        "squared_bias": bias @ bias,
    }
    samples = np.column_stack([getattr(got, name) for name in expected])
    gt.assert_expectations(samples, np.array(list(expected.values())), "gradient statistics")
    claimed = float(np.sqrt(np.mean(np.asarray(got.squared_bias_error) ** 2)))
    spread = float(np.std(np.asarray(got.squared_bias)))
    assert 0.8 < claimed / spread < 1.6, f"standard error {claimed:.3f}, spread {spread:.3f}"


# ------------------------------------------------- the latent EBM, linear and Gaussian


class Pure(NamedTuple):
    """A network of no framework."""

    init: Callable
    apply: Callable


SIGMA = 0.6
WEIGHTS = jnp.array([[1.0, -0.4, 0.8], [0.5, 1.2, -0.7]])
LINEAR_PARAMS = te.models.LatentEBMParams(
    jnp.array([0.7, -0.5]), (WEIGHTS, jnp.array([0.1, 0, -0.2]))
)
OBSERVATIONS = jnp.array([[1.5, -0.7, 1.0], [-0.3, 0.4, 0.2], [0.2, 1.8, -1.1]])


def linear_ebm(prior_steps: int = 40, posterior_steps: int = 60, **kwargs) -> te.models.LatentEBM:
    """f(z) = a.z, so the prior is N(a, I); g(z) = z W + b, so everything is Gaussian."""
    return te.models.LatentEBM(
        prior_network=Pure(lambda key, z: jnp.zeros(2), lambda a, z: z @ a),
        generator=Pure(
            lambda key, z: (jnp.zeros((2, 3)), jnp.zeros(3)), lambda p, z: z @ p[0] + p[1]
        ),
        likelihood=te.likelihoods.gaussian(SIGMA),
        latent_dim=2,
        prior_chain=te.models.ChainSettings(prior_steps, 0.8),
        posterior_chain=te.models.ChainSettings(posterior_steps, 0.15),
        metropolis=kwargs.pop("metropolis", True),
        **kwargs,
    )


def linear_log_evidence(params, x):
    """Log N(x; a W + b, W'W + sigma^2 I) for each row of x."""
    W, b = params.generator
    covariance = W.T @ W + SIGMA**2 * jnp.eye(3)
    return jax.scipy.stats.multivariate_normal.logpdf(x, params.prior @ W + b, covariance)


def linear_posterior(params, x, t=1.0):
    """Mean (n, 2) and covariance of q_t."""
    W, b = params.generator
    covariance = np.linalg.inv(np.eye(2) + t * np.asarray(W @ W.T) / SIGMA**2)
    mean = (params.prior + t * (x - b) @ W.T / SIGMA**2) @ covariance
    return np.asarray(mean), covariance


def linear_trapezoid(ladder):
    """``params -> sum_k w_k E_t[l]``, averaged over the observations."""

    def log_z_at(t, params):
        W, b = params.generator
        covariance = W.T @ W + SIGMA**2 / t * jnp.eye(3)
        log_normal = jax.scipy.stats.multivariate_normal.logpdf(
            OBSERVATIONS, params.prior @ W + b, covariance
        )
        # N(x; ., sigma^2)^t is a multiple of N(x; ., sigma^2 / t).
        constant = 1.5 * (1 - t) * jnp.log(2 * jnp.pi * SIGMA**2) - 1.5 * jnp.log(t)
        return jnp.mean(log_normal) + constant

    def objective(params):
        rungs = jnp.maximum(jnp.asarray(ladder), 1e-9)
        integrand = jax.vmap(jax.grad(log_z_at), in_axes=(0, None))(rungs, params)
        return jnp.trapezoid(integrand, rungs)

    return objective


LEARNING_LADDER = (np.arange(6) / 5) ** 3


def learning_gradient(
    name: str = "posterior", repeats: int = 64, batch: int = 240, **settings
) -> None:
    """The mean gradient of minus the loss is the gradient that the estimator promises.

    That of log p(x), or for the covariance that of the trapezoidal sum on its ladder.
    """
    ebm = linear_ebm(**settings)
    x = jnp.tile(OBSERVATIONS, (batch // 3, 1))
    ladder = None if name == "posterior" else jnp.asarray(LEARNING_LADDER)
    estimator = getattr(te.learning, name)()
    chains = {"posterior": 1, "covariance": 2, "pooled": 8}[name]

    def loss(params, key):
        return -ebm.loss(
            key, params, x, estimator=estimator, temperatures=ladder, num_chains=chains
        )

    gradient = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(
        LINEAR_PARAMS, jax.random.split(gt.key(0), repeats)
    )
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), LINEAR_PARAMS)
        objective = linear_trapezoid(LEARNING_LADDER)
        if name != "covariance":
            objective = lambda p: jnp.mean(linear_log_evidence(p, OBSERVATIONS))  # noqa: E731
        exact = jax.jit(jax.grad(objective))(params)
    got, expected = (
        np.concatenate([np.asarray(v).reshape(lead, -1) for v in jax.tree.leaves(tree)], 1)
        for tree, lead in ((gradient, repeats), (exact, 1))
    )
    if not np.max(got.std(0)) < 0.5:
        raise RuntimeError("this check cannot fail: the estimates are too noisy")
    # A ratio of 48 draws: its bias is a fraction of a hundredth of the gradient's size.
    slack = 0.01 * np.abs(expected[0]).max() if name == "pooled" else 0.0
    gt.assert_expectations(got, expected[0], f"learning gradient, {name}", slack=slack)


def prior_follows_the_sign_of_f() -> None:
    """The prior chains go where exp(f) says: f = a.z shifts the mean of N(0, I) to a."""
    ebm = linear_ebm()
    z = ebm.sample_prior(gt.key(0), LINEAR_PARAMS, 50_000)
    samples = np.column_stack([z, np.asarray(z) ** 2])
    a = np.asarray(LINEAR_PARAMS.prior)
    gt.assert_expectations(samples, np.concatenate([a, 1 + a**2]), "prior chains")


def posterior_chains() -> None:
    """The tempered posterior chains have the closed-form law on every rung."""
    ebm = linear_ebm()
    x = jnp.tile(OBSERVATIONS[:1], (50_000, 1))
    ladder = jnp.array([0.0, 0.3, 1.0])
    z = ebm.sample_posterior(gt.key(0), LINEAR_PARAMS, x, ladder)
    for k, t in enumerate(np.asarray(ladder, float)):
        mean, covariance = linear_posterior(LINEAR_PARAMS, x[:1], t)
        d = np.asarray(z[k], np.float64) - mean
        samples = np.column_stack([d, d**2, d.prod(1)])
        expected = np.concatenate([np.zeros(2), np.diag(covariance), covariance[:1, 1]])
        gt.assert_expectations(samples, expected, f"posterior chains, t={t}")


def mlp_ebm(**kwargs) -> te.models.LatentEBM:
    return te.models.LatentEBM(
        prior_network=te.networks.mlp_network((8,)),
        generator=te.networks.mlp_generator((2, 2, 1), widths=(8,)),
        likelihood=te.likelihoods.gaussian(0.3),
        latent_dim=2,
        prior_chain=te.models.ChainSettings(4, 0.08),
        posterior_chain=te.models.ChainSettings(4, 0.01),
        **kwargs,
    )


IMAGES = jnp.asarray(np.random.default_rng(5).uniform(-1, 1, (6, 2, 2, 1)), jnp.float32)


def ascent_raises_the_contrast() -> None:
    """One ascent step in the prior parameters raises E_post f - E_prior f at those draws."""
    ebm = mlp_ebm()
    params = jax.jit(ebm.init)(jax.random.key(0))

    @jax.jit
    def step(params, key):
        draws = ebm.draw(key, params, IMAGES)

        def contrast(params):
            f_posterior = ebm.negative_energy(params, draws.posterior.position)
            return f_posterior.mean() - ebm.negative_energy(params, draws.prior.position).mean()

        objective = ebm.objective
        gradient = jax.grad(objective)(params, IMAGES, draws, te.learning.posterior())
        prior = jax.tree.map(lambda p, g: p + 1e-3 * g, params.prior, gradient.prior)
        return contrast(params), contrast(params._replace(prior=prior))

    before, after = step(params, jax.random.key(1))
    assert after > before + 1e-6, f"contrast {before} -> {after}"


def no_gradient_through_samples() -> None:
    """The loss has the gradient of the objective at frozen draws; the draws have none."""
    ebm = mlp_ebm()
    params, key = jax.jit(ebm.init)(jax.random.key(0)), jax.random.key(1)

    @jax.jit
    def gradients(params):
        draws = ebm.draw(key, params, IMAGES)
        frozen = jax.grad(lambda p: -ebm.objective(p, IMAGES, draws, te.learning.posterior()))
        moved = jax.grad(
            lambda p: sum(
                jnp.sum(leaf * jnp.arange(1.0, leaf.size + 1).reshape(leaf.shape))
                for leaf in jax.tree.leaves(ebm.draw(key, p, IMAGES))
            )
        )
        return jax.grad(lambda p: ebm.loss(key, p, IMAGES))(params), frozen(params), moved(params)

    loss, frozen, moved = gradients(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), loss, frozen)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(frozen)) > 1e-3
    for leaf in jax.tree.leaves(moved):
        np.testing.assert_array_equal(leaf, 0.0)
