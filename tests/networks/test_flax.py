import jax
from flax import nnx

from tests.networks import frameworks as networks


class Energy(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(2, networks.WIDTH, rngs=rngs)
        self.out = nnx.Linear(networks.WIDTH, 1, rngs=rngs)

    def __call__(self, z):
        return self.out(jax.nn.tanh(self.hidden(z)))


GRAPH, PARAMS = nnx.split(Energy(nnx.Rngs(0)))


def init(rng_key, z):
    return nnx.state(Energy(nnx.Rngs(rng_key)))


def apply(params, z):
    return nnx.merge(GRAPH, params)(z)


def test_an_nnx_energy_is_the_plain_energy():
    w1, b1, w2, b2 = networks.weights()
    values = {"hidden": {"kernel": w1, "bias": b1}, "out": {"kernel": w2, "bias": b2}}
    params = nnx.to_pure_dict(PARAMS)
    assert jax.tree.structure(params) == jax.tree.structure(values)
    networks.assert_same_energy(lambda p, z: nnx.merge(GRAPH, nnx.State(p))(z), values)


def test_an_nnx_module_is_the_prior_of_a_latent_ebm():
    networks.assert_trains_as_a_prior(init, apply)
