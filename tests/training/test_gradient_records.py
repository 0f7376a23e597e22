"""Estimators of the whole ladder in training, and the variance of their gradients on the way."""

import dataclasses

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training.config import LoggingConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.logging import read_table
from tests.training.runs import assert_same_tree, create, stop_after, train

LOGGING = LoggingConfig(gradients_every=5, gradient_batches=3)


@pytest.mark.parametrize("estimator", ["covariance", "pooled"])
def test_a_run_with_swaps_logs_its_gradients_and_resumes_bit_for_bit(
    tmp_path, monkeypatch, estimator
):
    settings = {
        "learning": configs.EstimatorConfig(
            estimator=estimator, replica_exchange=True, num_temperatures=3
        ),
        "logging": LOGGING,
    }
    whole = create(tmp_path, "whole", **settings)
    expected = train(whole)
    stopped = create(tmp_path, "stopped", **settings)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        train(stopped)
    assert_same_tree(expected.params, train(stopped, resume=True).params)
    tables = [read_table(folder.gradients) for folder in (whole, stopped)]
    assert_same_tree(*tables)
    np.testing.assert_array_equal(tables[0]["step"], [5, 10])
    parts = tables[0]["all_mcmc_variance"] + tables[0]["all_minibatch_variance"]
    np.testing.assert_allclose(tables[0]["all_variance"], parts, rtol=1e-4)
    both = tables[0]["prior_variance"] + tables[0]["generator_variance"]
    np.testing.assert_allclose(tables[0]["all_variance"], both, rtol=1e-3)
    assert np.all(tables[0]["all_legacy_variance"] > 0)
    rates = read_table(whole.metrics)["swap_acceptance_rate"]
    assert np.all((rates > 0) & (rates <= 1))


def test_chains_too_few_for_the_covariance_are_named():
    learning = configs.EstimatorConfig(estimator="covariance", num_chains=1)
    with pytest.raises(te.InputError, match="--num-chains must be an integer >= 2, got 1"):
        configs.LatentConfig(learning=learning).validate()


@pytest.mark.parametrize(
    ("name", "value"), [("gradients_every", -1), ("gradient_batches", 1), ("gradient_repeats", 1)]
)
def test_bad_settings_of_the_records_are_named(name, value):
    config = configs.LatentConfig(logging=dataclasses.replace(LOGGING, **{name: value}))
    with pytest.raises(te.InputError, match=f"--{name.replace('_', '-')} must be an integer >="):
        config.validate()
