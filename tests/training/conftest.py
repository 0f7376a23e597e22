"""What the tests of training share: compiled programs, learners, feature spaces, and one run."""

import dataclasses
import functools

import jax
import pytest

from tempered_ebm.datasets import checksum
from tempered_ebm.training import evaluation, run_folder
from tests.training import runs


@pytest.fixture(scope="package", autouse=True)
def compilation_cache(tmp_path_factory):
    """Programs are compiled once, and read back by the next learner of the same kind."""
    if jax.config.jax_compilation_cache_dir:
        yield
        return
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def _what_a_learner_depends_on(config):
    ignored = ("run", "guard", "checkpoint", "data")
    groups = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return config.kind, repr({name: group for name, group in groups.items() if name not in ignored})


@pytest.fixture(scope="package", autouse=True)
def learners_are_built_once():
    """A learner is pure: one of the same options and data is traced once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        for config in run_folder.CONFIGS.values():
            task = run_folder.task_of(config())
            patch.setattr(type(task), "build_learner", staticmethod(_once(task.build_learner)))
        yield


def _once(build):
    known = {}

    @functools.wraps(build)
    def remembering(config, dataset):
        key = (_what_a_learner_depends_on(config), checksum(dataset), dataset.x_train.shape)
        if key not in known:
            known[key] = build(config, dataset)
        return known[key]

    return remembering


@pytest.fixture(scope="package", autouse=True)
def feature_spaces_are_fitted_once():
    """The classifier of the same images and labels is fitted once."""
    known, fit = {}, evaluation.fit_features

    def remembering(dataset):
        key = (checksum(dataset), dataset.y_train is None)
        if key not in known:
            known[key] = fit(dataset)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "fit_features", remembering)
        yield


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A tiny run of the latent EBM that was never stopped, and how it ended; leave it as it is."""
    folder = runs.create(tmp_path_factory.mktemp("whole"), "whole")
    return folder, runs.train(folder)
