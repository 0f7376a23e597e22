import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.models import checks_replay as checks


def sample(buffer, num_chains, start, probability, key=0, **options):
    """One program instead of one for each operation."""
    return jax.jit(
        lambda key, buffer: te.replay.sample(key, buffer, num_chains, start, probability, **options)
    )(jax.random.key(key), buffer)


def test_an_identity_kernel_changes_nothing():
    checks.an_identity_kernel_changes_nothing()


def test_chains_return_to_their_slots():
    checks.chains_return_to_their_slots()


@pytest.mark.statistical
def test_restarts_happen_with_their_probability():
    checks.restarts_happen_with_their_probability()


@pytest.mark.statistical
def test_every_slot_is_taken_as_often():
    checks.every_slot_is_taken_as_often()


def test_probability_one_renews_every_chain_and_zero_none():
    buffer = checks.buffer_of_slots()
    for probability in (0.0, 1.0):
        batch = sample(buffer, 20, checks.far_start, probability)
        assert bool(jnp.all(batch.is_new == (probability == 1.0)))


def test_a_chain_that_is_lost_starts_afresh():
    buffer = checks.buffer_of_slots()
    lost = buffer.position.at[7, 1].set(jnp.nan).at[9, 0].set(jnp.inf)
    buffer = buffer._replace(position=lost, age=buffer.age + 3)
    batch = sample(buffer, checks.CAPACITY, checks.far_start, 0.0)
    assert set(np.asarray(batch.slot)[np.asarray(batch.is_new)].tolist()) == {7, 9}
    assert bool(jnp.all(jnp.isfinite(batch.position)))
    assert set(np.asarray(batch.age).tolist()) == {0, 3}


def test_every_block_gives_as_many_chains():
    buffer = checks.buffer_of_slots()
    for i in range(5):
        batch = sample(buffer, 20, checks.far_start, 0.0, i, num_blocks=4)
        blocks = np.asarray(batch.slot) // 15
        np.testing.assert_array_equal(blocks, np.repeat(np.arange(4), 5))
        assert len(set(np.asarray(batch.slot).tolist())) == 20


def test_no_gradient_passes_into_the_buffer():
    buffer = checks.buffer_of_slots()
    batch = sample(buffer, 20, checks.far_start, 0.0)

    def total(scale):
        ends = batch.position * scale
        return te.replay.update(buffer, batch, ends, num_steps=1).position.sum()

    assert float(jax.jit(jax.grad(total))(2.0)) == 0.0


def test_a_buffer_lives_inside_a_jitted_scan():
    start = te.replay.uniform_start((2,))
    kernel = te.ula(lambda x: -0.5 * jnp.sum(x**2, -1), 0.1)

    @jax.jit
    def run(buffer, keys):
        def step(buffer, key):
            sample_key, chain_key = jax.random.split(key)
            batch = te.replay.sample(sample_key, buffer, 10, start, 0.1)
            ends = te.inference.short_run(chain_key, kernel, batch.position, 3).position
            return te.replay.update(buffer, batch, ends, num_steps=3), batch.is_new.sum()

        return jax.lax.scan(step, buffer, keys)

    buffer, restarts = run(
        te.replay.init(jax.random.key(0), 40, start), jax.random.split(jax.random.key(1), 50)
    )
    ages = te.replay.age_statistics(buffer)
    assert 0 < int(restarts.sum()) < 500
    assert int(ages.longest) % 3 == 0
    assert 0 < float(ages.mean) <= int(ages.longest)
    assert float(ages.unmoved) == float(jnp.mean(buffer.age == 0))


@pytest.mark.statistical
def test_starts_have_their_laws():
    label = jnp.tile(jnp.arange(2), 4000)
    means = jnp.array([[1.0, -2.0], [0.0, 3.0]])
    roots = jnp.array([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [-0.2, 0.1]]])
    diagonal = jnp.array([[0.5, 2.0], [1.0, 0.1]])
    full = jax.jit(te.replay.class_gaussian_start(means, roots))(gt.key(370), label)
    plain = jax.jit(te.replay.class_gaussian_start(means, diagonal))(gt.key(371), label)
    for c in range(2):
        mine = np.asarray(label) == c
        for got, covariance in (
            (full, roots[c] @ roots[c].T),
            (plain, jnp.diag(diagonal[c] ** 2)),
        ):
            centred = np.asarray(got)[mine] - np.asarray(means[c])
            gt.assert_expectations(centred, 0.0, "mean")
            products = np.einsum("ni,nj->nij", centred, centred)
            gt.assert_expectations(products.reshape(-1, 4), np.ravel(covariance), "covariance")
    normal = te.replay.gaussian_start(means[0], 0.5)(gt.key(372), label)
    gt.assert_expectations(np.asarray(normal), np.asarray(means[0]), "mean")
    gt.assert_expectations((np.asarray(normal) - np.asarray(means[0])) ** 2, 0.25, "variance")
    box = np.asarray(te.replay.uniform_start((2,), -1.0, 3.0)(gt.key(373), label))
    assert -1 <= box.min() < box.max() <= 3
    gt.assert_expectations(box, 1.0, "mean")
    gt.assert_expectations((box - 1) ** 2, 4 / 3, "variance")


def test_chains_start_at_data_points():
    x = jnp.arange(10.0)[:, None]
    labels = jnp.zeros(200, jnp.int32)
    start = jax.jit(te.replay.data_start(x))(jax.random.key(0), labels)
    assert set(np.asarray(start).ravel().tolist()) == set(range(10))


START = te.replay.uniform_start((2,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: te.replay.sample(jax.random.key(0), b, 61, START, 0.0), "at most the 60 slots"),
        (lambda b: te.replay.sample(jax.random.key(0), b, 0, START, 0.0), "num_chains must be"),
        (lambda b: te.replay.sample(jax.random.key(0), b, 5, START, 1.1), "restart_probability"),
        (
            lambda b: te.replay.sample(jax.random.key(0), b, 20, START, 0.0, num_blocks=7),
            "num_blocks must divide the 60 slots and the 20 chains, got 7",
        ),
        (lambda b: te.replay.init(jax.random.key(0), 0, START), "capacity must be"),
        (
            lambda b: te.replay.init(jax.random.key(0), 5, lambda key, label: jnp.zeros((2, 2))),
            "start must return 5 positions",
        ),
        (lambda b: te.replay.uniform_start((2,), 1.0, 1.0), "low must be below high"),
        (lambda b: te.replay.gaussian_start(jnp.zeros(2), 0.0), "standard_deviation must be"),
        (
            lambda b: te.replay.class_gaussian_start(jnp.zeros((3, 2)), jnp.ones((3, 3))),
            "roots must have shape",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(te.InputError, match=message):
        call(checks.buffer_of_slots())


def test_ends_of_another_shape_are_named():
    buffer = checks.buffer_of_slots()
    batch = sample(buffer, 4, START, 0.0)
    with pytest.raises(te.InputError, match="position must have shape"):
        te.replay.update(buffer, batch, jnp.zeros((3, 2)), num_steps=1)
