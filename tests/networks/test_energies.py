import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.networks import mlp_network, spectrally_normalized


def test_one_value_per_latent_vector():
    network = mlp_network((8, 8))

    @jax.jit
    def outputs(z):
        params = network.init(jax.random.key(0), z)
        return network.apply(params, z), network.apply(params, z[2:3])

    values, alone = outputs(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    assert values.shape == (5,)
    np.testing.assert_allclose(values[2], alone[0], rtol=1e-5)
    assert len(np.unique(values)) == 5


@pytest.mark.parametrize("widths", [(), (0,), (8, -1)])
def test_bad_widths_are_named(widths):
    with pytest.raises(te.InputError, match="widths must be at least one positive size, got"):
        mlp_network(widths)


NETWORKS = {
    "convolutions": lambda **o: te.networks.conv_network(3, width=4, **o),
    "residual": lambda **o: te.networks.residual_network(3, width=4, **o),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "shape",
    [(9, 6, 3), *(pytest.param(s, marks=pytest.mark.slow) for s in ((8, 8, 1), (28, 28, 1)))],
)
def test_an_image_has_its_output_whatever_its_batch(name, shape):
    """No statistic of the batch enters: the output is a function of one image."""
    net = NETWORKS[name]()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, *shape)), jnp.float32)

    @jax.jit
    def outputs(x):
        params = net.init(jax.random.key(0), x)
        return net.apply(params, x), jax.lax.map(lambda one: net.apply(params, one[None])[0], x)

    together, alone = outputs(x)
    assert together.shape == (4, 3)
    np.testing.assert_allclose(together, alone, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_pixel_counts(name):
    net = NETWORKS[name]()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 1)), jnp.float32)

    @jax.jit
    def gradient(x):
        params = net.init(jax.random.key(0), x)
        return jax.grad(lambda x: net.apply(params, x)[0, 0])(x)

    grad = gradient(x)
    assert jnp.all(grad != 0)


@pytest.mark.parametrize("shape", [(30, 20), (3, 3, 8, 16)])
def test_a_normalized_weight_has_spectral_norm_one(shape):
    w = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    normalized = np.asarray(jax.jit(spectrally_normalized)(w)).reshape(-1, shape[-1])
    value = np.linalg.svd(normalized)[1][0]
    # Power iteration approaches the largest singular value from below.
    assert 1.0 - 1e-5 < value < 1.1


@pytest.mark.parametrize("name", NETWORKS)
def test_spectral_normalization_makes_the_scale_of_weights_irrelevant(name):
    net = NETWORKS[name](spectral_norm=True)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)

    @jax.jit
    def outputs(x):
        params = net.init(jax.random.key(0), x)
        return net.apply(params, x), net.apply(jax.tree.map(lambda p: p * 3.0, params), x)

    np.testing.assert_allclose(*outputs(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: te.networks.conv_network(0), "num_outputs must be an integer >= 1, got 0"),
        (lambda: te.networks.conv_network(width=0), "width must be an integer >= 1, got 0"),
        (lambda: te.networks.residual_network(width=0), "width must be an integer >= 1, got 0"),
        (
            lambda: te.networks.residual_network(blocks_per_size=0),
            "blocks_per_size must be an integer >= 1, got 0",
        ),
    ],
)
def test_sizes_below_one_are_named(build, message):
    with pytest.raises(te.InputError, match=message):
        build()
