import jax
import jax.numpy as jnp
import pytest

import tempered_ebm as te


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 8, 1), (5, 5, 1)])
def test_the_convolutional_encoder_mirrors_the_generator(shape):
    """Its last grid, and the channels on the way, are those that the generator begins with."""
    encoder = te.networks.conv_encoder(6, width=2)
    params = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert jax.eval_shape(encoder.apply, params, jnp.zeros((3, *shape))).shape == (3, 6)
    generator = te.networks.deconv_generator(shape, width=2)
    mirrored = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 6)))
    halvings = [module for module in params if "conv2_d" in module]
    doublings = [module for module in mirrored if "conv_transpose" in module]
    assert len(halvings) == len(doublings)
    if halvings:
        assert params["linear"]["w"].shape[0] == mirrored["linear"]["w"].shape[1]


def test_the_perceptron_sees_every_pixel():
    encoder = te.networks.mlp_encoder(2, widths=(5,))

    @jax.jit
    def jacobian_at(x):
        params = encoder.init(jax.random.key(0), x)
        return jax.jacobian(lambda x: encoder.apply(params, x)[0])(x)

    jacobian = jacobian_at(jnp.ones((1, 3, 3, 1)))
    assert jnp.all(jacobian.reshape(2, 9) != 0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: te.networks.conv_encoder(0), "num_outputs must be an integer >= 1, got 0"),
        (lambda: te.networks.conv_encoder(1, width=0), "width must be an integer >= 1, got 0"),
        (lambda: te.networks.mlp_encoder(0), "num_outputs must be an integer >= 1, got 0"),
        (lambda: te.networks.mlp_encoder(1, widths=(0,)), "widths must be an integer >= 1, got 0"),
    ],
)
def test_sizes_below_one_are_named(build, message):
    with pytest.raises(te.InputError, match=message):
        build()
