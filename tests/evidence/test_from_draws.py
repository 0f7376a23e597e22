import inspect
from types import SimpleNamespace
from typing import NamedTuple

import arviz
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import numpyro
import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_from_draws as checks


@pytest.mark.statistical
@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_evidence_from_draws(check):
    check()


class State(NamedTuple):
    position: np.ndarray
    logdensity: np.ndarray


def in_arviz(z):
    if "posterior" in inspect.signature(arviz.from_dict).parameters:
        return arviz.from_dict(posterior={"z": z})
    return arviz.from_dict({"posterior": {"z": z}})


@pytest.mark.slow
def test_draws_of_any_kind_give_one_result():
    """An array, states of BlackJAX, ArviZ's data, and a target in two halves."""
    z = checks.chains(8)
    wanted = te.evidence_from_draws(checks.log_density, z)
    assert wanted.path == "draws"
    assert wanted.cost.gradient_evaluations == 0
    by_name = lambda position: checks.log_density(position["z"])  # noqa: E731
    target = te.TemperedTarget(
        lambda z: 0.25 * checks.log_density(z), lambda z: 0.75 * checks.log_density(z)
    )
    for fn, draws in (
        (checks.log_density, State(z, z[..., 0])),
        (by_name, in_arviz(z)),
        (by_name, {"twice": 2 * z, "z": z, "count": np.ones(z.shape[:2], int)}),
        (target, z),
    ):
        report = te.evidence_from_draws(fn, draws)
        assert abs(report.log_evidence - wanted.log_evidence) < 1e-4
    factor = te.bayes_factor(
        wanted, SimpleNamespace(log_evidence=1.0, standard_error=0.01, warnings=())
    )
    assert factor.words == "positive evidence for model a"
    assert len(wanted.plot().axes) == 2


@pytest.mark.slow
def test_a_single_chain_is_cut_in_two():
    z = checks.chains(9)[:1]
    report = te.evidence_from_draws(checks.log_density, z)
    assert report.loglikelihoods.shape == (2, 200, 2)
    assert abs(report.log_evidence - 3.0) < 6 * report.standard_error


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_errors_are_calibrated(correlation):
    scores = []
    for seed in range(40):
        report = checks.evidence(100 + seed, correlation=correlation)
        scores.append((report.log_evidence - 3.0) / report.standard_error)
    # Two thirds and one and a half are a probability of 1e-4 away with 40 normal scores.
    assert 0.67 < np.sqrt(np.mean(np.square(scores))) < 1.5


WRONG = {
    "must be a TemperedTarget where prior_draws": lambda: te.evidence_from_draws(
        jnp.sum, np.zeros((4, 100)), prior_draws=np.zeros(3)
    ),
    "logdensity_fn must be a function": lambda: te.evidence_from_draws("x", np.zeros((4, 100))),
    "logdensity_fn must come with draws": lambda: te.evidence_from_draws(jnp.sum),
    "draws must have leading axes": lambda: te.evidence_from_draws(jnp.sum, "draws"),
    "all arrays share": lambda: te.evidence_from_draws(
        jnp.sum, {"a": np.zeros((4, 100)), "b": np.zeros((4, 99))}
    ),
    "1000 chains of 4 draws; swap": lambda: te.evidence_from_draws(jnp.sum, np.zeros((1000, 4, 2))),
    "at least 40 a chain, got 30": lambda: te.evidence_from_draws(jnp.sum, np.zeros((1, 30, 2))),
    "constant coordinate 0": lambda: te.evidence_from_draws(jnp.sum, np.zeros((4, 50, 2))),
    "floating dtype, got int": lambda: te.evidence_from_draws(jnp.sum, np.zeros((4, 50, 2), int)),
    "rng_key": lambda: te.evidence_from_draws(jnp.sum, np.zeros((4, 50)), rng_key=3),
    "must vary in every direction": lambda: te.evidence_from_draws(
        lambda z: -jnp.sum(z**2), np.repeat(gt.rng(0).normal(size=(4, 50, 1)), 2, 2)
    ),
    "draws must have a chain": lambda: te.evidence_from_draws(jnp.sum, np.zeros((0, 3))),
    "a NumPyro model goes to": lambda: te.evidence_from_draws(
        lambda z: numpyro.sample("z", dist.Normal()), np.zeros((4, 50))
    ),
    "must be a function of a position, got State": lambda: te.evidence_from_draws(
        State(jnp.sum, 1.0), np.zeros((4, 50))
    ),
    "scalar for one position": lambda: te.evidence_from_draws(
        jnp.cos, gt.rng(0).normal(size=(4, 50, 2))
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_draws_are_named(message):
    with pytest.raises(te.InputError, match=message):
        WRONG[message]()
