import jax
import jax.numpy as jnp
import pytest

import tempered_ebm as te
from tempered_ebm import sharding
from tests import checks_loops as checks


@pytest.mark.slow
@pytest.mark.parametrize("names", [("exchange",), ("mala", "ula")])
def test_draws_do_not_depend_on_the_number_of_devices(names):
    checks.draws_do_not_depend_on_the_number_of_devices(names)


def test_scalars_are_replicated_and_states_can_be_shared_out():
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum(z, -1))
    kernel = te.replica_exchange(target, te.schedules.uniform(3), 0.1)
    state = sharding.shard_chains(
        jax.jit(kernel.init)(jnp.zeros((3, 4, 2))), sharding.data_mesh(), chain_axis=1
    )
    assert int(jax.jit(kernel.step)(jax.random.key(0), state)[0].num_steps) == 1


def test_bad_arguments_are_named():
    mesh = sharding.data_mesh()
    with pytest.raises(te.InputError, match="mesh must have an axis 'data'"):
        sharding.shard_chains(jnp.zeros(4), jax.make_mesh((1,), ("model",)))
    with pytest.raises(te.InputError, match=r"tree has shape \(4,\); expected chains along axis 1"):
        sharding.shard_chains(jnp.zeros(4), mesh, chain_axis=1)
    with pytest.raises(te.InputError, match="chain_axis must be an integer >= 0"):
        sharding.shard_chains(jnp.zeros(4), mesh, chain_axis=-1)
