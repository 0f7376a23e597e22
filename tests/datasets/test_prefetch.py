import functools
import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tempered_ebm as te
from tests.datasets import formats

IMAGES = formats.pixels(23, (3, 4, 1))
LABELS = np.arange(23)
ORDER = functools.partial(te.datasets.wrapped_batch_index, 5, num_images=23, batch_size=4)


def threads():
    return [t for t in threading.enumerate() if t.name == "tempered_ebm-prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    assert threads() == []
    yield
    assert threads() == []


def prefetch(start=0, stop=None, images=IMAGES, index_fn=ORDER, **options):
    return te.datasets.Prefetcher(images, index_fn, start, stop, **options)


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(0, 12), st.integers(1, 5))
def test_batches_are_those_of_the_steps_from_any_start(start, count, depth):
    with prefetch(start, start + count, labels=LABELS, depth=depth) as batches:
        taken = list(batches)
    assert [batch.step for batch in taken] == list(range(start, start + count))
    for batch in taken:
        indices = ORDER(batch.step)
        np.testing.assert_array_equal(batch.indices, indices)
        np.testing.assert_array_equal(batch.labels, indices)
        np.testing.assert_array_equal(batch.images, te.datasets.from_bytes(IMAGES[indices]))


def test_bytes_floats_and_maps_give_the_same_bits(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    whole = te.datasets.from_bytes(IMAGES)
    for images in (IMAGES, mapped, whole):
        with prefetch(3, 9, images) as batches:
            for batch in batches:
                assert type(batch.images) is np.ndarray
                assert batch.images.dtype == np.float32
                np.testing.assert_array_equal(batch.images, whole[batch.indices])


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_depth_batches_wait(depth):
    asked = threading.Semaphore(0)
    steps = []

    def index_fn(step):
        steps.append(step)
        asked.release()
        return ORDER(step)

    with prefetch(0, None, index_fn=index_fn, depth=depth) as batches:
        for taken in range(4):
            for _ in range(depth + 1 if taken == 0 else 1):
                assert asked.acquire(timeout=60)
            # Of the batches asked for, depth wait and one is in the making. A thread that asks for
            # too many has time to; one that does not can never fail here.
            assert not asked.acquire(timeout=0.05)
            assert len(steps) == taken + depth + 1
            next(batches)


def test_an_exception_comes_after_the_batches_before_it():
    def index_fn(step):
        if step == 3:
            raise RuntimeError("the disk is gone")
        return ORDER(step)

    with prefetch(1, index_fn=index_fn) as batches:
        assert [next(batches).step, next(batches).step] == [1, 2]
        with pytest.raises(RuntimeError, match="the disk is gone"):
            next(batches)
        with pytest.raises(StopIteration):
            next(batches)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_block_leaves_no_thread(error):
    batches = prefetch()

    def interrupted():
        with batches:
            next(batches)
            raise error

    with pytest.raises(error):
        interrupted()
    assert threads() == []
    with pytest.raises(StopIteration):
        next(batches)


def test_an_iterator_that_is_dropped_ends_its_thread():
    batches = prefetch()
    next(batches)
    [thread] = threads()
    del batches
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_closing_twice_and_after_the_end_is_fine():
    batches = prefetch(0, 2)
    assert len(list(batches)) == 2
    batches.close()
    batches.close()


def test_a_reader_that_waits_when_another_closes_is_let_go():
    ready, hold = threading.Event(), threading.Event()

    def index_fn(step):
        ready.set()
        assert hold.wait(60)
        return ORDER(step)

    batches = prefetch(index_fn=index_fn)
    ended = threading.Event()

    def read():
        list(batches)
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(60)
    batches._buffer.close()
    assert ended.wait(60)
    hold.set()
    reader.join()
    batches.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": IMAGES[0]}, r"images must be \(n, .* got shape \(3, 4, 1\)"),
        ({"images": IMAGES.astype(float)}, r"uint8 or float32, got .* dtype float64"),
        ({"labels": LABELS[:3]}, r"labels must have shape \(23,\), got \(3,\)"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"start": 2, "stop": 1}, "stop must be an integer >= 2, got 1"),
        ({"start": -1}, "start must be an integer >= 0, got -1"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(te.InputError, match=message):
        prefetch(**options)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([0, 23]), r"indices in \[0, 23\), got 0 to 23 at step 7"),
        (np.array([-1]), r"got -1 to -1 at step 7"),
        (np.array([0.5]), "a vector of integers, got shape"),
        (np.array([[0]]), "a vector of integers, got shape"),
    ],
)
def test_bad_indices_are_named_with_their_step(indices, message):
    with (
        pytest.raises(te.InputError, match=message),
        prefetch(7, index_fn=lambda step: indices) as batches,
    ):
        next(batches)
