"""Missing data, against the closed form of what was observed."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from scipy import stats

import numpyro
import tempered_ebm as te
from numpyro import handlers
from tempered_ebm.numpyro import missing
from tests.models import checks_model_evidence as checks
from tests.numpyro import models

Y = np.asarray(models.Y)
SEEN = np.array([True, True, False, True])
GAPS = jnp.array([1, 3])


def normal(y, covariance=None):
    """Log density of values with a mean ~ N(0, 1) and noise N(0, 1)."""
    covariance = np.eye(len(y)) + 1 if covariance is None else covariance
    return stats.multivariate_normal(np.zeros(len(y)), covariance).logpdf(y)


def gaps_of_a_normal():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 4):
        y = jnp.where(SEEN, Y, jnp.nan)
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y, obs_mask=jnp.asarray(SEEN))


def gaps_of_a_lognormal():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 4):
        law = dist.LogNormal(mean, 1.0)
        numpyro.sample("y", law, obs=jnp.exp(models.Y), obs_mask=jnp.asarray(SEEN))


def gaps_of_vectors():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 2):
        law = dist.Normal(mean, 1.0).expand([2]).to_event(1)
        seen = jnp.array([True, False])
        numpyro.sample("y", law, obs=models.Y.reshape(2, 2), obs_mask=seen)


def imputed_under_a_handler():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("gaps", 2), handlers.mask(mask=False):
        values = numpyro.sample("values", dist.LogNormal(mean, 1.0))
    numpyro.sample("y", dist.LogNormal(mean, 1.0), obs=jnp.exp(models.Y).at[GAPS].set(values))


def imputed_as_one_event():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    law = dist.Normal(mean, 1.0).expand([2]).mask(jnp.array([False, False])).to_event(1)
    values = numpyro.sample("values", law)
    law = dist.Normal(mean, 1.0).expand([4]).to_event(1)
    numpyro.sample("y", law, obs=models.Y.at[GAPS].set(values))


def imputed_covariate():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    value = numpyro.sample("value", dist.Normal(mean, 1.0).mask(False))
    x = jnp.array([0.5, 0.0, 1.0, -1.0]).at[1].set(value)
    numpyro.sample("x", dist.Normal(mean, 1.0), obs=x)
    numpyro.sample("y", dist.Normal(x, 1.0), obs=models.Y)


def gaps_of_a_series():
    def step(state, row):
        y, is_seen = row
        state = numpyro.sample("state", dist.Normal(0.5 * state, 1.0))
        numpyro.sample("y", dist.Normal(state, 1.0), obs=y, obs_mask=is_seen)
        return state, None

    scan(step, 0.0, (models.Y, jnp.asarray(SEEN)))


def covariate_truth():
    x = np.eye(4) + 1
    keep = np.delete(np.arange(8), 1)
    covariance = np.block([[x, x], [x, x + np.eye(4)]])[np.ix_(keep, keep)]
    return normal(np.concatenate([[0.5, 1.0, -1.0], Y]), covariance)


def series_truth():
    impulse = np.linalg.inv(np.eye(4) - 0.5 * np.eye(4, k=-1))
    return normal(Y[SEEN], (impulse @ impulse.T + np.eye(4))[np.ix_(SEEN, SEEN)])


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("model", "truth"),
    [
        (models.imputed, normal(Y[[0, 2]])),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (gaps_of_a_normal, normal(Y[SEEN])),
                (gaps_of_a_lognormal, normal(Y[SEEN]) - Y[SEEN].sum()),
                (gaps_of_vectors, normal(Y[:2])),
                (imputed_under_a_handler, normal(Y[[0, 2]]) - Y[[0, 2]].sum()),
                (imputed_as_one_event, normal(Y[[0, 2]])),
                (imputed_covariate, covariate_truth()),
                (gaps_of_a_series, series_truth()),
            ]
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_evidence_is_that_of_what_was_observed(model, truth):
    report = checks.model_evidence(model, options={"num_samples": 50})
    checks.agrees(report, truth, model.__name__)
    assert report.warnings == ()


def find(model):
    sites = te.numpyro.split(model).sites
    return missing.find(model, (), {}, sites.masked, jax.random.key(0)).sites


def test_twins_of_observed_rows_are_idle_and_gaps_are_not():
    counted, imputed, idle, _ = find(gaps_of_a_normal)["y_unobserved"]
    np.testing.assert_array_equal(idle, SEEN)
    np.testing.assert_array_equal(counted, ~SEEN)
    assert not imputed.any()


def test_values_of_an_observed_site_are_imputed():
    counted, imputed, idle, _ = find(models.imputed)["missing"]
    assert imputed.all()
    assert counted.all()
    assert not idle.any()


def test_a_masked_value_that_is_a_parameter_is_neither():
    assert find(models.masked_latent) == {}


def test_a_value_that_is_only_compared_is_not_idle():
    """It has no gradient anywhere."""

    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).mask(False))
        numpyro.sample("y", dist.Normal(jnp.where(jnp.isnan(z), 1.0, 0.0), 1.0), obs=0.3)

    assert find(model) == {}


@pytest.mark.parametrize("model", [imputed_under_a_handler, gaps_of_a_lognormal])
def test_the_halves_add_up_to_the_joint_density_of_sites(model):
    """That is without NumPyro's mask on the Jacobian, and with idle values held fixed."""
    from tempered_ebm.numpyro.split import split_with

    parts = split_with(model, (), {}, None, jax.random.key(0), is_integral=True)
    position = parts.sample_prior(jax.random.key(1), 3)
    sites = jax.jit(jax.vmap(parts.constrain))(position)
    gap = sites["values"] if "values" in sites else sites["y_unobserved"][:, [2]]
    mean = np.asarray(sites["mean"])[:, None]
    kept = Y[[0, 2]] if "values" in sites else Y[SEEN]
    log_gap = np.log(gap)
    # The density of the values in the logarithm, in which position is.
    log_joint = (
        stats.norm.logpdf(mean).sum(1)
        + stats.norm.logpdf(log_gap, mean).sum(1)
        + (stats.norm.logpdf(kept, mean) - kept).sum(1)
    )
    got = parts.target.logprior_fn(position) + parts.target.loglikelihood_fn(position)
    np.testing.assert_allclose(got, log_joint, rtol=1e-5)
