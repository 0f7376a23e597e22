import dataclasses

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import densities as toy
from tests import ground_truths as gt


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["moons", "muller_brown"])
def test_points_are_draws_of_the_named_density(name):
    data = te.datasets.load_toy(name, 20_000, seed=3)
    assert (data.name, data.density.name) == (name, name)
    for points, size in ((data.x_train, 16_000), (data.x_test, 4_000)):
        assert points.shape == (size, 2)
        assert points.dtype == np.float32
        surprise = -np.asarray(jax.jit(data.density.log_prob)(points))
        gt.assert_expectations(surprise, data.density.entropy, name)


def test_an_unknown_name_is_answered_with_every_known_one():
    with pytest.raises(te.InputError) as error:
        te.datasets.load_toy("eight_gaussian")
    assert all(make.__name__ in str(error.value) for make in toy.ALL)


def test_the_seed_decides_the_points_and_no_point_is_in_both_parts():
    first, again, other = (te.datasets.load_toy("squares", 1_000, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert not np.any(first.x_train == other.x_train)
    together = np.concatenate([first.x_train, first.x_test])
    assert len(np.unique(together, axis=0)) == 1_000


def test_a_density_with_other_parameters_can_be_given():
    data = te.datasets.load_toy(toy.moons(scale=0.02), 5_000, held_out=0.5)
    assert data.x_test.shape == (2_500, 2)
    assert data.density.entropy < toy.moons().entropy - 1


def test_points_are_float32_in_double_precision_too():
    with jax.enable_x64(True):
        assert te.datasets.load_toy("banana", 10).x_train.dtype == np.float32


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: te.datasets.load_toy("moon"), "name must be one of banana, .*, got 'moon'"),
        (lambda: te.datasets.load_toy("moons", 1), "num_samples must be an integer >= 2, got 1"),
        (lambda: te.datasets.load_toy("moons", 10.0), "num_samples must be an integer >= 2"),
        (lambda: te.datasets.load_toy("moons", seed=-1), "seed must be an integer >= 0, got -1"),
        (lambda: te.datasets.load_toy("moons", held_out=1.0), "cannot hold out"),
        (
            lambda: te.datasets.load_toy(dataclasses.replace(toy.moons(), sample=None)),
            "moons has no exact sampler",
        ),
    ],
)
def test_bad_arguments_are_named(load, message):
    with pytest.raises(te.InputError, match=message):
        load()
