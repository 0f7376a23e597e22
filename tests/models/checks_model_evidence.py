"""The evidence of whole models against closed forms, and what is made of several evidences."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from scipy import special

import tempered_ebm as te
from tests import ground_truths as gt

QUICK = {"num_temperatures": 5, "num_samples": 300, "pilot_rounds": 4, "pilot_steps": 40}
NUM_ENSEMBLES = 20
COUNTS = np.array([1, 3, 2, 0, 4])


def agrees(report: te.EvidenceReport, truth: float, label: str, largest_error: float = 0.1) -> None:
    """The report is within its error bar, by Student's quantile, and the bar is small."""
    if not 0 < report.standard_error < largest_error:
        raise RuntimeError(f"{label}: a standard error of {report.standard_error} decides nothing")
    z = (report.log_evidence - truth) / report.standard_error
    limit = gt.z_threshold(1, NUM_ENSEMBLES)
    assert abs(z) < limit, f"{label}: {report.log_evidence:.4f}, not {truth:.4f}: z = {z:.1f}"


def model_evidence(model, *args, key: int = 0, **kwargs) -> te.EvidenceReport:
    options = {**QUICK, **kwargs.pop("options", {})}
    kwargs = {"num_ensembles": NUM_ENSEMBLES, **kwargs}
    return te.numpyro.log_evidence(gt.key(key), model, *args, options=options, **kwargs)


def gamma_poisson_evidence(counts: np.ndarray, shape: float, rate: float) -> float:
    r"""``b^a Γ(a + Σy) / (Γ(a) (b + n)^(a + Σy) Π y!)`` of counts with rate ~ Gamma(a, b)."""
    total = shape + counts.sum()
    return float(
        shape * math.log(rate)
        + special.gammaln(total)
        - special.gammaln(shape)
        - total * math.log(rate + counts.size)
        - special.gammaln(counts + 1).sum()
    )


def counts_with_a_gamma_rate() -> str:
    """A constrained site: the Jacobian of the logarithm belongs to the prior. Returns a dtype."""
    import numpyro.distributions as dist

    import numpyro

    def model(y):
        rate = numpyro.sample("rate", dist.Gamma(2.0, 0.25))
        with numpyro.plate("rows", y.size):
            numpyro.sample("y", dist.Poisson(rate), obs=y)

    report = model_evidence(model, y=jnp.asarray(COUNTS), options={"num_temperatures": 7})
    agrees(report, gamma_poisson_evidence(COUNTS, 2.0, 0.25), "counts")
    return str(report.estimate.log_evidence.dtype)


def normalizer_of_linear_energies() -> None:
    """``log E exp(a.z) = |a|^2 / 2``, over every leaf of a position."""
    a, b = np.array([1.0, -0.5]), 0.8

    def negative_energy(z):
        return z["vector"] @ jnp.asarray(a, z["vector"].dtype) + b * z["scalar"]

    example = {"vector": jnp.zeros(2), "scalar": jnp.zeros(())}
    report = te.log_normalizer(
        gt.key(1), negative_energy, example, num_ensembles=NUM_ENSEMBLES, options=QUICK
    )
    agrees(report, 0.5 * (a @ a + b**2), "linear energy")


def evidence_of_each_observation() -> None:
    """Linear and Gaussian: a batch of observations, each with its own evidence."""
    from tests.models import checks_models as models

    estimate = models.linear_ebm().log_evidence(
        gt.key(0), models.LINEAR_PARAMS, models.OBSERVATIONS, num_warmup=200, num_samples=400
    )
    truth = np.asarray(models.linear_log_evidence(models.LINEAR_PARAMS, models.OBSERVATIONS))
    error = np.asarray(estimate.standard_error)
    if not (np.all((error > 0) & (error < 0.1)) and np.ptp(truth) > 1.0):
        raise RuntimeError("this check cannot fail: errors are too large, or truths the same")
    z = (np.asarray(estimate.log_evidence) - truth) / error
    assert np.all(np.abs(z) < gt.z_threshold(3, 16)), f"observations: z = {z}"
    limit = gt.z_threshold(6, 16)
    assert np.all(estimate.lower_bound - limit * error < truth)
    assert np.all(truth < estimate.upper_bound + limit * error)


def evidence(log_evidence: float, standard_error: float = 0.0, *warnings: str) -> SimpleNamespace:
    return SimpleNamespace(
        log_evidence=log_evidence, standard_error=standard_error, warnings=warnings
    )


WORDS = {
    1.0: "not worth more than a bare mention",
    2.7: "not worth more than a bare mention",
    2.8: "positive evidence for model a",
    20.0: "positive evidence for model a",
    20.1: "strong evidence for model a",
    148.0: "strong evidence for model a",
    149.0: "very strong evidence for model a",
    1 / 2.7: "not worth more than a bare mention",
    1 / 19.0: "positive evidence for model b",
    1 / 149.0: "very strong evidence for model b",
    math.inf: "very strong evidence for model a",
}


def words_of_kass_and_raftery() -> None:
    """Bounds 2, 6 and 10 of 2 log B are e, 20.1 and 148.4 of B."""
    for bayes_factor, words in WORDS.items():
        got = te.bayes_factor(evidence(math.log(bayes_factor)), evidence(0.0)).words
        assert got == words, f"B = {bayes_factor}: {got}"


def errors_add_in_quadrature() -> None:
    factor = te.bayes_factor(evidence(-10.0, 0.03), evidence(-14.5, 0.04))
    np.testing.assert_allclose(factor.log_bayes_factor, 4.5)
    np.testing.assert_allclose(factor.standard_error, 0.05)
    np.testing.assert_allclose(factor.probability, 1 / (1 + math.exp(-4.5)))


def errors_of_probabilities() -> None:
    """The errors are the spread of the probabilities when the evidences are perturbed."""
    values, errors = np.array([-3.0, -2.5, -4.0]), np.array([0.02, 0.03, 0.05])
    result = te.model_probabilities([evidence(*pair) for pair in zip(values, errors)])
    ratios = np.exp(values + errors * np.random.default_rng(0).standard_normal((200_000, 3)))
    spread = (ratios / ratios.sum(1, keepdims=True)).std(0)
    np.testing.assert_allclose(result.standard_error, spread, rtol=0.02)
