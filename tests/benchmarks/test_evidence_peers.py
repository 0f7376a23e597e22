"""The peers of the evidence benchmark estimate what they should, and are charged what they use."""

import dataclasses
from collections import Counter

import jax
import numpy as np
import pytest
from benchmarks.evidence import cost, host, nested, peers, persistent, problems, report, smc

import tempered_ebm as te
from tests import ground_truths as gt


@pytest.fixture(scope="module")
def problem():
    return problems.make("linear-gaussian-2")


def counted(problem):
    """The same problem, and how often its log-likelihood was evaluated, with and without gradient.

    Peers vectorise over points, and a callback with an argument is then made once per point.
    """
    calls = Counter()
    fn = problem.target.loglikelihood_fn

    @jax.custom_vjp
    def loglikelihood(z):
        jax.debug.callback(lambda _: calls.update(["value"]), z[0])
        return fn(z)

    def forward(z):
        jax.debug.callback(lambda _: calls.update(["gradient"]), z[0])
        return jax.vjp(fn, z)

    loglikelihood.defvjp(forward, lambda pull, cotangent: pull(cotangent))
    target = te.TemperedTarget(problem.target.logprior_fn, loglikelihood)
    return dataclasses.replace(problem, target=target), calls


@pytest.mark.statistical
@pytest.mark.parametrize(
    "method",
    [
        smc.TemperedSMC(3),
        pytest.param(smc.TemperedSMC(3, move="hmc", leapfrogs=1), marks=pytest.mark.slow),
    ],
    ids=lambda m: m.move,
)
def test_smc_is_unbiased(problem, method):
    """E[Z] is the evidence but for the adapted ladder and steps; the slack allows for these."""
    result = method._runs(np.arange(64) + gt.seed(1000), problem, 250)
    assert not result.failed.any()
    ratio = np.exp(result.log_evidence - problem.log_evidence)
    gt.assert_expectations(ratio, 1.0, method.name, slack=0.02)


@pytest.mark.slow
@pytest.mark.statistical
def test_nested_sampling_agrees_within_its_own_error(problem):
    method = nested.NestedSlice(4.0, -7.0)
    result = method._runs(np.arange(32) + gt.seed(2000), problem, 60, 1e6)
    assert not result.failed.any()
    errors = (result.log_evidence - problem.log_evidence) / result.own_standard_error
    gt.assert_expectations(errors, 0.0, method.name, slack=1.0)
    assert 0.4 < errors.std() < 1.6


@pytest.mark.parametrize(
    "method",
    [
        smc.TemperedSMC(2),
        smc.TemperedSMC(2, move="hmc", leapfrogs=3),
        persistent.Persistent(2),
    ],
    ids=lambda m: m.name,
)
def test_smc_is_charged_what_it_evaluates(problem, method):
    watched, calls = counted(problem)
    result = method._runs(np.array([3]), watched, 16)
    jax.effects_barrier()
    assert calls["gradient"] == result.gradient_evaluations[0]
    assert calls["value"] == result.likelihood_evaluations[0]


@pytest.mark.slow
def test_nested_sampling_is_charged_what_it_evaluates(problem):
    """One point is replaced at a time, so that no finished lane of a vmap is evaluated again."""
    watched, calls = counted(problem)
    result = nested.NestedSlice(deleted=0.0)._runs(np.array([3]), watched, 12, 1e6)
    jax.effects_barrier()
    assert calls["gradient"] == result.gradient_evaluations[0] == 0
    assert calls["value"] == result.likelihood_evaluations[0]


def test_values_are_charged_a_third():
    result = cost.gather(np.zeros(2), np.array([30.0, 0.0]), np.array([0.0, 30.0]))
    np.testing.assert_allclose(result.units, [30, 10])


def test_budget_that_pays_for_nothing_is_a_failure():
    problem = problems.make("linear-gaussian-30")
    result = nested.DEFAULT.estimate(np.arange(2), problem, 100)
    assert result.failed.all()
    assert np.isnan(result.log_evidence).all()


@pytest.mark.slow
def test_one_seed_spends_the_budget(problem):
    result = peers.estimate(smc.TemperedSMC(1), 5, problem, 1_000)
    assert result.log_evidence.shape == (1,)
    assert abs(result.units[0] / 1_000 - 1) < 0.3


@pytest.mark.parametrize("method", peers.IN_PYTHON, ids=lambda m: m.name)
def test_peers_in_python(problem, method):
    if not host.installed(method):
        pytest.skip(f"{method.requires} is not installed")
    result = peers.estimate(method, np.arange(2), problem, 4_000)
    assert not result.failed.any()
    assert np.all(np.abs(result.log_evidence - problem.log_evidence) < 1.0)


def test_report_counts_failures_apart(problem):
    values = np.array([problem.log_evidence + 0.1, problem.log_evidence - 0.1, np.nan])
    row = report.row(problem, "x", 10, cost.gather(values, np.ones(3), np.zeros(3)), 1.0)
    assert row["failed"] == 1
    assert row["rmse"] == pytest.approx((0.1, 0.1, 0.1))
    assert "1/3" in report.line(row)
