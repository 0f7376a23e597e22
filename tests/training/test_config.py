import dataclasses
import inspect
import json
from math import inf
from pathlib import Path

import pytest

import tempered_ebm as te
from tempered_ebm.training import config as base
from tempered_ebm.training.config import DataConfig, from_json, load_dataset, to_json
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.run_folder import CONFIGS


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
    assert from_json(configs.LatentConfig, json.loads(json.dumps(to_json(config)))) == config


def test_an_entry_that_was_no_option_yet_has_its_default():
    tree = to_json(changed("learning", temperature_block=3, power=2.0))
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
    "--validation must be between 0 and 1, got 1.0": ("data", "validation", 1.0),
    "--validation must be between 0 and 1, got nan": ("data", "validation", float("nan")),
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
    tree = to_json(configs.LatentConfig())
    tree[path[0]][path[1]] = value
    with pytest.raises(te.InputError, match=message):
        from_json(configs.LatentConfig, tree)
