import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempered_ebm as te
from tempered_ebm.datasets import splits

DIGITS = te.datasets.load_digits()
UNLABELLED = dataclasses.replace(DIGITS, y_train=None, y_test=None)


def numbered(labels):
    """A set whose image i is constant i."""
    n = len(labels)
    images = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 2, 2, 1))
    return te.datasets.ImageDataset("numbered", images, images, np.array(labels), np.array(labels))


SEEDS = st.integers(0, 2**32 - 1)
LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=40)


@given(LABELS, st.data(), st.integers(0, 2**32 - 1))
def test_parts_are_disjoint_complete_stratified_and_keep_order_and_labels(labels, data, seed):
    whole = numbered(labels)
    count = data.draw(st.integers(2, len(labels) - 2))
    parts = te.datasets.split_validation(whole, count, seed)
    kept, chosen = parts.x_train[:, 0, 0, 0].astype(int), parts.x_validation[:, 0, 0, 0].astype(int)
    assert len(chosen) == count
    assert sorted([*kept, *chosen]) == list(range(len(labels)))
    assert all(np.all(np.diff(part) > 0) for part in (kept, chosen))
    np.testing.assert_array_equal(whole.y_train[kept], parts.y_train)
    np.testing.assert_array_equal(whole.y_train[chosen], parts.y_validation)
    for label in set(labels):
        share = labels.count(label) * count / len(labels)
        assert abs(np.sum(parts.y_validation == label) - share) < 1
    assert parts.x_test is whole.x_test


def test_a_fraction_is_that_of_the_training_images_and_the_seed_decides():
    first, again, other = (te.datasets.split_validation(DIGITS, 0.25, seed) for seed in (0, 0, 1))
    assert len(first.x_validation) == round(0.25 * len(DIGITS.x_train))
    np.testing.assert_array_equal(first.x_validation, again.x_validation)
    assert not np.array_equal(first.x_validation, other.x_validation)
    assert te.datasets.split_validation(UNLABELLED, 0.25).y_validation is None


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0.0, "size must be a fraction between 0 and 1 or an integer, got 0.0"),
        (1.5, "size must be a fraction"),
        (0, "size must be an integer >= 1, got 0"),
        (1, "size must leave at least 2 of the 1438 training images of digits in either set"),
        (1437, "size must leave at least 2"),
        (float("nan"), "size must be a fraction"),
    ],
)
def test_a_bad_size_is_named(size, message):
    with pytest.raises(te.InputError, match=message):
        te.datasets.split_validation(DIGITS, size)


def test_a_second_validation_part_is_refused():
    parts = te.datasets.split_validation(DIGITS, 10)
    with pytest.raises(te.InputError, match="digits already has 10 validation images"):
        te.datasets.split_validation(parts, 10)


@given(LABELS, st.data())
def test_a_subset_is_a_stratified_part_in_order(labels, data):
    whole = numbered(labels)
    count = data.draw(st.integers(2, len(labels)))
    few = te.datasets.subset(whole, num_test=count)
    numbers = few.x_test[:, 0, 0, 0].astype(int)
    assert len(set(numbers)) == count
    assert np.all(np.diff(numbers) > 0)
    np.testing.assert_array_equal(few.y_test, whole.y_test[numbers])
    assert few.x_train is whole.x_train
    for label in set(labels):
        assert abs(np.sum(few.y_test == label) - labels.count(label) * count / len(labels)) < 1


def test_a_subset_that_is_no_part_is_named():
    assert len(te.datasets.subset(UNLABELLED, 20).x_train) == 20
    with pytest.raises(te.InputError, match=r"num_train must be at most the 1438 .*, got 1439"):
        te.datasets.subset(DIGITS, 1439)
    with pytest.raises(te.InputError, match="num_test must be an integer >= 2, got 1"):
        te.datasets.subset(DIGITS, num_test=1)


def test_a_class_and_the_rest_are_the_whole():
    whole = te.datasets.split_validation(DIGITS, 200)
    rest, one = te.datasets.without_label(whole, 4), te.datasets.only_label(whole, 4)
    assert (rest.name, one.name) == ("digits-without-4", "digits-only-4")
    for part in ("train", "test", "validation"):
        labels = getattr(whole, f"y_{part}")
        images = getattr(whole, f"x_{part}")
        np.testing.assert_array_equal(getattr(rest, f"x_{part}"), images[labels != 4])
        np.testing.assert_array_equal(getattr(one, f"x_{part}"), images[labels == 4])
        assert set(getattr(one, f"y_{part}")) == {4}
        assert 4 not in getattr(rest, f"y_{part}")


def test_a_label_that_cannot_be_left_out_is_named():
    with pytest.raises(te.InputError, match=r"a class of digits \(0, 1, .*9\), got 11"):
        te.datasets.without_label(DIGITS, 11)
    with pytest.raises(te.InputError, match="digits has no labels y_train to choose label 1 by"):
        te.datasets.only_label(UNLABELLED, 1)
    with pytest.raises(te.InputError, match="has 1 images in x_train without label 0"):
        te.datasets.without_label(numbered([0, 0, 1]), 0)


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


@given(seed=SEEDS, size=sizes(), start=st.integers(0, 100))
def test_any_start_gives_the_same_batches(seed, size, start):
    def batches(begin):
        return [te.datasets.batch_index(seed, step, *size) for step in range(begin, start + 5)]

    splits._epoch_order.cache_clear()
    late = batches(start)
    for early, again in zip(batches(0)[start:], late, strict=True):
        np.testing.assert_array_equal(early, again)


def test_epochs_and_seeds_differ():
    def epoch(seed, number):
        return te.datasets.batch_index(seed, number, 500, 500).tolist()

    orders = [epoch(seed, number) for seed in range(3) for number in range(3)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


def test_the_order_of_existing_runs_stays():
    assert te.datasets.batch_index(3, 12, 10, 4).tolist() == (
        np.random.default_rng([3, 6]).permutation(10)[:4].tolist()
    )


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
def test_bad_arguments_of_an_order_are_named(arguments, message):
    with pytest.raises(te.InputError, match=message):
        te.datasets.batch_index(*arguments)
