import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.models import ChainSettings, latent_ebm_params
from tests.models import checks_vae as checks


@pytest.mark.statistical
def test_the_lower_bound_has_its_closed_form():
    checks.lower_bound_has_its_closed_form()


@pytest.mark.statistical
def test_the_lower_bound_is_tight_at_the_posterior():
    checks.lower_bound_is_tight_at_the_posterior()


@pytest.mark.statistical
def test_posterior_draws_have_the_encoded_law():
    checks.posterior_draws_have_the_encoded_law()


@pytest.mark.slow
def test_its_evidence_is_that_of_a_latent_ebm_without_energy():
    vae, params = checks.linear_vae(), checks.exact_posterior()
    ebm = vae.as_latent_ebm(ChainSettings(10, 0.1))
    x = jnp.asarray(checks.X, jnp.float32)[None]
    estimate = ebm.log_evidence(
        jax.random.key(0), latent_ebm_params(params), x, num_warmup=200, num_samples=200
    )
    error = float(estimate.standard_error[0])
    assert error < 0.1
    assert abs(float(estimate.log_evidence[0]) - checks.log_evidence()) < 6 * error


def test_the_loss_is_minus_the_mean_of_its_terms():
    vae, params = checks.linear_vae(), checks.exact_posterior()
    x = jnp.asarray(np.stack([checks.X, -checks.X]), jnp.float32)
    (loglikelihood, kl), loss = jax.jit(
        lambda key: (vae.evidence_terms(key, params, x), vae.loss(key, params, x))
    )(jax.random.key(1))
    np.testing.assert_allclose(loss, -jnp.mean(loglikelihood - kl), rtol=1e-6)


def test_an_encoder_of_another_size_is_named():
    vae = te.models.VAE(
        encoder=te.networks.mlp_encoder(3, widths=(4,)),
        generator=te.networks.mlp_generator((2, 2, 1), widths=(4,)),
        likelihood=te.likelihoods.gaussian(1.0),
        latent_dim=2,
    )
    with pytest.raises(te.InputError, match=r"encoder returned shape \(1, 3\).*expected \(1, 4\)"):
        jax.eval_shape(vae.init, jax.random.key(0), jnp.zeros((1, 2, 2, 1)))


def test_a_latent_dimension_below_one_is_named():
    with pytest.raises(te.InputError, match="latent_dim must be an integer >= 1, got 0"):
        te.models.VAE(encoder=lambda x: x, generator=lambda z: z,
                      likelihood=te.likelihoods.gaussian(1.0), latent_dim=0)  # fmt: skip
