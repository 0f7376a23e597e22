"""The variational autoencoder in the loop and on the command line."""

import dataclasses
import json

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm._files import plain
from tempered_ebm.cli import main as cli
from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.config import AdamConfig, LoggingConfig, RunConfig, from_json
from tempered_ebm.training.logging import read_table
from tempered_ebm.training.vae import config as configs
from tests.training.runs import DIGITS, assert_same_tree, stop_after, without_seconds


def create(tmp_path, name="run", **groups):
    config = configs.VAEConfig(
        model=configs.VAEModelConfig(latent_dim=3, generator_width=16),
        optimizer=AdamConfig(num_steps=40, learning_rate=3e-3),
        run=RunConfig(output_dir=tmp_path, name=name, log_every=5, checkpoint_every=10),
        logging=LoggingConfig(validate_every=20, validation_images=50),
    )
    config = dataclasses.replace(config, **groups).resolve(DIGITS)
    return run_folder.create(config, DIGITS)


def test_it_is_trained_and_resumed_to_the_bit(tmp_path, monkeypatch):
    whole, stopped = create(tmp_path, "whole"), create(tmp_path, "stopped")
    expected = loop.train(whole, DIGITS, show_progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, 23)
        assert loop.train(stopped, DIGITS, show_progress=False).step == 23
    resumed = loop.train(
        run_folder.open_run(stopped.path), DIGITS, resume=True, show_progress=False
    )
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(whole.metrics), without_seconds(stopped.metrics))
    assert_same_tree(expected.params, loop.load_params(whole)[0])
    table = read_table(whole.metrics)
    np.testing.assert_allclose(table["loss"], table["kl"] - table["loglikelihood"], rtol=1e-4)
    assert table["loss"][-1] < table["loss"][0]
    validation = read_table(whole.validation)
    assert validation["validation_loss"][-1] < validation["validation_loss"][0]


def test_its_configuration_survives_json_and_rollbacks_shrink_its_rate():
    optimizer = AdamConfig(learning_rate=1e-3, clip=2.0, average_decay=0.9)
    config = configs.VAEConfig(optimizer=optimizer)
    tree = json.loads(json.dumps(plain(config)))
    assert from_json(configs.VAEConfig, tree) == config
    assert config.kind == "vae"
    assert config.scaled(0.5).optimizer.learning_rate == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": configs.VAEModelConfig(encoder_width=0)}, "--encoder-width must be an integer"),
        ({"model": configs.VAEModelConfig(sigma=0.0)}, "--sigma must be positive"),
        ({"model": configs.VAEModelConfig(latent_dim=0)}, "--latent-dim must be an integer >= 1"),
        ({"optimizer": AdamConfig(learning_rate=-1.0)}, "--learning-rate must be positive"),
        (
            {"optimizer": AdamConfig(first_moment_decay=1.0)},
            "--first-moment-decay must be at least 0 and below 1, got 1",
        ),
        ({"optimizer": AdamConfig(clip=0.0)}, "--clip must be positive and finite, got 0"),
        ({"optimizer": AdamConfig(average_decay=1.0)}, "--average-decay must be between 0 and 1"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(te.InputError, match=message):
        configs.VAEConfig(**changes).validate()


@pytest.mark.slow
def test_the_command_line_trains_evaluates_and_samples_it(tmp_path, capsys):
    arguments = ["train", "vae", "--num-steps", "30", "--generator-width", "8", "--latent-dim", "2",
                 "--output-dir", str(tmp_path), "--name", "run"]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "N(0, I)" in printed
    assert "log-evidence of held-out images" in printed
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())["distances"]
    assert [row["images"] for row in rows] == [
        "training set (floor)",
        "N(0, I)",
        "normal matched to posterior",
    ]
    with pytest.raises(SystemExit) as stop:
        cli.main(["sample", str(tmp_path / "run"), "--num-samples", "5"])
    assert stop.value.code == 0
    assert np.load(tmp_path / "run" / "samples.npz")["x"].shape == (5, 8, 8, 1)
    with pytest.raises(SystemExit) as stop:
        cli.main(["sample", str(tmp_path / "run"), "--animate"])
    assert stop.value.code == 2
    assert "--animate needs a model with chains" in capsys.readouterr().err


def test_a_run_of_an_unknown_kind_is_named(tmp_path):
    folder = create(tmp_path)
    file = folder.path / "config.json"
    file.write_text(file.read_text().replace('"kind": "vae"', '"kind": "gan"'))
    with pytest.raises(te.InputError, match=r"kind must be one of latent, .* got 'gan'"):
        run_folder.open_run(folder.path)


def test_options_of_another_model_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "vae", "--prior-steps", "3"])
    assert stop.value.code == 2
    assert "--prior-steps" in capsys.readouterr().err
