"""Energy-based models of data in the loop and on the command line."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import densities as toy
from tempered_ebm._files import plain
from tempered_ebm.cli import main as cli
from tempered_ebm.training import config as base
from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.config import AdamConfig, GuardConfig, RunConfig, from_json
from tempered_ebm.training.data_ebm import config as configs
from tempered_ebm.training.data_ebm import learner as learning
from tempered_ebm.training.data_ebm import task
from tempered_ebm.training.logging import read_table
from tempered_ebm.training.rollback import read_rollbacks
from tests.training.runs import DIGITS, assert_same_tree, stop_after, without_seconds

POINTS = te.datasets.load_toy("eight_gaussians", 1_000)
ADAM = AdamConfig(num_steps=24, batch_size=50, average_decay=0.9)
SMALL = configs.DataModelConfig(width=16, depth=2)


def config_of(tmp_path, name="run", dataset=POINTS, **groups):
    config = configs.DataEBMConfig(
        model=SMALL,
        optimizer=ADAM,
        replay=configs.DataReplayConfig(capacity=200),
        run=RunConfig(output_dir=tmp_path, name=name, log_every=5, checkpoint_every=10),
    )
    return dataclasses.replace(config, **groups).resolve(dataset)


def create(tmp_path, name="run", dataset=POINTS, **groups):
    return run_folder.create(config_of(tmp_path, name, dataset, **groups), dataset)


VARIANTS = {
    "ladders": {},
    "persistent": {"chain": configs.DataChainConfig(num_temperatures=1)},
    "metropolis": {"chain": configs.DataChainConfig(metropolis=True)},
    "contrastive": {"objective": configs.DataObjectiveConfig("contrastive", data_noise=0.1)},
    "score_matching": {"objective": configs.DataObjectiveConfig("score_matching")},
    "starts": {"replay": configs.DataReplayConfig(capacity=200, start="data", restart=0.5)},
}


@pytest.mark.parametrize(
    "variant",
    [
        "ladders",
        *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name != "ladders"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_end(variant, tmp_path, monkeypatch):
    """Bit for bit, with the replay buffer, whatever is descended."""
    options = VARIANTS[variant]
    whole, stopped = create(tmp_path, "whole", **options), create(tmp_path, "stopped", **options)
    expected = loop.train(whole, POINTS, show_progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, 13)
        assert loop.train(stopped, POINTS, show_progress=False).step == 13
    opened = run_folder.open_run(stopped.path)
    resumed = loop.train(opened, POINTS, resume=True, show_progress=False)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(whole.metrics), without_seconds(stopped.metrics))
    table = read_table(whole.metrics)
    assert all(np.isfinite(column).all() for column in table.values())
    if "energy_gap" in table:
        gap = table["sample_energy"] - table["data_energy"]
        np.testing.assert_allclose(table["energy_gap"], gap, atol=1e-4)


def learner_of(config, dataset=POINTS):
    return learning.build_learner(config, dataset)


def test_an_update_moves_the_chains_it_took_and_no_others(tmp_path):
    config = config_of(tmp_path, replay=configs.DataReplayConfig(capacity=200, restart=0.0))
    learner = learner_of(config)
    before = jax.jit(learner.init)(jax.random.key(0))
    images = jnp.asarray(POINTS.x_train)
    after = jax.jit(learner.update)(before, jax.random.key(1), images, jnp.arange(50))
    moved = np.any(np.asarray(before.chains.position != after.chains.position), axis=(1, 2))
    assert moved.sum() == 50
    np.testing.assert_array_equal(np.asarray(after.chains.age), 5 * moved)


def test_an_update_without_a_finite_gradient_changes_no_parameter(tmp_path):
    learner = learner_of(
        config_of(tmp_path, replay=configs.DataReplayConfig(capacity=200, restart=0.0))
    )
    before = jax.jit(learner.init)(jax.random.key(0))
    bad = jnp.full_like(jnp.asarray(POINTS.x_train), jnp.nan)
    after = jax.jit(learner.update)(before, jax.random.key(1), bad, jnp.arange(50))
    assert_same_tree(before.params, after.params)
    assert float(after.metric_sums["skipped_updates"]) == 1.0


@pytest.mark.slow
def test_a_run_that_explodes_returns_with_smaller_steps(tmp_path):
    """The learning rate is absurd: energies explode, and the run is rolled back."""
    wild = AdamConfig(num_steps=60, batch_size=50, learning_rate=5.0, rate_schedule="constant")
    folder = create(
        tmp_path,
        optimizer=wild,
        model=configs.DataModelConfig(width=16, base_scale=1_000.0),
        guard=GuardConfig(max_rollbacks=10),
        chain=configs.DataChainConfig(num_temperatures=1),
        run=RunConfig(output_dir=tmp_path, name="run", log_every=2, checkpoint_every=10),
    )
    with pytest.warns(UserWarning, match="going on from update .* times 0.5"):
        result = loop.train(folder, POINTS, show_progress=False)
    assert result.is_finished
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(result.params))
    first = read_rollbacks(folder.events)[0]
    assert "more than 100 times its running median" in first.reason


def test_its_configuration_survives_json_and_shrinks_with_rollbacks(tmp_path):
    config = config_of(tmp_path)
    tree = json.loads(json.dumps(plain(config)))
    assert from_json(configs.DataEBMConfig, tree) == config
    assert config.kind == "data"
    smaller = config.scaled(0.5)
    assert smaller.chain.step_size == pytest.approx(config.chain.step_size / 2)
    assert smaller.optimizer.learning_rate == pytest.approx(config.optimizer.learning_rate / 2)


def test_points_have_ladders_and_images_have_none(tmp_path):
    assert config_of(tmp_path).chain.num_temperatures == 6
    assert config_of(tmp_path).model.network == "mlp"
    images = config_of(tmp_path, dataset=DIGITS)
    assert (images.chain.num_temperatures, images.model.network) == (1, "mlp")
    assert images.chain.noise_scale == 0.01
    assert config_of(tmp_path).optimizer.learning_rate == 0.003
    assert images.optimizer.learning_rate == 0.001


def test_every_density_with_exact_draws_can_be_trained_on():
    known = {make.__name__ for make in toy.ALL if make().sample is not None}
    assert set(base.POINTS) == known


BAD = {
    "--depth must be an integer >= 1": {"model": configs.DataModelConfig(depth=0)},
    "--width must be an integer >= 1": {"model": configs.DataModelConfig(width=0)},
    "--base-scale must be positive": {"model": configs.DataModelConfig(base_scale=-1.0)},
    "--network must be mlp for points": {"model": configs.DataModelConfig(network="conv")},
    "--energy-penalty must be at least 0": {
        "objective": configs.DataObjectiveConfig(energy_penalty=-1.0)
    },
    "--data-noise must be at least 0": {
        "objective": configs.DataObjectiveConfig(data_noise=np.inf)
    },
    "--steps must be an integer >= 1": {"chain": configs.DataChainConfig(steps=-1)},
    "--noise-scale must be positive": {"chain": configs.DataChainConfig(noise_scale=0.0)},
    "--metropolis and --num-temperatures correct chains": {
        "chain": configs.DataChainConfig(metropolis=True, max_drift=1.0)
    },
    "--num-temperatures above 1 goes with --objective persistent": {
        "chain": configs.DataChainConfig(num_temperatures=3),
        "objective": configs.DataObjectiveConfig("contrastive"),
    },
    "--capacity must be at least the --batch-size": {
        "replay": configs.DataReplayConfig(capacity=49)
    },
    "--restart must be between 0 and 1": {"replay": configs.DataReplayConfig(restart=1.5)},
    "--start-low must be below --start-high": {
        "replay": configs.DataReplayConfig(start_low=1.0, start_high=0.0)
    },
    "--num-points must be an integer >= 2": {"data": base.AnyDataConfig(num_points=1)},
    "are about images, got --dataset eight_gaussians": {"data": base.AnyDataConfig(image_size=8)},
    "--learning-rate must be positive": {"optimizer": AdamConfig(learning_rate=0.0)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_values_are_named(message):
    config = dataclasses.replace(configs.DataEBMConfig(optimizer=ADAM), **BAD[message])

    def validate_and_resolve():
        config.validate()
        config.resolve(POINTS)

    with pytest.raises(te.InputError, match=message):
        validate_and_resolve()


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return stop.value.code


def frames_of(path):
    from PIL import Image

    with Image.open(path) as gif:
        return gif.n_frames


@pytest.mark.slow
def test_the_command_line_trains_on_points(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(task, "_INTERVALS", 64)
    assert run("train", "data", "--dataset", "moons", "--num-steps", 12, "--num-points", 500,
               "--width", 8, "--capacity", 300, "--sampling-steps", 5, "--output-dir", tmp_path,
               "--name", "run") == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "negative log-likelihood of held-out points" in printed
    assert "kernel density estimate" in printed
    saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert saved["entropy"] == pytest.approx(toy.moons().entropy)
    assert (tmp_path / "run" / "figures" / "density.png").exists()
    assert run("sample", tmp_path / "run", "--num-samples", 9, "--animate", "--num-frames", 3) == 0
    assert frames_of(tmp_path / "run" / "samples.gif") == 3
    assert np.load(tmp_path / "run" / "samples.npz")["x"].shape == (9, 2)


@pytest.mark.slow
def test_the_command_line_trains_on_images(tmp_path, capsys):
    assert run("train", "data", "--dataset", "digits", "--num-steps", 4, "--width", 4,
               "--batch-size", 20, "--steps", 2, "--capacity", 50, "--sampling-steps", 3,
               "--output-dir", tmp_path, "--name", "run") == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "\ninception score\n  held-out images (ceiling) " in printed
    assert "\narea under ROC against " in printed
    assert (tmp_path / "run" / "figures" / "samples.png").exists()
    saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    made = ["samples", "starts of the chains"]
    assert [row["images"] for row in saved["distances"]] == ["training set (floor)", *made]
    scores = {row["images"]: row["mean"] for row in saved["inception_scores"]}
    assert list(scores) == ["held-out images (ceiling)", *made]
    assert all(1 <= mean <= 10 for mean in scores.values())
    assert scores["held-out images (ceiling)"] > 5 > scores["starts of the chains"]
    found = saved["out_of_distribution"]
    kinds_of_others = ["shuffled pixels", "uniform noise", "inverted images"]
    assert [row["images"] for row in found] == kinds_of_others
    assert all(set(row["areas"]) == {"log p(x)", "-|grad log p|"} for row in found)
    np.savez(tmp_path / "ones.npz", x_train=np.full((10, 8, 8), 255, np.uint8))
    assert run("evaluate", tmp_path / "run", "--others", tmp_path / "ones.npz") == 0
    assert "\n  ones " in capsys.readouterr().out


def test_images_without_labels_have_no_inception_score(tmp_path):
    dataset = dataclasses.replace(DIGITS, y_train=None, y_test=None)
    chain = configs.DataChainConfig(steps=2, sampling_steps=2)
    folder = create(tmp_path, dataset=dataset, chain=chain)
    params = folder.task.init_params(folder.config, dataset.event_shape, jax.random.key(0))
    found = loop.evaluate(folder, dataset, params, 0)
    assert found.inception_scores == []
    assert "inception score" not in str(found)
    assert found.feature_space.endswith("principal components")


def test_the_scores_of_outliers_are_the_log_density_and_the_norm_of_its_gradient():
    """Of a quadratic energy with a reference normal, where both are known."""
    model = te.models.DataEBM(
        lambda x: -1.5 * (x**2).sum((1, 2, 3)), event_shape=(2, 2, 1), base_scale=2.0
    )
    x = np.random.default_rng(0).normal(size=(5, 2, 2, 1)).astype(np.float32)
    value, score = task.density_scores(model, {}, jnp.asarray(x)).T
    squares = (x**2).sum((1, 2, 3))
    constant = -4 * np.log(2.0 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(value, -0.5 * 3.25 * squares + constant, rtol=1e-5)
    np.testing.assert_allclose(score, -3.25 * np.sqrt(squares), rtol=1e-5)


def test_the_baseline_is_near_the_truth_where_kernels_fit():
    dataset = te.datasets.load_toy("eight_gaussians", 4_000)
    value, bandwidth = task.kernel_density(dataset.x_train, dataset.x_test)
    truth = -float(np.mean(dataset.density.log_prob(jnp.asarray(dataset.x_test))))
    assert truth < value < truth + 0.05
    assert 0.02 < bandwidth < 0.3


def test_the_likelihood_of_an_exact_model_is_that_of_the_truth(tmp_path, monkeypatch):
    """A model that is the density itself, up to a constant, must get its entropy back."""
    density = POINTS.density

    class Truth:
        event_shape, base_scale, temperatures = (2,), None, None

        @staticmethod
        def logdensity(params, x):
            return density.logdensity_fn(x) + 3.7

    monkeypatch.setattr(task.DataEBMTask, "build_model", lambda *a, **k: Truth)
    monkeypatch.setattr(task.DataEBMTask, "generate", lambda *a, **k: POINTS.x_test)
    found = loop.evaluate(create(tmp_path), POINTS, {}, 0)
    assert found.negative_log_likelihood == pytest.approx(found.truth, abs=1e-3)
    assert found.log_normalizer == pytest.approx(density.log_normalizer + 3.7, abs=1e-4)
    assert found.edge < 1e-6
