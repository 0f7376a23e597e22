import arviz
import jax
import numpy as np
import pytest

import numpyro
import tempered_ebm as te
from tests.numpyro import models


@pytest.fixture(scope="module")
def inference_data():
    mcmc = numpyro.infer.MCMC(
        te.numpyro.Kernel(models.plates),
        num_warmup=200,
        num_samples=300,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("accept_prob", "potential_energy", "adapt_state.step_size")
    mcmc.run(jax.random.key(0), extra_fields=fields)
    return arviz.from_numpyro(mcmc)


def test_draws_arrive_with_chains_and_plates(inference_data):
    assert dict(inference_data.posterior["mean"].sizes) == {"chain": 4, "draw": 300, "groups": 2}


def test_diagnostics_are_those_of_a_mixed_chain(inference_data):
    summary = arviz.summary(inference_data)
    assert (summary["r_hat"].astype(float) < 1.1).all()
    assert (summary["ess_bulk"].astype(float) > 100).all()


def test_sample_stats_are_useful(inference_data):
    stats = inference_data.sample_stats
    assert {"acceptance_rate", "lp", "step_size", "diverging"} <= set(stats)
    assert 0.3 < float(stats["acceptance_rate"].mean()) < 0.9
    assert np.isfinite(stats["lp"]).all()
    assert not stats["diverging"].any()
