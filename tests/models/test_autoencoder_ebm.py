import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import evidence


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
        jax.eval_shape(model(outputs=3).init, jax.random.key(0), X)


def test_a_latent_dimension_below_one_is_named():
    with pytest.raises(te.InputError, match="latent_dim must be an integer >= 1, got 0"):
        model(latent_dim=0)


def test_generated_pixels_are_probabilities():
    autoencoder = model()
    params = jax.jit(autoencoder.init)(jax.random.key(0), X)
    generate = jax.jit(lambda key: autoencoder.generate(key, params, 7, num_steps=3))
    images = generate(jax.random.key(1))
    assert images.shape == (7, 3, 3, 1)
    assert bool(jnp.all((images > 0) & (images < 1)))


def test_the_normalizer_is_that_of_the_codes(monkeypatch):
    """The negative energy under N(0, I) is what is integrated, with the options given."""
    autoencoder = model()
    params = jax.jit(autoencoder.init)(jax.random.key(0), X)
    run = {}

    def log_normalizer(rng_key, negative_energy_fn, example, **options):
        run.update(f=negative_energy_fn, example=example, options=options)
        return "report"

    monkeypatch.setattr(evidence, "log_normalizer", log_normalizer)
    found = autoencoder.log_normalizer(jax.random.key(1), params, num_ensembles=16, num_samples=50)
    assert found == "report"
    assert (run["example"], run["options"]) == (
        2, {"num_ensembles": 16, "options": {"num_samples": 50}}
    )  # fmt: skip
    z = jnp.array([[0.3, -0.2], [1.0, 2.0]])
    f, expected, density = jax.jit(
        lambda z: (
            jax.vmap(run["f"])(z),
            autoencoder.prior_network.apply(params.prior, z),
            autoencoder.codes.logdensity(params.prior, z),
        )
    )(z)
    np.testing.assert_allclose(f, expected, rtol=1e-6)
    normal = -0.5 * np.sum(np.asarray(z) ** 2, -1) - np.log(2 * np.pi)
    np.testing.assert_allclose(density, expected + normal, rtol=1e-5)
