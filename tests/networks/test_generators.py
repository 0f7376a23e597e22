import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.networks import deconv_generator, mlp_generator

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("make", ["deconv", "mlp"])
def test_images_have_the_shape_asked_for_and_stay_in_range(make, shape):
    network = (
        deconv_generator(shape, width=2) if make == "deconv" else mlp_generator(shape, widths=(8,))
    )

    @jax.jit
    def images(key, z):
        return network.apply(network.init(key, z), z)

    x = np.asarray(images(jax.random.key(0), 30 * jax.random.normal(jax.random.key(1), (3, 5))))
    assert x.shape == (3, *shape)
    assert np.all(np.abs(x) <= 1)
    assert x.std() > 0.1
    assert not np.allclose(x[0], x[1])


def test_each_image_depends_on_its_own_latent_vector_only():
    network = deconv_generator((8, 8, 1), width=2)
    z = jax.random.normal(jax.random.key(1), (3, 5))
    params = network.init(jax.random.key(0), z)
    apply = jax.jit(network.apply)
    moved = apply(params, z.at[0].add(1.0))
    np.testing.assert_allclose(moved[1:], apply(params, z)[1:], rtol=1e-5, atol=1e-6)
    assert not np.allclose(moved[0], apply(params, z)[0])


def test_an_odd_image_is_one_linear_layer():
    network = deconv_generator((7, 5, 2), width=2)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 5)))
    assert len(params) == 1
    assert jax.eval_shape(network.apply, params, jnp.zeros((4, 5))).shape == (4, 7, 5, 2)


@pytest.mark.parametrize("shape", [(8, 8), (8, 0, 1), (8, 8, 1, 1)])
@pytest.mark.parametrize("make", [deconv_generator, mlp_generator])
def test_a_bad_image_shape_is_named(make, shape):
    with pytest.raises(
        te.InputError, match=r"image_shape must be \(height, width, channels\), got"
    ):
        make(shape)


def test_a_bad_width_is_named():
    with pytest.raises(te.InputError, match="width must be an integer >= 1, got 0"):
        deconv_generator((8, 8, 1), width=0)
