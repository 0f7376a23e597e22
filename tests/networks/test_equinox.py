import equinox as eqx
import jax

from tests.networks import frameworks as networks


def build(rng_key):
    return eqx.nn.MLP(2, 1, networks.WIDTH, 1, activation=jax.nn.tanh, key=rng_key)


STATIC = eqx.partition(build(jax.random.key(0)), eqx.is_array)[1]


def init(rng_key, z):
    return eqx.filter(build(rng_key), eqx.is_array)


def apply(params, z):
    return jax.vmap(eqx.combine(params, STATIC))(z)


def test_an_equinox_energy_is_the_plain_energy():
    w1, b1, w2, b2 = networks.weights()
    params = eqx.tree_at(
        lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
        init(jax.random.key(0), None),
        [jax.numpy.asarray(leaf) for leaf in (w1.T, b1, w2.T, b2)],
    )
    networks.assert_same_energy(apply, params)


def test_an_equinox_module_is_the_prior_of_a_latent_ebm():
    networks.assert_trains_as_a_prior(init, apply)
