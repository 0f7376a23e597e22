import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import tempered_ebm as te
from tempered_ebm.datasets.permutation import permute
from tests import ground_truths as gt

SEEDS = st.integers(0, 2**32 - 1)
ORDERS = {
    "dropped": te.datasets.batch_index,
    "wrapped": te.datasets.wrapped_batch_index,
}


@st.composite
def sizes(draw, largest=60):
    num_images = draw(st.integers(1, largest))
    return num_images, draw(st.integers(1, num_images))


@given(SEEDS, sizes(), st.integers(0, 5))
def test_every_example_comes_at_most_once_an_epoch_and_less_than_a_batch_is_left_out(
    seed, size, epoch
):
    num_images, batch_size = size
    steps = num_images // batch_size
    batches = [
        te.datasets.batch_index(seed, epoch * steps + i, num_images, batch_size)
        for i in range(steps)
    ]
    visited = np.concatenate(batches)
    assert len(np.unique(visited)) == steps * batch_size
    assert 0 <= visited.min() <= visited.max() < num_images


@given(SEEDS, sizes())
def test_batches_that_wrap_leave_nothing_out(seed, size):
    num_images, batch_size = size
    steps = -(-3 * num_images // batch_size)
    stream = np.concatenate(
        [te.datasets.wrapped_batch_index(seed, i, num_images, batch_size) for i in range(steps)]
    )
    for epoch in range(3):
        visited = stream[epoch * num_images : (epoch + 1) * num_images]
        assert sorted(visited) == list(range(num_images))


@pytest.mark.parametrize("name", ORDERS)
@given(seed=SEEDS, size=sizes(), start=st.integers(0, 100))
def test_any_start_gives_the_same_batches(name, seed, size, start):
    def batches(begin):
        return [ORDERS[name](seed, step, *size) for step in range(begin, start + 5)]

    te.datasets.order._epoch_order.cache_clear()
    late = batches(start)
    for early, again in zip(batches(0)[start:], late, strict=True):
        np.testing.assert_array_equal(early, again)


@pytest.mark.parametrize("name", ORDERS)
def test_epochs_and_seeds_differ(name):
    def epoch(seed, number):
        return ORDERS[name](seed, number, 500, 500).tolist()

    orders = [epoch(seed, number) for seed in range(3) for number in range(3)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


def test_the_order_of_existing_runs_stays():
    assert te.datasets.batch_index(3, 12, 10, 4).tolist() == (
        np.random.default_rng([3, 6]).permutation(10)[:4].tolist()
    )


@pytest.mark.parametrize("name", ORDERS)
@given(seed=SEEDS, step=st.integers(0, 50), local=st.integers(1, 7), processes=st.integers(1, 6))
def test_processes_share_the_global_batch(name, seed, step, local, processes):
    batch_size = local * processes
    batch = ORDERS[name](seed, step, 2 * batch_size + 1, batch_size)
    shares = [te.datasets.process_slice(batch, p, processes) for p in range(processes)]
    assert {len(share) for share in shares} == {local}
    np.testing.assert_array_equal(np.concatenate(shares), batch)


@given(st.integers(1, 9_000), st.tuples(SEEDS, st.integers(0, 99)))
def test_places_are_permuted(num_items, key):
    places = np.arange(num_items)
    images = permute(places, num_items, key)
    assert np.array_equal(np.sort(images), places)
    half = permute(places[::2], num_items, key)
    np.testing.assert_array_equal(half, images[::2])


def test_a_huge_set_is_permuted_without_its_memory():
    places = np.arange(2**40, 2**40 + 1_000)
    images = permute(places, 2**50 + 3, (0, 0))
    assert len(np.unique(images)) == 1_000
    assert 0 <= images.min() <= images.max() < 2**50 + 3
    batch = te.datasets.wrapped_batch_index(0, 10**9, 10**12, 64)
    assert len(np.unique(batch)) == 64


@pytest.mark.statistical
def test_a_permuted_set_is_well_mixed():
    n = 60_000
    places = np.arange(n)
    z = []
    for epoch in range(10):
        images = permute(places, n, (gt.seed(0), epoch))
        z.append(np.corrcoef(images, places)[0, 1] * np.sqrt(n))
        z.append(np.corrcoef(images[1:], images[:-1])[0, 1] * np.sqrt(n))
        blocks = np.histogram2d(images, places, bins=20)[0]
        chi2 = np.sum((blocks - n / 400) ** 2) / (n / 400)
        z.append(stats.norm.isf(stats.chi2.sf(chi2, 19 * 19)))
    assert np.all(np.abs(z) < gt.z_threshold(len(z)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 3, 4), "batch_size must be at most num_images = 3, got 4"),
        ((0, -1, 3, 2), "step must be an integer >= 0, got -1"),
        ((-1, 0, 3, 2), "seed must be an integer >= 0"),
        ((0, 0, 3, 0), "batch_size must be an integer >= 1, got 0"),
        ((0, 0, 0, 1), "num_images must be an integer >= 1, got 0"),
    ],
)
@pytest.mark.parametrize("name", ORDERS)
def test_bad_arguments_are_named(name, arguments, message):
    with pytest.raises(te.InputError, match=message):
        ORDERS[name](*arguments)


def test_bad_places_and_processes_are_named():
    with pytest.raises(te.InputError, match=r"places must be in \[0, 3\)"):
        permute(np.array([3]), 3, (0,))
    with pytest.raises(te.InputError, match="at most 2"):
        permute(np.array([3]), 2**63, (0,))
    with pytest.raises(te.InputError, match="process must be below num_processes = 2, got 2"):
        te.datasets.process_slice(np.arange(4), 2, 2)
    with pytest.raises(te.InputError, match="num_processes must divide the batch size 5, got 2"):
        te.datasets.process_slice(np.arange(5), 0, 2)
