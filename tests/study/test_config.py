"""Grids, cells and jobs, and settings that are refused."""

import dataclasses

import pytest

import tempered_ebm as te
from tempered_ebm.study import config as configs


def grid(**axes):
    return configs.StudyConfig(grid=configs.GridConfig(**axes))


def test_the_default_grid():
    found = configs.cells(configs.StudyConfig())
    assert len(found) == 1 + 4 * 6
    assert len({cell.name for cell in found}) == len(found)


def test_cells_without_a_ladder_are_one_cell():
    found = configs.cells(
        grid(powers=(0.0,), num_temperatures=(4, 8), replica_exchange=(True, False))
    )
    assert [cell.name for cell in found] == ["posterior_off_b32_s10"]


def test_families_without_a_power_appear_once():
    found = configs.cells(grid(estimators=("pooled",), schedules=("uniform",), powers=(1.0, 3.0)))
    assert [cell.name for cell in found] == ["pooled_uniform-K6_b32_s10_swaps"]


def test_jobs_hold_every_cell_once_and_share_a_program():
    config = grid(batch_sizes=(16, 32), metropolis=(True, False))
    config = dataclasses.replace(config, place=configs.PlaceConfig(most_runs_at_once=15))
    jobs = configs.jobs(config)
    assert {cell for job in jobs for cell in job.cells} == set(configs.cells(config))
    assert sum(len(job.cells) for job in jobs) == len(configs.cells(config))
    assert all(len({cell.program for cell in job.cells}) == 1 for job in jobs)
    assert all(len(job.cells) * job.repeats <= 15 for job in jobs)
    assert len({job.name for job in jobs}) == len(jobs)


def test_the_training_of_a_cell_is_its_settings():
    config = grid(metropolis=(True,), num_temperatures=(5,))
    cell = configs.cells(config)[-1]
    train = configs.train_config(config, cell)
    assert train.learning.estimator == cell.estimator == "pooled"
    assert train.learning.power == cell.power == 10.0
    assert train.learning.num_temperatures == 5
    assert train.chain.metropolis
    assert train.learning.replica_exchange


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("grid", "powers", (1.0, 1.0), "--powers must list distinct values"),
        ("grid", "powers", (-1.0,), "--powers must be positive"),
        ("grid", "estimators", (), "--estimators must list distinct values"),
        ("grid", "repeats", 0, "--repeats must be an integer >= 1"),
        ("grid", "num_temperatures", (1,), "--num-temperatures must be an integer >= 2"),
        ("runs", "num_steps", 155, "--num-steps must be a multiple of --record-every"),
        ("runs", "learning_rate", 0.0, "--learning-rate must be positive"),
        ("measure", "gradient_repeats", 1, "--gradient-repeats must be an integer >= 2"),
        ("place", "name", "a/b", "--name must be a plain folder name"),
        ("place", "address", "auto", "--address goes with --executor ray"),
    ],
)
def test_bad_settings_are_named(section, name, value, message):
    config = configs.StudyConfig()
    part = dataclasses.replace(getattr(config, section), **{name: value})
    with pytest.raises(te.InputError, match=message):
        configs.validate(dataclasses.replace(config, **{section: part}))
