"""Evidence from draws of NUTS: of the run alone, of its draws, and where data are missing."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS
from scipy import stats

import numpyro
import tempered_ebm as te
from tests.numpyro import models

Y = np.array([0.3, 1.2, np.nan, -0.5, np.nan, 0.7])
SEEN = ~np.isnan(Y)


def gaps(y, mask):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 6):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y, obs_mask=mask)


def run(kernel, *args, **kwargs):
    mcmc = MCMC(
        kernel, num_warmup=300, num_samples=300, num_chains=2, chain_method="vectorized",
        progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.key(0), *args, **kwargs)
    return mcmc


@pytest.mark.slow
def test_missing_data_are_integrated_out():
    """Values that were observed have latent twins, in which the chains drift without a density."""
    given = (jnp.nan_to_num(jnp.array(Y)), jnp.array(SEEN))
    mcmc = run(NUTS(gaps), *given)
    truth = stats.multivariate_normal.logpdf(Y[SEEN], np.zeros(4), np.eye(4) + 1)
    for report in (
        te.evidence_from_draws(mcmc),
        te.numpyro.evidence_from_draws(gaps, mcmc.get_samples(group_by_chain=True), *given),
    ):
        assert abs(report.log_evidence - truth) < 6 * report.standard_error
        assert report.standard_error < 0.01
        assert set(report.posterior) == {"mean", "y", "y_unobserved"}
    by_potential = run(
        NUTS(potential_fn=lambda z: 0.5 * jnp.sum(z**2)), init_params=jnp.zeros((2, 3))
    )
    report = te.evidence_from_draws(by_potential)
    assert abs(report.log_evidence - 1.5 * np.log(2 * np.pi)) < 6 * report.standard_error


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: te.evidence_from_draws(MCMC(NUTS(gaps), num_warmup=1, num_samples=1)), "have run"),
        (lambda: te.numpyro.evidence_from_draws("model", {}), "model must be a function"),
        (lambda: te.numpyro.evidence_from_draws(models.simplex, 3), "draws must be a dict"),
        (
            lambda: te.numpyro.evidence_from_draws(models.linear_gaussian, {"x": Y}),
            "must have all latent sites",
        ),
        (lambda: te.numpyro.evidence_from_draws(models.improper, {"x": Y}), "is flat"),
        (lambda: te.numpyro.evidence_from_draws(models.discrete, {"x": Y}), "discrete site"),
    ],
    ids=["not run", "no model", "no dict", "sites", "flat", "discrete"],
)
def test_wrong_draws_are_named(call, message):
    with pytest.raises(te.InputError, match=message):
        call()
