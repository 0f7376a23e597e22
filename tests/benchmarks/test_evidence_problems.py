"""Every problem of the evidence benchmark is what it says, and its truth is true."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.evidence import curved, problems, regression, truths
from scipy import integrate, special, stats

from tests import ground_truths as gt

SLOW = (
    "linear-gaussian-10", "linear-gaussian-100", "radiata-adjusted", "radiata-density", "mixture-5",
    "epidemic",
)  # fmt: skip
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in problems.MAKERS
]
"""Of each kind of problem one is quick."""

make = functools.cache(problems.make)


@functools.cache
def prior_draws(name):
    """Draws that all tests of a problem share, (20,000, dimension)."""
    return np.asarray(make(name).sample_prior(gt.key(2), 20_000), np.float64)


def values(fn, points):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(fn)(jnp.asarray(points, jnp.float64)))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_gradients_and_precisions(name):
    problem = make(name)
    z = problem.sample_prior(gt.key(1), 16).astype(jnp.float32)
    assert z.shape == (16, problem.dimension)

    @jax.jit
    def evaluations(z):
        at = [[fn(x) for fn in problem.target] for x in (z[0], z, z.reshape(4, 4, -1))]
        gradients = [jax.vmap(jax.grad(fn))(3 * z) for fn in problem.target]
        return at, gradients

    (one, batch, square), gradients = evaluations(z)
    exact = values(lambda z: [fn(z) for fn in problem.target], z)
    for k in range(len(problem.target)):
        assert batch[k].shape == (16,)
        assert batch[k].dtype == jnp.float32
        tolerance = {"rtol": 2e-5, "atol": 2e-4}
        np.testing.assert_allclose(one[k], batch[k][0], **tolerance)
        np.testing.assert_allclose(square[k].ravel(), batch[k], **tolerance)
        np.testing.assert_allclose(exact[k], batch[k], **tolerance)
        assert np.all(np.isfinite(gradients[k]))


@pytest.mark.statistical
@pytest.mark.parametrize("name", NAMES)
def test_prior_is_normalised_and_sampled(name):
    """Draws from a wider normal fitted to the prior weigh 1 on average, first moments agree."""
    problem = make(name)
    draws = prior_draws(name)
    mean = draws.mean(0)
    covariance = np.cov(draws.T).reshape(problem.dimension, problem.dimension)
    if problem.dimension > 10:
        exact = stats.multivariate_normal(np.zeros(problem.dimension))
        np.testing.assert_allclose(
            values(problem.target.logprior_fn, draws[:100]), exact.logpdf(draws[:100]), atol=1e-9
        )
        gt.assert_expectations(draws @ np.ones(problem.dimension), 0.0, name)
        return
    proposal = stats.multivariate_t(mean, 1.2 * covariance, df=6)
    z = proposal.rvs(40_000, random_state=gt.rng(3)).reshape(40_000, -1)
    logprior = values(problem.target.logprior_fn, z)
    weights = np.exp(logprior - proposal.logpdf(z))
    gt.assert_expectations(weights, 1.0, f"{name}: normaliser")
    moments = np.column_stack([draws, draws**2])
    weighted = weights[:, None] * (np.column_stack([z, z**2]) - moments.mean(0))
    error = (moments.std(0) / math.sqrt(len(draws))).max()
    gt.assert_expectations(weighted / moments.std(0), 0.0, f"{name}: moments", 8 * error)


@pytest.mark.statistical
@pytest.mark.parametrize("name", NAMES)
def test_transform_of_uniforms_follows_the_same_law(name):
    problem = make(name)
    uniforms = gt.rng(4).random((4_000, problem.dimension))
    transformed = problem.prior_transform(uniforms)
    assert problem.prior_transform(uniforms[0]).shape == (problem.dimension,)
    draws = prior_draws(name)[:4_000]
    for fn in (lambda z: z[:, 0], lambda z: z[:, -1], lambda z: z.sum(1)):
        gt.count_decision()
        assert stats.ks_2samp(fn(transformed), fn(draws)).pvalue > gt.FALSE_ALARM


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name",
    [
        "linear-gaussian-2",
        "skewed-gamma",
        "banana",
        pytest.param("epidemic", marks=pytest.mark.slow),
    ],
)
def test_evidence_is_the_prior_mean_of_the_likelihood(name):
    problem = make(name)
    z = np.asarray(problem.sample_prior(gt.key(6), 100_000), np.float64)
    ratio = np.exp(values(problem.target.loglikelihood_fn, z) - problem.log_evidence)
    gt.assert_expectations(ratio, 1.0, name)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name", ["mixture-2", pytest.param("mixture-5", marks=pytest.mark.slow), "phase-transition-6"]
)
def test_mixtures_by_draws_from_every_mode(name):
    """Importance sampling from wide normals about the modes, half of them about the prior's."""
    problem, draws = make(name), 20_000
    d = problem.dimension
    if name.startswith("phase"):
        centres, scales, prior_scale = [0 * np.ones(d), 0.6 * np.ones(d) / d**0.5], [0.5, 0.05], 1
    else:
        signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
        centres = 3 / math.sqrt(d / 2) * np.tile(signs, 3)[:, :d]
        scales, prior_scale = [0.3, 0.4, 0.5, 0.3], 3
    laws = [stats.multivariate_normal(c, 1.3 * s**2) for c, s in zip(centres, scales)]
    laws += [stats.multivariate_normal(np.zeros(d), prior_scale**2)]
    z = np.concatenate([law.rvs(draws, random_state=gt.rng(10 + k)) for k, law in enumerate(laws)])
    density = np.mean([law.pdf(z) for law in laws], axis=0)
    logposterior = values(lambda z: sum(fn(z) for fn in problem.target), z) - problem.log_evidence
    strata = (np.exp(logposterior) / density).reshape(len(laws), draws)
    gt.assert_expectations(strata.mean(0), 1.0, name)


def test_linear_gaussian_in_the_plane_is_the_reference_path():
    problem, path = make("linear-gaussian-2"), gt.LINEAR_GAUSSIAN
    z = gt.rng(7).standard_normal((50, 2))
    assert problem.log_evidence == pytest.approx(path.log_z(1.0), abs=1e-10)
    np.testing.assert_allclose(
        values(problem.target.loglikelihood_fn, z), path.loglikelihood(z), rtol=1e-9
    )
    np.testing.assert_allclose(
        values(problem.target.logprior_fn, z), values(path.target.logprior_fn, z), rtol=1e-9
    )


def test_skewed_gamma_is_the_reference_path():
    problem = make("skewed-gamma")
    z = gt.rng(8).standard_normal((50, 1))
    assert problem.log_evidence == pytest.approx(gt.SKEWED_GAMMA.log_z(1.0), abs=1e-12)
    for ours, theirs in zip(problem.target, gt.SKEWED_GAMMA.target):
        np.testing.assert_allclose(values(ours, z), np.asarray(theirs(z[:, 0])), rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["linear-gaussian-2", pytest.param("linear-gaussian-100", marks=pytest.mark.slow)]
)
def test_linear_gaussian_equals_its_laplace_approximation(name):
    problem = make(name)
    assert truths.laplace(problem).log_evidence == pytest.approx(problem.log_evidence, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("poisson-regression", 0.01),
        ("logistic-regression", 0.06),
        pytest.param("epidemic", 0.02, marks=pytest.mark.slow),
    ],
)
def test_stored_evidence_is_near_its_laplace_approximation(name, tolerance):
    """A change of the data, which no quick test integrates, would show here."""
    problem = make(name)
    assert truths.laplace(problem).log_evidence == pytest.approx(
        problem.log_evidence, abs=tolerance
    )


@pytest.mark.parametrize("adjusted", [False, True])
def test_timber_quadrature_equals_the_closed_form(adjusted):
    problem = regression.radiata_pine(adjusted)
    assert "look-alike" in problem.truth_source
    truth = truths.gauss_hermite(problem, (16, 24))
    assert truth.log_evidence == pytest.approx(problem.log_evidence, abs=1e-6)


@pytest.mark.skipif(not problems.RADIATA_DATA.exists(), reason="no timber data here")
def test_timber_evidence_is_the_published_one():
    """The values of Friel and Wyse (2012) to the digits given there, and more of our own."""
    assert make("radiata-density").log_evidence == pytest.approx(-310.507266, abs=1e-6)
    assert make("radiata-adjusted").log_evidence == pytest.approx(-301.650158, abs=1e-6)


def test_epidemic_solver_has_converged():
    """Against SciPy's adaptive integrator, at rates where the epidemic is fast."""
    beta, gamma, start = 1.5, 0.3, 0.01
    parameters = jnp.array([math.log(beta), math.log(gamma), special.logit(start)])
    solution = integrate.solve_ivp(
        lambda t, y: [-beta * y[0] * y[1], beta * y[0] * y[1] - gamma * y[1]],
        (0, 24),
        [1 - start, start],
        t_eval=np.arange(2, 25, 2),
        rtol=1e-10,
        atol=1e-12,
    )
    np.testing.assert_allclose(values(curved.infected, parameters), solution.y[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson-regression", "epidemic"])
def test_quadrature_reproduces_the_stored_evidence(name):
    problem = make(name)
    truth = truths.gauss_hermite(problem, (40, 60))
    assert truth.log_evidence == pytest.approx(problem.log_evidence, abs=problem.truth_error)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["poisson-regression", "logistic-regression", "epidemic"])
def test_importance_sampling_reproduces_the_stored_evidence(name):
    problem = make(name)
    truth = truths.importance_sampling(problem, 1_000_000, seed=gt.seed(9))
    error = math.hypot(truth.error, problem.truth_error)
    assert abs(truth.log_evidence - problem.log_evidence) < gt.z_threshold(1) * error
