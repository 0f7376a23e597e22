"""Decisive checks of loops, streams and shards: each raises AssertionError on a wrong one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import textwrap

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tempered_ebm import inference
from tests import ground_truths as gt

CALLS = {
    "key": (jnp.ones(3), jax.random.key(1), jnp.arange(3.0)),
    "argument": (jnp.ones(3), jax.random.key(0), jnp.arange(3.0) + 1),
    "data": (2 * jnp.ones(3), jax.random.key(0), jnp.arange(3.0)),
    "number": (2.0, jax.random.key(0), jnp.arange(3.0)),
}


def a_checkpoint_answers_its_own_call_alone(change: str) -> None:
    """One of another key, another argument, or other data closed over is refused."""
    given = (jnp.ones(3), jax.random.key(0), jnp.arange(3.0))
    with tempfile.TemporaryDirectory() as folder:

        def call(data, key, x) -> jax.Array:
            return inference.checkpointed(
                f"{folder}/block.npz",
                lambda key, x: x + data + jax.random.normal(key, (3,)),
                key,
                x,
            )

        np.testing.assert_array_equal(call(*given), call(*given))
        refused = False
        try:
            call(*CALLS[change])
        except te.InputError as error:
            refused = "another call" in str(error)
        assert refused, change


LOOPS = {
    "advance": inference.advance,
    "trace": lambda *args: inference.trace(*args)[0],
    "run_with_moments": lambda *args: inference.run_with_moments(*args)[0],
    "run_with_covariance": lambda *args: inference.run_with_covariance(*args)[0],
}


def every_step_has_its_own_noise(name: str) -> None:
    """Where nothing pulls, n steps have n times the variance of one."""
    h, num_steps = 0.1, 4
    kernel = te.ula(lambda z: 0.0 * z.sum(-1), h)
    state = jax.jit(kernel.init)(jnp.zeros((20_000, 2)))
    end = jax.jit(lambda key, state: LOOPS[name](key, kernel, state, num_steps).position)
    squares = np.asarray(end(gt.key(170), state), np.float64) ** 2
    gt.assert_expectations(squares, 2 * h * num_steps, name)


# ------------------------------------------------------------------------ streams


@functools.partial(jax.jit, static_argnums=(0, 1))
def feed(init, update, values):
    return jax.lax.scan(lambda m, v: (update(m, v), None), init(values[0]), values)[0]


def stream_of_moments() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (30, 4)).astype(np.float32)
    moments = feed(inference.init_moments, inference.update_moments, jnp.asarray(values))
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, values.var(0, ddof=1), rtol=1e-4)


def stream_of_covariances() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, (30, 3)).astype(np.float32)
    running = feed(inference.init_covariance, inference.update_covariance, jnp.asarray(values))
    np.testing.assert_allclose(running.covariance, np.cov(values.T), rtol=1e-3, atol=1e-4)


def pooled_chains_are_one_long_stream(num_values: int = 7, num_chains: int = 3, seed=0) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_values, num_chains, 3)) + 5 * rng.normal(size=(num_chains, 3))
    values = values.astype(np.float32)
    flat = values.reshape(-1, 3).astype(np.float64)
    moments = feed(inference.init_moments, inference.update_moments, jnp.asarray(values))
    pooled = inference.pool_moments(moments, 1)
    assert int(pooled.num_values) == num_values * num_chains
    np.testing.assert_allclose(pooled.mean, flat.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pooled.variance, flat.var(0, ddof=1), rtol=1e-3, atol=1e-4)
    covariance = feed(inference.init_covariance, inference.update_covariance, jnp.asarray(values))
    together = inference.pool_covariance(covariance, 1)
    assert int(together.num_values) == num_values * num_chains
    np.testing.assert_allclose(together.covariance, np.cov(flat.T), rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------- shards

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
    for name in names:
        kernel, shape, axis = cases[name]
        start = 0.1 * jnp.arange(float(np.prod(shape))).reshape(shape) % 2.0
        ends = {}
        for n in (1, 2, 8):
            jax.clear_caches()
            mesh = te.sharding.data_mesh(jax.devices()[:n])
            z = te.sharding.shard_chains(start, mesh, chain_axis=axis)
            run = jax.jit(lambda key, z, kernel=kernel: te.inference.run_with_moments(
                key, kernel, kernel.init(z), 30)[0])
            program = run.lower(jax.random.key(0), z).compile()
            end = program(jax.random.key(0), z)
            ends[n] = np.asarray(end.position)
            assert len(end.position.sharding.device_set) == n, (name, n)
            assert end.position.addressable_shards[0].data.shape[axis] == 16 // n
            text = program.as_text()
            assert "all-gather" not in text and "all-to-all" not in text, (name, n)
        assert not np.allclose(ends[1], start)
        result[name] = [float(np.abs(ends[n] - ends[1]).max()) for n in (2, 8)]
    print(json.dumps(result))
    """
)


def draws_do_not_depend_on_the_number_of_devices(names: tuple[str, ...], bug: str = "") -> None:
    """1, 2 and 8 forced host devices, in a process of their own, where a bug may be planted."""
    flags = os.environ.get("XLA_FLAGS", "--xla_backend_optimization_level=0")
    flags += " --xla_force_host_platform_device_count=8"
    program = f"names = {list(names)!r}\n{bug}\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    for name, differences in json.loads(done.stdout).items():
        assert max(differences) < 1e-5, (name, differences)
