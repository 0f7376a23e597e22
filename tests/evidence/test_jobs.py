"""The whole job, from prior draws to a report, on both paths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_reference as checks

PATHS = pytest.mark.parametrize("name", gt.REFERENCE_PATHS)
LINEAR_GAUSSIAN_TRUTH = -4.344498131565


def test_the_truth_of_the_linear_gaussian_path():
    """``log N(x; W m0 + b, W S0 Wᵀ + s2 I)`` in another way than the ground truths take."""
    assert abs(gt.LINEAR_GAUSSIAN.log_z(1.0) - LINEAR_GAUSSIAN_TRUTH) < 1e-11
    path = gt.LINEAR_GAUSSIAN
    covariance = path.W @ path.S0 @ path.W.T + path.s2 * np.eye(3)
    shift = path.x - path.b - path.W @ path.m0
    _, logdet = np.linalg.slogdet(2 * np.pi * covariance)
    marginal = -0.5 * (logdet + shift @ np.linalg.solve(covariance, shift))
    assert abs(marginal - LINEAR_GAUSSIAN_TRUTH) < 1e-11


@functools.cache
def report(name, path, precise):
    truth = gt.REFERENCE_PATHS[name]
    options = {"num_samples": 100}
    if path == "prior":
        options |= {"num_temperatures": 6, "pilot_rounds": 4, "pilot_steps": 50}
    with jax.enable_x64(precise):
        start = jnp.asarray(truth.sample(gt.rng(0), 0.0, 256))
        assert start.dtype == (jnp.float64 if precise else jnp.float32)
        return te.log_evidence(gt.key(3), truth.target, start, path=path, **options)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("path", ["reference", "prior"])
def test_single_and_double_precision_agree(path):
    name = "skewed_gamma"
    single, double = (report(name, path, precise) for precise in (False, True))
    assert single.estimate.log_evidence.dtype == np.float32
    assert double.estimate.log_evidence.dtype == np.float64
    truth = gt.REFERENCE_PATHS[name].log_z(1.0)
    # 32 ensembles: Student's with 31 degrees of freedom.
    limit = gt.z_threshold(3, 32)
    combined = np.hypot(single.standard_error, double.standard_error)
    assert abs(single.log_evidence - double.log_evidence) < limit * combined
    assert abs(single.log_evidence - truth) < limit * single.standard_error
    assert abs(double.log_evidence - truth) < limit * double.standard_error


HALF = te.TemperedTarget(
    lambda z: jax.scipy.stats.norm.logpdf(z).sum(-1),
    lambda z: jnp.where(z[..., 0] > 0, 0.0, -jnp.inf),
)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("path", ["auto", "prior"])
def test_a_likelihood_that_is_zero_on_half_of_the_prior(path):
    start = jax.random.normal(gt.key(1), (256, 2))
    options = {"num_temperatures": 3, "pilot_rounds": 3, "pilot_steps": 40}
    found = te.log_evidence(gt.key(2), HALF, start, path=path, num_samples=100, **options)
    assert found.path == ("reference" if path == "auto" else "prior")
    limit = gt.z_threshold(1, 32)
    assert abs(found.log_evidence - np.log(0.5)) < limit * found.standard_error
    assert found.standard_error < (0.02 if path == "auto" else 0.1)
    said = any("only the reweighting estimates count" in words for words in found.warnings)
    # On the path from a reference thermodynamic integration is nobody's choice.
    assert said == (path == "prior")


@pytest.mark.slow
def test_a_likelihood_that_is_zero_wherever_anything_looks_is_an_error_in_words():
    nowhere = te.TemperedTarget(
        HALF.logprior_fn, lambda z: jnp.where(z[..., 0] > 50, 0.0, -jnp.inf)
    )
    start = jax.random.normal(jax.random.key(0), (256, 1))
    with pytest.raises(te.errors.DivergedError, match="needs draws of positive likelihood"):
        te.log_evidence(jax.random.key(0), nowhere, start, path="reference", num_samples=10)
    with pytest.raises(te.errors.DivergedError, match="log-likelihood is finite where the chains"):
        te.log_evidence(
            jax.random.key(0), nowhere, start, num_samples=10, pilot_rounds=2, num_temperatures=3
        )


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("path", ["auto", "prior"])
@PATHS
def test_error_bars_of_the_whole_job_are_honest(name, path):
    checks.errors_of_whole_jobs_are_honest(name, path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_ladder_that_is_too_coarse_is_no_confident_wrong_number(seed):
    """Five even temperatures from a prior that is a hundred times wider, in ten dimensions."""
    d, sigma = 10, 1e-2
    target = te.TemperedTarget(
        lambda z: jax.scipy.stats.norm.logpdf(z).sum(-1),
        lambda z: jax.scipy.stats.norm.logpdf(1.0, z, sigma).sum(-1),
    )
    truth = d * float(jax.scipy.stats.norm.logpdf(1.0, 0.0, np.sqrt(1 + sigma**2)))
    start = jax.random.normal(gt.key(seed), (32, d))
    found = te.log_evidence(
        gt.key(seed), target, start, path="prior", num_temperatures=5, ladder="fixed",
        num_samples=500, pilot_rounds=4, pilot_steps=50,
    )  # fmt: skip
    assert abs(found.log_evidence - truth) < 5 * found.standard_error or found.warnings
    assert any("raise num_temperatures" in words for words in found.warnings)
