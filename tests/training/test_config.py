"""Options, presets, and configurations as JSON."""

import dataclasses
import inspect
import json
from math import inf
from pathlib import Path

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm._files import plain
from tempered_ebm.cli import commands
from tempered_ebm.training import config as base
from tempered_ebm.training.config import POINTS, DataConfig, from_json, load_dataset
from tempered_ebm.training.data_ebm import config as data_ebm
from tempered_ebm.training.jem import config as jem
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent import config as latent
from tempered_ebm.training.run_folder import CONFIGS
from tests.training.runs import DIGITS


def changed(group, **values):
    config = configs.LatentConfig()
    return dataclasses.replace(
        config, **{group: dataclasses.replace(getattr(config, group), **values)}
    )


def test_a_configuration_survives_json():
    config = changed("data", dataset="npz", data_file=Path("/a/b.npz"))
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, energy_widths=(3, 4))
    )
    assert from_json(configs.LatentConfig, json.loads(json.dumps(plain(config)))) == config


def test_an_entry_that_was_no_option_yet_has_its_default():
    tree = plain(changed("learning", temperature_block=3, power=2.0))
    del tree["learning"]["temperature_block"], tree["update"]
    assert from_json(configs.LatentConfig, tree) == changed("learning", power=2.0)


def is_explained(owner, name):
    declaration = inspect.getsource(owner).split(f"\n    {name}: ")[1]
    return declaration.split("\n")[1].strip().startswith('"""')


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_option_is_explained(kind):
    for group in dataclasses.fields(CONFIGS[kind]):
        options = type(group.default_factory())
        for field in dataclasses.fields(options):
            owners = [
                c for c in options.__mro__ if field.name in vars(c).get("__annotations__", {})
            ]
            assert is_explained(owners[0], field.name), field.name


BAD = {
    "--prior-step-size must be positive and finite, got -0.1": ("chain", "prior_step_size", -0.1),
    "--posterior-steps must be an integer >= 1, got 0": ("chain", "posterior_steps", 0),
    "--sigma must be positive and finite, got nan": ("model", "sigma", float("nan")),
    "--latent-dim must be an integer >= 1, got 0": ("model", "latent_dim", 0),
    "--energy-widths must name at least one layer": ("model", "energy_widths", ()),
    "--num-temperatures must be an integer >= 2, got 1": ("learning", "num_temperatures", 1),
    "--power must be positive and finite, got -1": ("learning", "power", -1.0),
    "--temperature-block must be an integer >= 1, got 0": ("learning", "temperature_block", 0),
    "--t-min must be below 1, got 2": ("learning", "t_min", 2.0),
    "temperatures must increase strictly": ("learning", "power", 1000.0),
    "--num-steps must be an integer >= 1, got 0": ("optimizer", "num_steps", 0),
    "--weight-decay must be at least 0 and finite, got -1": ("optimizer", "weight_decay", -1.0),
    "--seed must be an integer >= 0, got -3": ("run", "seed", -3),
    "--seed must be below 2": ("run", "seed", 2**32),
    "--name must be a plain folder name other than LAST, got '../x'": ("run", "name", "../x"),
    "--name must be a plain folder name other than LAST, got 'LAST'": ("run", "name", "LAST"),
    "--rate-decay must be between 0 and 1, both excluded, got 1.0": ("rates", "rate_decay", 1.0),
    "--rate-decay-every must be an integer >= 1, got 0": ("rates", "rate_decay_every", 0),
    "--rate-warmup must be an integer >= 0, got -1": ("rates", "rate_warmup", -1),
    "--prior-clip must be positive and finite, got 0": ("update", "prior_clip", 0.0),
    "--generator-clip must be positive and finite, got inf": ("update", "generator_clip", inf),
    "--average-decay must be between 0 and 1": ("update", "average_decay", 1.0),
    "--max-skipped must be an integer >= 1, got 0": ("guard", "max_skipped", 0),
    "--explosion must be above 1 and finite, got 0.5": ("guard", "explosion", 0.5),
    "--max-rollbacks must be an integer >= 0, got -1": ("guard", "max_rollbacks", -1),
    "--rollback-factor must be between 0 and 1": ("guard", "rollback_factor", 2.0),
    "--keep-last must be an integer >= 1, got 0": ("checkpoint", "keep_last", 0),
    "--best-metric validation_x needs --validate-every": (
        "checkpoint",
        "best_metric",
        "validation_x",
    ),
    "--validate-every must be an integer >= 0, got -1": ("logging", "validate_every", -1),
    "--validation-images must be an integer >= 1, got 0": ("logging", "validation_images", 0),
    "--pictures-every must be an integer >= 0, got -1": ("logging", "pictures_every", -1),
    "--data-file goes with --dataset npz": ("data", "dataset", "npz"),
    "but digits, npz and points, got --dataset mnist and --data-dir None": (
        "data",
        "dataset",
        "mnist",
    ),
    "--data-dir goes with every --dataset but digits": ("data", "data_dir", Path("there")),
    "takes either --data-name or --data-dir, got None": ("data", "dataset", "huggingface"),
    "--data-name goes with --dataset huggingface": ("data", "data_name", "a/b"),
    "--image-size must be an integer >= 1, got 0": ("data", "image_size", 0),
    "--validation must be between 0 and 1, both excluded, got 1.0": ("data", "validation", 1.0),
    "--validation must be between 0 and 1, both excluded, got nan": (
        "data",
        "validation",
        float("nan"),
    ),
    "--held-out-label must be an integer >= 0, got -1": ("data", "held_out_label", -1),
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_value_is_named_with_what_was_expected(message):
    group, name, value = BAD[message]
    with pytest.raises(te.InputError, match=message):
        changed(group, **{name: value}).validate()


def test_data_options_are_applied_in_turn():
    wanted = DataConfig(image_size=4, validation=0.1, held_out_label=3)
    dataset = load_dataset(wanted)
    digits = te.datasets.load_digits()
    assert dataset.name == "digits-without-3"
    assert dataset.image_shape == (4, 4, 1)
    kept = int((digits.y_train != 3).sum())
    assert len(dataset.x_train) + len(dataset.x_validation) == kept
    assert len(dataset.x_validation) == round(0.1 * kept)
    for labels in (dataset.y_train, dataset.y_validation, dataset.y_test):
        assert set(labels) == set(range(10)) - {3}


def test_data_come_from_the_folder_or_the_name(tmp_path, monkeypatch):
    asked = []

    def load(*arguments, **options):
        asked.append((*arguments, options))
        return te.datasets.load_digits()

    monkeypatch.setattr(base, "load_named", load)
    load_dataset(DataConfig("svhn", data_dir=tmp_path, grayscale=True))
    load_dataset(DataConfig("huggingface", data_name="a/b", image_size=8))
    load_dataset(DataConfig("huggingface", data_dir=tmp_path))
    assert asked == [
        ("svhn", tmp_path, None, {"grayscale": True}),
        ("huggingface", "a/b", 8, {"grayscale": False}),
        ("huggingface", tmp_path, None, {"grayscale": False}),
    ]


def test_resolved_data_can_be_found_from_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = changed("data", dataset="celeba", data_dir=Path("faces"))
    resolved = config.resolve(te.datasets.load_digits())
    assert resolved.data.data_dir == tmp_path / "faces"
    assert resolved.data.image_size == 8


@pytest.mark.parametrize("schedule", ["uniform", "power", "sigmoid", "geometric", "beta", "cosine"])
def test_every_schedule_makes_a_ladder(schedule):
    learning = configs.EstimatorConfig(schedule=schedule, num_temperatures=6)
    assert te.schedules.validate(learning.ladder()).shape == (6,)


def test_resolving_fills_in_everything_that_depends_on_the_data():
    dataset = te.datasets.load_digits()
    resolved = configs.LatentConfig().resolve(dataset)
    assert None not in dataclasses.asdict(resolved.model).values()
    assert resolved.optimizer.num_steps is not None
    with pytest.raises(te.InputError, match="--batch-size must be at most the 1438"):
        changed("optimizer", batch_size=2000).resolve(dataset)


def test_a_warmup_longer_than_the_run_is_named():
    rates = configs.RateConfig(prior_rate_schedule="warmup_cosine", rate_warmup=4000)
    config = dataclasses.replace(configs.LatentConfig(), rates=rates)
    config.validate()
    with pytest.raises(te.InputError, match="--rate-warmup must be below the 4000 updates"):
        config.resolve(te.datasets.load_digits())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "sigma"), "x", "config.model.sigma must be"),
        (("chain", "chains"), "eternal", "config.chain.chains must be"),
        (("model", "energy_widths"), [1.5], "config.model.energy_widths must be"),
        (("model", "unknown"), 1, "config.model must have no entries but"),
    ],
)
def test_a_damaged_configuration_is_named(path, value, message):
    tree = plain(configs.LatentConfig())
    tree[path[0]][path[1]] = value
    with pytest.raises(te.InputError, match=message):
        from_json(configs.LatentConfig, tree)


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
    config = config_of(parse(kind, name))
    source = config.data.dataset
    needs_files = source not in ("digits", *POINTS)
    if needs_files:
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, data_dir=tmp_path)
        )
    config.validate()
    assert from_json(type(config), plain(config)) == config
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
