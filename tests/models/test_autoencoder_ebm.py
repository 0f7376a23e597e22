import jax
import jax.numpy as jnp
import pytest

import tempered_ebm as te


def model(latent_dim=2, outputs=2):
    return te.models.AutoencoderEBM(
        encoder=te.networks.mlp_encoder(outputs, widths=(4,)),
        decoder=te.networks.mlp_decoder((3, 3, 1), widths=(4,)),
        prior_network=te.networks.mlp_network((4,)),
        likelihood=te.likelihoods.bernoulli(),
        latent_dim=latent_dim,
    )


X = jnp.zeros((1, 3, 3, 1))


def test_an_encoder_of_another_size_is_named():
    with pytest.raises(te.InputError, match=r"encoder returned .* expected \(1, 2\)"):
        model(outputs=3).init(jax.random.key(0), X)


def test_a_latent_dimension_below_one_is_named():
    with pytest.raises(te.InputError, match="latent_dim must be an integer >= 1, got 0"):
        model(latent_dim=0)


def test_generated_pixels_are_probabilities():
    autoencoder = model()
    params = autoencoder.init(jax.random.key(0), X)
    images = autoencoder.generate(jax.random.key(1), params, 7, num_steps=3)
    assert images.shape == (7, 3, 3, 1)
    assert bool(jnp.all((images > 0) & (images < 1)))


def test_the_normalizer_is_that_of_the_codes():
    """With an energy of zero the codes are N(0, I), and log Z is 0."""
    autoencoder = model()
    params = autoencoder.init(jax.random.key(0), X)
    flat = params._replace(prior=jax.tree.map(jnp.zeros_like, params.prior))
    report = autoencoder.log_normalizer(jax.random.key(1), flat, num_ensembles=16, num_samples=50)
    assert float(report.log_evidence) == pytest.approx(0.0, abs=0.05)
