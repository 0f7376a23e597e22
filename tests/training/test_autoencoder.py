"""The autoencoder with a latent EBM in the loop and on the command line."""

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
from tempered_ebm.training.autoencoder import config as configs
from tempered_ebm.training.autoencoder import learner as learning
from tempered_ebm.training.autoencoder import task
from tempered_ebm.training.config import RunConfig, from_json
from tempered_ebm.training.logging import read_table
from tests.training.runs import DIGITS, assert_same_tree, stop_after, without_seconds

ADAM = configs.AutoencoderOptimizerConfig(num_steps=24, batch_size=50, average_decay=0.9)


def config_of(tmp_path, name="run", **groups):
    config = configs.AutoencoderConfig(
        model=configs.AutoencoderModelConfig(latent_dim=2, widths=(16,), energy_widths=(8,)),
        chain=configs.CodeChainConfig(steps=3, capacity=120, sampling_steps=5),
        optimizer=ADAM,
        run=RunConfig(output_dir=tmp_path, name=name, log_every=4, checkpoint_every=8),
    )
    return dataclasses.replace(config, **groups).resolve(DIGITS)


def create(tmp_path, name="run", **groups):
    return run_folder.create(config_of(tmp_path, name, **groups), DIGITS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "negatives"), [(7, "persistent"), (13, "persistent"), (7, "contrastive")]
)
def test_a_stopped_run_goes_on_to_the_same_end(stop, negatives, tmp_path, monkeypatch):
    """Stopped before and after the autoencoder is frozen."""
    chain = configs.CodeChainConfig(negatives, steps=3, capacity=120)
    whole, stopped = (create(tmp_path, name, chain=chain) for name in ("whole", "stopped"))
    expected = loop.train(whole, DIGITS, show_progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, stop)
        loop.train(stopped, DIGITS, show_progress=False)
    opened = run_folder.open_run(stopped.path)
    resumed = loop.train(opened, DIGITS, resume=True, show_progress=False)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(whole.metrics), without_seconds(stopped.metrics))


@pytest.mark.parametrize("decay", [pytest.param(None, marks=pytest.mark.slow), 0.9])
def test_each_phase_trains_its_own_part(tmp_path, decay):
    """Momenta do not move what is frozen, and the codes are those of the frozen encoder."""
    adam = dataclasses.replace(ADAM, num_steps=6, average_decay=decay)
    config = config_of(tmp_path, optimizer=adam)
    assert config.autoencoder_updates == 3
    learner = learning.build_learner(config, DIGITS)
    images = jnp.asarray(DIGITS.x_train)
    states = [jax.jit(learner.init)(jax.random.key(0))]
    update = jax.jit(learner.update)
    for i in range(6):
        states.append(update(states[-1], jax.random.key(1), images, jnp.arange(50) + i))
    first, frozen = states[3], states[4]
    assert_same_tree(states[0].params.prior, first.params.prior)
    assert not np.array_equal(
        jax.tree.leaves(states[0].params.encoder)[1], jax.tree.leaves(first.params.encoder)[1]
    )
    for later in states[5:]:
        for part in ("encoder", "decoder", "location", "scale"):
            assert_same_tree(getattr(frozen.params, part), getattr(later.params, part))
    changed = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)), states[4].params.prior, states[6].params.prior
    )
    assert any(jax.tree.leaves(changed))
    model = learning.build_model(config, DIGITS.event_shape)
    sampled = learner.params(states[6])
    codes = jax.jit(model.encode)(sampled, learning.binarized(config, images))
    np.testing.assert_allclose(codes.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(codes.std(0), 1.0, atol=1e-3)


def test_no_gradient_of_one_part_enters_the_other(tmp_path):
    model = learning.build_model(config_of(tmp_path), DIGITS.event_shape)
    x = learning.binarized(config_of(tmp_path), jnp.asarray(DIGITS.x_train[:9]))
    params = jax.jit(model.standardize)(jax.jit(model.init)(jax.random.key(0), x), x)
    of_energy = jax.jit(jax.grad(model.energy_loss))(params, x, jnp.ones((5, 2)))
    of_reconstruction = jax.jit(jax.grad(model.reconstruction_loss))(params, x)
    parts = ("encoder", "decoder", "location", "scale")
    assert all(not g.any() for p in parts for g in jax.tree.leaves(getattr(of_energy, p)))
    assert all(not g.any() for g in jax.tree.leaves(of_reconstruction.prior))
    assert any(g.any() for g in jax.tree.leaves(of_energy.prior))
    assert any(g.any() for g in jax.tree.leaves(of_reconstruction.encoder))


def test_decoding_undoes_the_standardisation(tmp_path):
    """The loss sees raw codes, sampling standardised ones: both decode alike."""
    config = config_of(tmp_path)
    model = learning.build_model(config, DIGITS.event_shape)
    x = learning.binarized(config, jnp.asarray(DIGITS.x_train[:9]))
    before = jax.jit(model.init)(jax.random.key(0), x)

    @jax.jit
    def evaluate(params):
        return model.decode(params, model.encode(params, x)), model.reconstruction_loss(params, x)

    decoded, loss = evaluate(before)
    again, same_loss = evaluate(jax.jit(model.standardize)(before, x))
    np.testing.assert_allclose(decoded, again, rtol=1e-4)
    np.testing.assert_allclose(loss, same_loss, rtol=1e-6)


def test_pixels_are_black_and_white(tmp_path):
    config = config_of(tmp_path, model=configs.AutoencoderModelConfig(threshold=0.5, widths=(4,)))
    x = learning.binarized(config, jnp.array([[-1.0, 0.4, 0.6]]))
    np.testing.assert_array_equal(x, [[0.0, 0.0, 1.0]])


def test_importance_sampling_has_the_closed_form_normalizer():
    """f(z) = a . z: log Z = |a|^2 / 2."""

    class Model:
        latent_dim = 2

        class codes:
            @staticmethod
            def negative_energy(params, z):
                return z @ jnp.array([0.5, -0.3])

    class Params:
        prior = None

    found = task.importance_log_normalizer(jax.random.key(0), Model, Params)
    assert found == pytest.approx(0.17, abs=0.01)


def test_its_configuration_survives_json(tmp_path):
    config = config_of(tmp_path)
    tree = json.loads(json.dumps(plain(config)))
    assert from_json(configs.AutoencoderConfig, tree) == config
    assert config.kind == "autoencoder"
    assert config.scaled(0.5).chain.step_size == pytest.approx(0.05)


BAD = {
    "--latent-dim must be an integer >= 1": {"model": configs.AutoencoderModelConfig(latent_dim=0)},
    "--widths must name at least one layer": {"model": configs.AutoencoderModelConfig(widths=())},
    "--energy-widths must be an integer >= 1": {
        "model": configs.AutoencoderModelConfig(energy_widths=(0,))
    },
    "--threshold must be finite": {"model": configs.AutoencoderModelConfig(threshold=np.nan)},
    "--steps must be an integer >= 1": {"chain": configs.CodeChainConfig(steps=0)},
    "--step-size must be positive": {"chain": configs.CodeChainConfig(step_size=-1.0)},
    "--capacity must be at least": {"chain": configs.CodeChainConfig(capacity=10)},
    "--autoencoder-fraction must be between 0 and 1": {
        "optimizer": dataclasses.replace(ADAM, autoencoder_fraction=1.0)
    },
    "--num-steps must leave updates": {"optimizer": dataclasses.replace(ADAM, num_steps=1)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_values_are_named(message):
    config = dataclasses.replace(configs.AutoencoderConfig(optimizer=ADAM), **BAD[message])

    def validate_and_resolve():
        config.validate()
        config.resolve(DIGITS)

    with pytest.raises(te.InputError, match=message):
        validate_and_resolve()


@pytest.mark.slow
def test_the_command_line_trains_evaluates_and_samples_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(task, "_IMPORTANCE_DRAWS", 50_000)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        return stop.value.code

    assert run("train", "autoencoder", "--num-steps", 8, "--widths", 16, "--latent-dim", 2,
               "--capacity", 120, "--sampling-steps", 20, "--output-dir", tmp_path,
               "--name", "run") == 0  # fmt: skip
    assert "energy distance to held-out codes" in capsys.readouterr().out
    saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert saved["log_normalizer"] == pytest.approx(saved["log_normalizer_by_importance"], abs=0.05)
    table = read_table(tmp_path / "run" / "metrics.csv")
    assert "code_second_moment" in table
    assert run("sample", tmp_path / "run", "--num-samples", 5, "--animate", "--num-frames", 2) == 0
    assert (tmp_path / "run" / "samples.gif").read_bytes().startswith(b"GIF")
    assert np.load(tmp_path / "run" / "samples.npz")["x"].shape == (5, 8, 8, 1)
