import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS

import numpyro
import tempered_ebm as te
from tests import ground_truths as gt
from tests.ground_truths import assert_expectations

TILT = np.array([1.0, -0.5])
NOISE = 0.7
Y = np.array([0.4, 1.3])
STANDARD_NORMAL = dist.Normal(0.0, 1.0).expand([2]).to_event(1)

# exp(a.z) N(z; 0, I) is N(z; a, I) times exp(|a|^2 / 2), hence a conjugate prior.
POSTERIOR_VARIANCE = 1 / (1 + 1 / NOISE**2)
POSTERIOR_MEAN = POSTERIOR_VARIANCE * (TILT + Y / NOISE**2)


def tilt(z):
    return jnp.dot(TILT, z)


def tilted_prior(**options):
    return te.numpyro.EnergyPrior(tilt, (2,), base=STANDARD_NORMAL, **options)


def model():
    z = numpyro.sample("z", tilted_prior())
    numpyro.sample("y", dist.Normal(z, NOISE).to_event(1), obs=Y)


def test_the_log_density_is_the_tilted_base_up_to_its_normaliser():
    z = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    expected = dist.Normal(TILT, 1.0).to_event(1).log_prob(z) + 0.5 * TILT @ TILT
    np.testing.assert_allclose(tilted_prior().log_prob(z), expected, rtol=1e-5, atol=1e-5)
    alone = te.numpyro.EnergyPrior(tilt, (2,)).log_prob(z)
    np.testing.assert_allclose(alone, z @ TILT, rtol=1e-5, atol=1e-5)
    expanded = tilted_prior().expand((3, 4)).log_prob(z)
    np.testing.assert_allclose(expanded, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    ("build_kernel", "num_chains"),
    [
        pytest.param(te.numpyro.Kernel, 5_000, id="mala"),
        pytest.param(lambda model: NUTS(model, max_tree_depth=3), 300, id="nuts"),
    ],
)
def test_posterior_draws_have_the_known_moments(build_kernel, num_chains):
    mcmc = MCMC(
        build_kernel(model),
        num_warmup=50,
        num_samples=20,
        thinning=20,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(gt.key(0))
    z = np.asarray(mcmc.get_samples()["z"]) - POSTERIOR_MEAN
    assert_expectations(np.column_stack([z, z**2]), np.repeat([0.0, POSTERIOR_VARIANCE], 2))


def test_the_energy_is_the_prior_half_of_a_plate_of_latents():
    def plate():
        with numpyro.plate("images", 3):
            z = numpyro.sample("z", tilted_prior())
            numpyro.sample("x", dist.Normal(z, NOISE).to_event(1), obs=jnp.ones((3, 2)))

    parts = te.numpyro.split(plate)
    z = np.random.default_rng(1).standard_normal((5, 3, 2)).astype(np.float32)
    logprior = jax.jit(parts.target.logprior_fn)({"z": z})
    np.testing.assert_allclose(logprior, tilted_prior().log_prob(z).sum(1), rtol=1e-5)
    with pytest.raises(te.InputError, match="'z' has no sampler, being of type EnergyPrior"):
        parts.sample_prior(jax.random.key(0), 2)


@pytest.mark.statistical
def test_a_sampler_may_be_given():
    def sampler(rng_key, sample_shape):
        return TILT + jax.random.normal(rng_key, (*sample_shape, 2))

    draws = tilted_prior(sampler=sampler).expand((2,)).sample(gt.key(0), (20_000,))
    assert_expectations(np.asarray(draws[:, 1]), TILT)
    with pytest.raises(NotImplementedError, match="no exact sampler"):
        tilted_prior().sample(gt.key(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: te.numpyro.EnergyPrior(tilt, (3,), base=STANDARD_NORMAL),
            r"base must have event shape \(3,\) and no batch shape, got \(2,\)",
        ),
        (
            lambda: te.numpyro.EnergyPrior(lambda z: z, (2,)).log_prob(jnp.zeros((4, 2))),
            r"negative_energy_fn must return a scalar .* got shape \(2,\)",
        ),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(te.InputError, match=message):
        build()
