"""The joint energy-based model in the loop and on the command line."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm._files import plain
from tempered_ebm.cli import main as cli
from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.config import AdamConfig, LoggingConfig, RunConfig, from_json
from tempered_ebm.training.jem import config as configs
from tempered_ebm.training.jem import learner as learning
from tempered_ebm.training.logging import read_table
from tests.training.runs import DIGITS, assert_same_tree, stop_after, without_seconds

ADAM = AdamConfig(num_steps=24, batch_size=50, average_decay=0.9)


def config_of(tmp_path, name="run", **groups):
    config = configs.JEMConfig(
        model=configs.JEMModelConfig(width=16, depth=2),
        chain=configs.JEMChainConfig(steps=3, sampling_steps=5),
        replay=configs.JEMReplayConfig(capacity=120),
        optimizer=ADAM,
        run=RunConfig(output_dir=tmp_path, name=name, log_every=5, checkpoint_every=10),
        logging=LoggingConfig(validate_every=12),
    )
    return dataclasses.replace(config, **groups).resolve(DIGITS)


def create(tmp_path, name="run", **groups):
    return run_folder.create(config_of(tmp_path, name, **groups), DIGITS)


VARIANTS = {
    "marginal": {},
    "joint": {
        "objective": configs.JEMObjectiveConfig("joint"),
        "replay": configs.JEMReplayConfig(capacity=120, start="class_gaussian", restart=0.5),
    },
    "classifier": {"objective": configs.JEMObjectiveConfig("none")},
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["marginal", "joint", "classifier"])
def test_a_stopped_run_goes_on_to_the_same_end(variant, tmp_path, monkeypatch):
    options = VARIANTS[variant]
    whole, stopped = create(tmp_path, "whole", **options), create(tmp_path, "stopped", **options)
    expected = loop.train(whole, DIGITS, show_progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, 13)
        loop.train(stopped, DIGITS, show_progress=False)
    opened = run_folder.open_run(stopped.path)
    resumed = loop.train(opened, DIGITS, resume=True, show_progress=False)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(whole.metrics), without_seconds(stopped.metrics))
    assert read_table(whole.metrics)["accuracy"][-1] > 0.2
    assert "validation_accuracy" in read_table(whole.validation)


@pytest.mark.slow
def test_pretraining_leaves_the_density_alone(tmp_path):
    """The first updates are those of the classifier; the penalty is off, too, to see it."""
    goal = configs.JEMObjectiveConfig(pretrain=3, energy_penalty=0.0, data_noise=0.0)
    alone = configs.JEMObjectiveConfig("none", data_noise=0.0)
    states = []
    for objective in (goal, alone):
        learner = learning.build_learner(config_of(tmp_path, objective=objective), DIGITS)
        state, update = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update)
        for i in range(4):
            state = update(
                state, jax.random.key(1), jnp.asarray(DIGITS.x_train), jnp.arange(50) + 50 * i
            )
            states.append(state.params)
    with_density, classifier = states[:4], states[4:]
    for a, b in zip(with_density[:3], classifier[:3], strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-4), a, b)
    gaps = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), with_density[3], classifier[3])
    assert max(map(float, jax.tree.leaves(gaps))) > 1e-4


def test_slots_keep_their_class(tmp_path):
    config = config_of(tmp_path, objective=configs.JEMObjectiveConfig("joint"))
    learner = learning.build_learner(config, DIGITS)
    before = jax.jit(learner.init)(jax.random.key(0))
    images = jnp.asarray(DIGITS.x_train)
    after = jax.jit(learner.update)(before, jax.random.key(1), images, jnp.arange(50))
    np.testing.assert_array_equal(before.chains.label, after.chains.label)
    np.testing.assert_array_equal(after.chains.label, np.arange(120) % 10)


def test_its_configuration_survives_json(tmp_path):
    config = config_of(tmp_path)
    tree = json.loads(json.dumps(plain(config)))
    assert from_json(configs.JEMConfig, tree) == config
    assert config.kind == "jem"
    assert config.model.num_classes == 10
    assert config.scaled(0.5).chain.step_size == 0.5


def test_a_rollback_leaves_the_temperature_of_the_chains(tmp_path):
    chain = config_of(tmp_path).chain
    smaller = config_of(tmp_path).scaled(0.5).chain
    temperatures = [c.noise_scale**2 / (2 * c.step_size) for c in (chain, smaller)]
    assert temperatures[1] == pytest.approx(temperatures[0])


BAD = {
    "--classify must be at least 0": {"objective": configs.JEMObjectiveConfig(classify=-1.0)},
    "--weight must be at least 0": {"objective": configs.JEMObjectiveConfig(weight=np.inf)},
    "--pretrain must be an integer >= 0": {"objective": configs.JEMObjectiveConfig(pretrain=-1)},
    "--num-classes must be at least 10": {"model": configs.JEMModelConfig(num_classes=4)},
    "--num-classes must be an integer >= 2": {"model": configs.JEMModelConfig(num_classes=1)},
    "--capacity must be at least": {"replay": configs.JEMReplayConfig(capacity=10)},
    "--metropolis corrects chains": {
        "chain": configs.JEMChainConfig(metropolis=True, noise_scale=0.1)
    },
}


@pytest.mark.parametrize("message", BAD)
def test_bad_values_are_named(message):
    config = dataclasses.replace(configs.JEMConfig(optimizer=ADAM), **BAD[message])

    def validate_and_resolve():
        config.validate()
        config.resolve(DIGITS)

    with pytest.raises(te.InputError, match=message):
        validate_and_resolve()


def test_data_without_labels_are_named():
    unlabelled = dataclasses.replace(DIGITS, y_train=None)
    with pytest.raises(te.InputError, match="needs labels, and digits has none"):
        configs.JEMConfig().resolve(unlabelled)


@pytest.mark.slow
def test_the_command_line_trains_evaluates_and_samples_it(tmp_path, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        return stop.value.code

    assert run("train", "jem", "--num-steps", 5, "--width", 8, "--steps", 2, "--capacity", 120,
               "--sampling-steps", 3, "--output-dir", tmp_path, "--name", "run") == 0  # fmt: skip
    assert "expected calibration error" in capsys.readouterr().out
    saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [row["images"] for row in saved["out_of_distribution"]] == [
        "shuffled pixels",
        "uniform noise",
        "inverted images",
    ]
    np.savez(tmp_path / "ones.npz", x_train=np.full((10, 8, 8), 255, np.uint8))
    assert run("evaluate", tmp_path / "run", "--others", tmp_path / "ones.npz") == 0
    assert "\n  ones " in capsys.readouterr().out
    assert run("sample", tmp_path / "run", "--num-samples", 12, "--animate") == 0
    assert (tmp_path / "run" / "samples.gif").read_bytes().startswith(b"GIF")
    assert np.load(tmp_path / "run" / "samples.npz")["x"].shape == (12, 8, 8, 1)
