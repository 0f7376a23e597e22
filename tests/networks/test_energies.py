import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.networks import mlp_energy


def test_one_value_per_latent_vector():
    network = mlp_energy((8, 8))
    params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    z = jax.random.normal(jax.random.key(1), (5, 3))
    values = network.apply(params, z)
    assert values.shape == (5,)
    np.testing.assert_allclose(values[2], network.apply(params, z[2:3])[0], rtol=1e-5)
    assert len(np.unique(values)) == 5


@pytest.mark.parametrize("widths", [(), (0,), (8, -1)])
def test_bad_widths_are_named(widths):
    with pytest.raises(te.InputError, match="widths must be at least one positive size, got"):
        mlp_energy(widths)
