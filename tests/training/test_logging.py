"""Tables, pictures and events of a run, and the variance of its gradients on the way."""

import dataclasses
import struct

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training.config import LoggingConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.logging import read_table
from tests.training.runs import assert_same_tree, create, stop_after, train

LOGGING = LoggingConfig(tensorboard=True, pictures_every=4, validate_every=3, validation_images=10)


def scalars(folder):
    """(tag, step) -> value of all events of a run, in order and with their multiplicity."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    (path,) = folder.glob("events.*")
    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found += [((value.tag, event.step), value.simple_value) for value in event.summary.value]
        at += 16 + length
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was stopped after 7 updates, a little after its checkpoint, and resumed."""
    folder = create(tmp_path_factory.mktemp("records"), logging=LOGGING)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 11)
        train(folder)
    # As if it had been killed rather than stopped: back to the checkpoint of update 8.
    (folder.checkpoints / "11.manifest.json").unlink()
    (folder.figures / "chains-00000011.png").touch()
    train(folder, resume=True)
    return folder


def test_events_are_the_rows_of_the_tables_once_each(run):
    found = scalars(run.tensorboard)
    values = dict(found)
    assert len(values) == len(found)
    for group, path in (("training", run.metrics), ("validation", run.validation)):
        table = read_table(path)
        steps = table.pop("step").astype(int)
        for name, column in table.items():
            got = [values[f"{group}/{name}", step] for step in steps]
            np.testing.assert_allclose(got, column, rtol=1e-6)
    assert len(values) == 3 * (len(read_table(run.metrics)) - 1) + 4


def test_validation_and_pictures_come_on_their_periods(run):
    np.testing.assert_array_equal(read_table(run.validation)["step"], [3, 6, 9, 12])
    names = sorted(path.name for path in run.figures.iterdir())
    assert names == [f"chains-{step:08d}.png" for step in (4, 8, 12)]
    assert (run.figures / names[0]).read_bytes().startswith(b"\x89PNG")


def test_nothing_more_is_written_by_default(whole):
    folder, _ = whole
    assert {path.name for path in folder.path.iterdir()} == {
        "config.json", "metrics.csv", "checkpoints", "figures",
    }  # fmt: skip
    assert not list(folder.figures.iterdir())


@pytest.mark.slow
def test_a_picture_without_persistent_chains_is_of_short_runs(tmp_path):
    chain = configs.LatentChainConfig("short_run", prior_steps=3, posterior_steps=2)
    logging = LoggingConfig(pictures_every=12)
    folder = create(tmp_path, chain=chain, logging=logging)
    train(folder)
    assert [path.name for path in folder.figures.iterdir()] == ["chains-00000012.png"]


GRADIENTS = LoggingConfig(gradients_every=5, gradient_batches=3)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["covariance", "pooled"])
def test_a_run_with_swaps_logs_its_gradients_and_resumes_bit_for_bit(
    tmp_path, monkeypatch, estimator
):
    settings = {
        "learning": configs.EstimatorConfig(
            estimator=estimator, replica_exchange=True, num_temperatures=3
        ),
        "logging": GRADIENTS,
    }
    whole = create(tmp_path, "whole", **settings)
    expected = train(whole)
    stopped = create(tmp_path, "stopped", **settings)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        train(stopped)
    assert_same_tree(expected.params, train(stopped, resume=True).params)
    tables = [read_table(folder.gradients) for folder in (whole, stopped)]
    assert_same_tree(*tables)
    np.testing.assert_array_equal(tables[0]["step"], [5, 10])
    parts = tables[0]["all_mcmc_variance"] + tables[0]["all_minibatch_variance"]
    np.testing.assert_allclose(tables[0]["all_variance"], parts, rtol=1e-4)
    both = tables[0]["prior_variance"] + tables[0]["generator_variance"]
    np.testing.assert_allclose(tables[0]["all_variance"], both, rtol=1e-3)
    assert np.all(tables[0]["all_legacy_variance"] > 0)
    rates = read_table(whole.metrics)["swap_acceptance_rate"]
    assert np.all((rates > 0) & (rates <= 1))


def test_chains_too_few_for_the_covariance_are_named():
    learning = configs.EstimatorConfig(estimator="covariance", num_chains=1)
    with pytest.raises(te.InputError, match="--num-chains must be an integer >= 2, got 1"):
        configs.LatentConfig(learning=learning).validate()


@pytest.mark.parametrize(
    ("name", "value"), [("gradients_every", -1), ("gradient_batches", 1), ("gradient_repeats", 1)]
)
def test_bad_settings_of_the_records_are_named(name, value):
    config = configs.LatentConfig(logging=dataclasses.replace(GRADIENTS, **{name: value}))
    with pytest.raises(te.InputError, match=f"--{name.replace('_', '-')} must be an integer >="):
        config.validate()
