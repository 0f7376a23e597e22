import dataclasses

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.cli import commands
from tempered_ebm.training.config import POINTS, from_json, to_json
from tempered_ebm.training.data_ebm import config as data_ebm
from tempered_ebm.training.jem import config as jem
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent import config as latent
from tempered_ebm.training.run_folder import CONFIGS
from tests.training.runs import DIGITS

MODULES = {"latent": latent, "data": data_ebm, "jem": jem}
EVERY = [(kind, name) for kind, module in MODULES.items() for name in module.PRESETS]


def parse(kind, name, *options):
    return commands.parse(["train", kind, "--preset", name, *options])


def config_of(command):
    """The configuration that a command holds."""
    kind = CONFIGS[command.kind]
    fields = dataclasses.fields(kind)
    return kind(**{field.name: getattr(command, field.name) for field in fields})


def fake(name):
    """Four hundred images of the shape of a data set, with its ten labels."""
    shape = (32, 32, 3) if name in ("svhn", "cifar10", "celeba") else (28, 28, 1)
    x = np.random.default_rng(0).uniform(-1, 1, (400, *shape)).astype(np.float32)
    return te.datasets.ImageDataset(name, x, x[:50], np.arange(400) % 10, np.arange(50) % 10)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_preset_is_valid_with_files_and_survives_json(kind, name, tmp_path):
    source = parse(kind, name).data.dataset
    needs_files = source not in ("digits", *POINTS)
    config = config_of(parse(kind, name, *(["--data-dir", str(tmp_path)] if needs_files else [])))
    config.validate()
    assert from_json(type(config), to_json(config)) == config
    dataset = fake(source) if needs_files else DIGITS
    if source in POINTS:
        dataset = te.datasets.load_toy(source, 1_000)
    config.resolve(dataset).validate()


@pytest.mark.parametrize("kind", MODULES)
def test_help_names_every_preset(kind, capsys):
    with pytest.raises(SystemExit):
        commands.parse(["train", kind, "--help"])
    printed = capsys.readouterr().out
    listed = printed.partition("--preset")[2].partition("--data-file")[0]
    assert all(name in listed for name in MODULES[kind].PRESETS)


def test_options_change_a_preset_and_leave_the_rest():
    command = commands.parse(["train", "--preset", "pang2020-svhn", "--batch-size", "7"])
    assert command.optimizer.batch_size == 7
    assert command.optimizer.prior_learning_rate == 2e-5
    assert command.model.latent_dim == 100
    assert command.chain.chains == "short_run"
    assert (
        commands.parse(["train"]).optimizer.batch_size == configs.LatentOptimizerConfig().batch_size
    )


@pytest.mark.parametrize("kind", ["data", "jem"])
def test_a_preset_takes_its_images_from_another_file(kind):
    command = parse(kind, "mnist-small", "--dataset", "npz", "--data-file", "f.npz", "--steps", "3")
    config = config_of(command)
    config.validate()
    assert config.data.dataset == "npz"
    assert config.chain.steps == 3
    assert config.optimizer == MODULES[kind].preset("mnist-small").optimizer


def test_the_thermo_presets_are_the_frozen_integral():
    learning = latent.preset("thermo-cifar10").learning
    assert (learning.estimator, learning.path_weight) == ("path", "frozen_ti")
    assert learning.num_temperatures == 10


def test_igebm_is_the_chain_of_its_paper_in_other_pixels():
    """A pixel of [-1, 1] is twice one of [0, 1], and the gradient half."""
    chain, paper = data_ebm.preset("igebm").chain, te.presets.igebm
    assert chain.steps == paper.num_steps == 60
    assert chain.step_size == 4 * paper.step_size == 40
    assert chain.noise_scale == 2 * paper.noise_scale == 0.01
    assert chain.max_drift == paper.max_drift / 2 == 0.005


def test_igebm_has_the_other_settings_of_its_paper():
    config = data_ebm.preset("igebm")
    assert config.model.spectral_norm
    assert config.objective.energy_penalty == 1
    assert config.objective.data_noise == pytest.approx(np.sqrt((2 / 256) ** 2 / 12), rel=0.01)
    assert (config.replay.start, config.replay.restart) == ("uniform", 0.05)
    assert (config.optimizer.batch_size, config.optimizer.num_steps) == (128, 121_200)
    assert config.optimizer.first_moment_decay == 0


def test_anatomy_has_the_settings_of_its_code():
    short, persistent = data_ebm.preset("anatomy"), data_ebm.preset("anatomy-persistent")
    assert (short.chain.steps, short.replay.restart) == (150, 1.0)
    assert (persistent.chain.steps, persistent.replay.restart) == (500, 0.0)
    assert persistent.replay.capacity == 50_000
    for config in (short, persistent):
        assert (config.chain.step_size, config.chain.noise_scale) == (1.0, 0.01)
        assert (config.objective.data_noise, config.objective.energy_penalty) == (0.03, 0)
        optimizer = config.optimizer
        assert (optimizer.learning_rate, optimizer.rate_schedule) == (1e-4, "constant")
        assert (optimizer.batch_size, optimizer.num_steps) == (100, 100_000)


def test_toy_is_the_default_by_a_name():
    assert data_ebm.preset("toy") == type(data_ebm.preset("toy"))()


def test_jem_has_the_settings_of_its_paper():
    config, paper = jem.preset("jem"), te.presets.jem
    chain = config.chain
    assert (chain.steps, chain.step_size, chain.noise_scale) == (
        paper.num_steps,
        paper.step_size,
        paper.noise_scale,
    )
    assert (config.replay.capacity, config.replay.restart) == (10_000, 0.05)
    goal = config.objective
    assert (goal.density, goal.classify, goal.weight) == ("marginal", 1, 1)
    assert (goal.data_noise, goal.energy_penalty) == (0.03, 0)
    assert (config.optimizer.batch_size, config.optimizer.learning_rate) == (64, 1e-4)
    assert config.optimizer.num_steps == 200 * (45_000 // 64) == 140_600


@pytest.mark.parametrize(
    ("kind", "first"), [("latent", "pang2020-svhn"), ("data", "igebm"), ("jem", "jem")]
)
def test_an_unknown_preset_is_named(kind, first):
    message = rf"--preset must be one of {first}, .*'imagenet'"
    with pytest.raises(te.InputError, match=message):
        commands.parse(["train", kind, "--preset=imagenet"])


def test_a_model_without_presets_says_so():
    with pytest.raises(te.InputError, match="Unrecognized"):
        commands.parse(["train", "vae", "--preset", "mnist"])
