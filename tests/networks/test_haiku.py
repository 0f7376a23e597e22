import haiku as hk
import jax

from tests.networks import frameworks as networks


def energy(z):
    hidden = jax.nn.tanh(hk.Linear(networks.WIDTH)(z))
    return hk.Linear(1)(hidden)


NETWORK = hk.without_apply_rng(hk.transform(energy))


def test_a_haiku_energy_is_the_plain_energy():
    w1, b1, w2, b2 = networks.weights()
    params = {"linear": {"w": w1, "b": b1}, "linear_1": {"w": w2, "b": b2}}
    networks.assert_same_energy(NETWORK.apply, params)


def test_a_haiku_network_is_the_prior_of_a_latent_ebm():
    networks.assert_trains_as_a_prior(NETWORK.init, NETWORK.apply)
