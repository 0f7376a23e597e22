import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.evidence import _coverage as coverage
from tests.evidence import checks_coverage as checks
from tests.evidence.test_reliability_warnings import said, sound


@pytest.mark.statistical
@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_what_makes_an_estimate_unreliable_is_found(check):
    check()


def test_a_second_exploration_that_finds_more_is_reported():
    report = dataclasses.replace(sound(path="reference"), second_look=coverage.Estimate(-1.5, 0.1))
    (found,) = said(report)
    assert "modes that the reference does not cover" in found
    assert "0.5 ± 0.1 nats" in found
    for look in (coverage.Estimate(-1.5, 0.2), coverage.Estimate(-2.5, 0.01)):
        assert said(dataclasses.replace(report, second_look=look)) == ()


@pytest.mark.slow
@pytest.mark.statistical
def test_a_prior_is_normalised_on_request():
    """The evidence of N(1, I) under N(0, I), without any constant: 2 log N(1; 0, 2) + log 2 pi."""
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2), lambda z: -0.5 * jnp.sum((z - 1) ** 2)
    )
    truth = 2 * (-0.25 - 0.5 * np.log(2))
    start = jax.random.normal(jax.random.key(0), (256, 2))
    given = te.log_evidence(jax.random.key(1), target, start, num_samples=100)
    assert any("the log prior is not normalised" in warning for warning in given.warnings)
    # On the path from the prior it cancels.
    usual = te.log_evidence(jax.random.key(1), target, start, path="prior")
    checks._close(usual.log_evidence, truth, usual.standard_error)
    report = te.log_evidence(jax.random.key(1), target, start, normalize_prior=True)
    assert report.warnings == ()
    checks._close(report.log_evidence, truth, report.standard_error)
    checks._close(report.prior_constant.log_evidence, np.log(2 * np.pi), report.standard_error)
    assert report.standard_error > float(report.estimate.standard_error)
