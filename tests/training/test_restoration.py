"""Held-out images that a run mends: what is hidden, what comes back, what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.cli import main as cli
from tempered_ebm.models import ChainSettings, denoising_chain
from tempered_ebm.training import loop, restoration, run_folder
from tempered_ebm.training.config import AdamConfig, AnyDataConfig, RunConfig
from tempered_ebm.training.data_ebm import config as data_configs
from tempered_ebm.training.jem import config as jem_configs
from tempered_ebm.training.jem import learner as jem_learner
from tempered_ebm.training.jem import task as jem_task
from tests.training.runs import DIGITS, create

SHAPE = (2, 8, 12, 3)


def hidden(missing, fraction=0.5, shape=SHAPE):
    return restoration.missing_pixels(missing, fraction, shape, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("missing", "seen"),
    [
        ("left", np.s_[:, :, 3:]),
        ("right", np.s_[:, :, :9]),
        ("top", np.s_[:, 2:]),
        ("bottom", np.s_[:, :6]),
    ],
)
def test_a_side_is_hidden_to_the_fraction(missing, seen):
    mask = hidden(missing, 0.25)
    assert mask.shape == SHAPE
    assert mask.mean() == 0.25
    assert not mask[seen].any()


def test_the_centre_has_that_fraction_of_the_area():
    mask = hidden("centre", 0.25)
    assert mask.mean() == 0.25
    assert mask[:, 2:6, 3:9].all()


def test_random_pixels_are_hidden_with_all_their_channels():
    mask = hidden("random", 0.3, (50, 20, 20, 3))
    assert np.array_equal(mask[..., 0], mask[..., 1])
    assert np.array_equal(mask[..., 0], mask[..., 2])
    assert not np.array_equal(mask[0], mask[1])
    count = mask[..., 0].sum()
    assert abs(count - 0.3 * 20_000) < 6 * np.sqrt(20_000 * 0.3 * 0.7)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, np.nan])
def test_a_fraction_out_of_range_is_named(fraction):
    with pytest.raises(te.InputError, match="--fraction must be above 0 and below 1, got"):
        hidden("left", fraction)


def test_a_fraction_that_hides_nothing_or_everything_is_named():
    with pytest.raises(te.InputError, match=r"got 0\.01, which hides no pixel of 2 images of 8 x"):
        hidden("left", 0.01)
    with pytest.raises(te.InputError, match=r"got 0\.99, which hides every pixel"):
        hidden("top", 0.99)


def test_steps_of_denoising_add_precisions_and_keep_the_prior_at_its_temperature():
    chain = ChainSettings(step_size=1.0, noise_scale=0.01, max_drift=0.5)
    found = denoising_chain(chain, 0.3, 100.0)
    assert found.step_size == pytest.approx(1 / (100 + 1 / 0.09))
    assert found.effective_temperature == pytest.approx(100 * chain.effective_temperature)
    assert found.max_drift == 50.0
    decaying = denoising_chain(chain._replace(final_step_size=0.1), 0.3)
    assert decaying.final_step_size == pytest.approx(1 / (10 + 1 / 0.09))
    assert decaying.effective_temperature == pytest.approx(0.01**2 / 0.2)
    assert denoising_chain(ChainSettings(metropolis=True), 0.3).noise_scale is None
    for bad in ({"noise_scale": 0.0}, {"noise_scale": 1.0, "prior_weight": -1.0}):
        with pytest.raises(te.InputError, match="must be positive"):
            denoising_chain(chain, **bad)


def base(path, name, num_steps=2):
    return {
        "optimizer": AdamConfig(num_steps=num_steps, batch_size=20),
        "run": RunConfig(output_dir=path, name=name),
    }


def data_config(path, name="data", **groups):
    return data_configs.DataEBMConfig(
        data=dataclasses.replace(AnyDataConfig(), dataset="digits"),
        model=data_configs.DataModelConfig(width=4, depth=1),
        chain=data_configs.DataChainConfig(steps=2, sampling_steps=4),
        replay=data_configs.DataReplayConfig(capacity=50),
        **{**base(path, name), **groups},
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Tiny runs of both kinds."""
    path = tmp_path_factory.mktemp("restored")
    jem = jem_configs.JEMConfig(
        model=jem_configs.JEMModelConfig(width=4, depth=1),
        chain=jem_configs.JEMChainConfig(steps=2, sampling_steps=4),
        replay=jem_configs.JEMReplayConfig(capacity=50),
        **base(path, "jem"),
    )
    for config in (data_config(path), jem):
        folder = run_folder.create(config.resolve(DIGITS), DIGITS)
        loop.train(folder, DIGITS, show_progress=False)
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return stop.value.code


def arrays(path):
    with np.load(path) as archive:
        return dict(archive)


@pytest.mark.parametrize("kind", ["data", "jem"])
def test_inpaint_leaves_observed_pixels_alone_and_repeats_itself(runs, capsys, kind):
    command = ["inpaint", runs / kind, "--num-images", 5, "--missing", "random", "--fraction", 0.4]
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "mean over 5 images" in printed
    assert "observed pixels are as they were, bit for bit" in printed
    found = arrays(runs / kind / "inpainted.npz")
    seen = found["observed"]
    assert {x.shape for x in found.values()} == {(5, 8, 8, 1)}
    assert {found[name].dtype for name in ("original", "before", "after")} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(found["after"][seen], found["original"][seen])
    np.testing.assert_array_equal(found["before"][seen], found["original"][seen])
    assert np.any(found["after"][~seen] != found["original"][~seen])
    whole = np.round((DIGITS.x_test[:5] + 1) * 127.5).astype(np.uint8)
    np.testing.assert_array_equal(found["original"], whole)
    assert (runs / kind / "inpainted.png").read_bytes().startswith(b"\x89PNG")
    assert run(*command) == 0
    again = arrays(runs / kind / "inpainted.npz")
    assert all(np.array_equal(found[name], again[name]) for name in found)
    assert run(*command, "--seed", 1) == 0
    assert not np.array_equal(seen, arrays(runs / kind / "inpainted.npz")["observed"])


def test_what_is_missing_starts_as_new_chains_do(tmp_path):
    """Starts at the normal of every pixel leave a pixel that never varies as it is."""
    replay = data_configs.DataReplayConfig(capacity=50, start="gaussian")
    config = dataclasses.replace(data_config(tmp_path), replay=replay)
    folder = run_folder.create(config.resolve(DIGITS), DIGITS)
    loop.train(folder, DIGITS, show_progress=False)
    restoration.inpaint_images(folder, restoration.RestorationConfig(num_images=5), "left")
    hidden_column = arrays(folder.path / "inpainted.npz")["before"][:, :, :4]
    mean, deviation = DIGITS.x_train.mean(0)[:, :4], DIGITS.x_train.std(0)[:, :4]
    level = np.round((mean + 1) * 127.5)
    constant = np.broadcast_to(deviation == 0, hidden_column.shape)
    assert constant.any()
    assert np.abs(hidden_column - level)[constant].max() <= 1
    assert np.ptp(hidden_column[~constant]) > 100


@pytest.mark.parametrize("kind", ["data", "jem"])
def test_denoise_writes_images_and_repeats_itself(runs, capsys, kind):
    command = ["denoise", runs / kind, "--num-images", 5, "--noise-scale", 0.1, "--num-steps", 6]
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "PSNR, mean over 5 images (standard deviation)" in printed
    assert "prior weight 141.4, step size 0.004142" in printed
    assert "nan" not in printed
    found = arrays(runs / kind / "denoised.npz")
    assert {x.shape for x in found.values()} == {(5, 8, 8, 1)}
    assert {x.dtype for x in found.values()} == {np.dtype(np.uint8)}
    assert not np.array_equal(found["noisy"], found["denoised"])
    assert (runs / kind / "denoised.png").read_bytes().startswith(b"\x89PNG")
    assert run(*command) == 0
    again = arrays(runs / kind / "denoised.npz")
    assert all(np.array_equal(found[name], again[name]) for name in found)
    assert run(*command, "--seed", 1) == 0
    assert not np.array_equal(found["noisy"], arrays(runs / kind / "denoised.npz")["noisy"])


def test_the_psnr_that_is_told_is_that_of_the_pictures(runs):
    """Up to the rounding to 256 levels."""
    folder = run_folder.open_run(runs / "data")
    choice = restoration.RestorationConfig(num_images=4)
    told = restoration.inpaint_images(folder, choice, "centre", 0.25)
    found = {
        name: x / 127.5 - 1 if x.dtype == np.uint8 else x
        for name, x in arrays(runs / "data" / "inpainted.npz").items()
    }
    for name, values in (("before", told.before), ("after", told.after)):
        psnr = te.metrics.psnr(found[name], found["original"], where=~found["observed"])
        np.testing.assert_allclose(values, psnr, atol=0.1)
    told = restoration.denoise_images(folder, choice, 0.2)
    assert np.all(told.before > 10)
    assert np.all(np.isfinite(told.after))


WRONG = {
    "--num-images must be an integer >= 1, got 0": ("inpaint", "--num-images", 0),
    "--num-steps must be an integer >= 1, got 0": ("denoise", "--num-steps", 0),
    "--num-images must be at most the 359 held-out images, got 360": (
        "denoise", "--num-images", 360,
    ),
    "--noise-scale must be positive and finite, got 0.0": ("denoise", "--noise-scale", 0),
    "--prior-weight must be positive and finite, got -1.0": ("denoise", "--prior-weight", -1),
    "--fraction must be above 0 and below 1, got 1.5": ("inpaint", "--fraction", 1.5),
    "'middle'": ("inpaint", "--missing", "middle"),
    "--label needs a joint energy-based model": ("sample", "--label", 3),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_wrong_use_is_one_line_before_anything_is_loaded(runs, monkeypatch, capsys, message):
    monkeypatch.setattr(loop, "load_params", None)
    command, *options = WRONG[message]
    assert run(command, runs / "data", *options) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("command", ["inpaint", "denoise"])
def test_runs_that_have_no_density_of_images_are_named(runs, tmp_path, capsys, command):
    latent = create(tmp_path, "latent")
    assert run(command, latent.path) == 2
    assert f"{command} needs a model of images with a density" in capsys.readouterr().err
    toy = te.datasets.load_toy("moons", 200)
    config = dataclasses.replace(
        data_config(tmp_path, "points"), data=AnyDataConfig(dataset="moons")
    )
    points = run_folder.create(config.resolve(toy), toy)
    assert run(command, points.path) == 2
    assert f"{command} needs images" in capsys.readouterr().err
    alone = jem_configs.JEMConfig(
        objective=jem_configs.JEMObjectiveConfig("none"), **base(tmp_path, "alone")
    )
    classifier = run_folder.create(alone.resolve(DIGITS), DIGITS)
    assert run(command, classifier.path) == 2
    assert "was trained with --density none" in capsys.readouterr().err


def test_one_class_is_drawn(runs, monkeypatch, capsys):
    labels = []
    classes = jem_task._classes

    def spy(config, num_samples, label):
        labels.append(label)
        return classes(config, num_samples, label)

    monkeypatch.setattr(jem_task, "_classes", spy)
    command = ["sample", runs / "jem", "--num-samples", 6, "--animate", "--num-frames", 2]
    assert run(*command, "--label", 3) == 0
    assert [list(label) for label in labels] == [[3] * 6] * 2
    assert run("sample", runs / "jem", "--label", 10) == 2
    assert "--label must be from 0 to 9, got 10" in capsys.readouterr().err


def test_chains_of_one_class_follow_its_logit(runs):
    """As chains that are run by hand, from the same keys."""
    folder = run_folder.open_run(runs / "jem")
    trained, label = loop.load_trained(folder), np.full(4, 7)
    config, params = trained.config, trained.params
    drawn = folder.task.generate(trained, jax.random.key(2), 4, label)
    start_key, chain_key = jax.random.split(jax.random.key(2))
    model = jem_learner.build_model(config, (8, 8, 1), sampling=True)
    start = jem_learner.build_start(config, DIGITS)(start_key, label)
    expected = model.run_chains(chain_key, params, start, jax.numpy.asarray(label)).position
    np.testing.assert_array_equal(drawn, expected)
    turns = folder.task.generate(trained, jax.random.key(2), 4)
    assert not np.array_equal(drawn, turns)


def test_a_ladder_is_restored_by_adjusted_chains(tmp_path):
    config = dataclasses.replace(
        data_config(tmp_path),
        chain=data_configs.DataChainConfig(num_temperatures=3, sampling_steps=4),
        model=data_configs.DataModelConfig(width=4, base_scale=1.0),
    )
    model = run_folder.task_of(config).density(config.resolve(DIGITS), (8, 8, 1), 9)
    assert model.chain.metropolis
    assert model.chain.num_steps == 9
    assert model.chain.effective_temperature == 1.0


def test_a_configuration_of_images_survives_its_file(runs):
    config = run_folder.open_run(runs / "data").config
    assert config.data.dataset == "digits"
