import json
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import pytest

import tempered_ebm as te
from tempered_ebm import sharding

PROGRAM = textwrap.dedent(
    """
    import json
    import jax, jax.numpy as jnp, numpy as np
    import tempered_ebm as te

    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -jnp.sum((z**2 - 1) ** 2, -1)
    )
    cases = {
        "mala": (te.mala(lambda z: target.logdensity(z, 1.0), 0.2), (16, 3), 0),
        "ula": (te.ula(target.logprior_fn, 0.2), (16, 3), 0),
        "exchange": (te.replica_exchange(target, te.schedules.power(4, 2.0), 0.1), (4, 16, 3), 1),
    }
    result = {}
    for name, (kernel, shape, axis) in cases.items():
        run = jax.jit(lambda key, z, kernel=kernel: te.inference.run_with_moments(
            key, kernel, kernel.init(z), 30)[0])
        start = 0.1 * jnp.arange(float(np.prod(shape))).reshape(shape) % 2.0
        ends = {}
        for n in (1, 2, 8):
            mesh = te.sharding.data_mesh(jax.devices()[:n])
            z = te.sharding.shard_chains(start, mesh, chain_axis=axis)
            end = run(jax.random.key(0), z)
            ends[n] = np.asarray(end.position)
            assert len(end.position.sharding.device_set) == n, (name, n)
            assert end.position.addressable_shards[0].data.shape[axis] == 16 // n
            program = run.lower(jax.random.key(0), z).compile().as_text()
            assert "all-gather" not in program and "all-to-all" not in program, (name, n)
        assert not np.allclose(ends[1], start)
        result[name] = [float(np.abs(ends[n] - ends[1]).max()) for n in (2, 8)]
    print(json.dumps(result))
    """
)


def test_draws_do_not_depend_on_the_number_of_devices():
    """1, 2 and 8 forced host devices, in a process of their own."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, differences in json.loads(done.stdout).items():
        assert max(differences) < 1e-5, (name, differences)


def test_scalars_are_replicated_and_states_can_be_shared_out():
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum(z, -1))
    kernel = te.replica_exchange(target, te.schedules.uniform(3), 0.1)
    state = sharding.shard_chains(
        kernel.init(jnp.zeros((3, 4, 2))), sharding.data_mesh(), chain_axis=1
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
