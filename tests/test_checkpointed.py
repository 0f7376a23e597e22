import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import checks_loops as checks

KEY, START = jax.random.key(0), jnp.arange(3.0)


def noisy(data, calls):
    def fn(key, x):
        calls.append(1)
        return {
            "x": x + data + jax.random.normal(key, x.shape),
            "key": jax.random.split(key),
            "half": x.astype(jnp.bfloat16),
            "flag": x > 1,
        }

    return fn


def as_numbers(result):
    data = result | {"key": jax.random.key_data(result["key"])}
    return {name: np.asarray(value, np.float64) for name, value in data.items()}


def test_a_call_made_again_is_read_bit_for_bit(tmp_path):
    calls, path = [], tmp_path / "new" / "block.npz"
    first = te.inference.checkpointed(path, noisy(1.0, calls), KEY, START)
    traced = len(calls)
    again = te.inference.checkpointed(path, noisy(1.0, calls), KEY, START)
    # Traced for the digest and for the shapes, and not run.
    assert len(calls) == 2 * traced - 1
    assert jax.tree.map(lambda leaf: leaf.dtype, first) == jax.tree.map(
        lambda leaf: leaf.dtype, again
    )
    for name, value in as_numbers(first).items():
        np.testing.assert_array_equal(value, as_numbers(again)[name])


@pytest.mark.parametrize("change", checks.CALLS)
def test_another_call_is_refused(change):
    checks.a_checkpoint_answers_its_own_call_alone(change)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "block.npz"
    te.inference.checkpointed(path, noisy(1.0, []), KEY, START)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(te.InputError, match=str(path)):
        te.inference.checkpointed(path, noisy(1.0, []), KEY, START)
    with pytest.raises(te.InputError, match="path must be"):
        te.inference.checkpointed(3, noisy(1.0, []), KEY, START)
