import pytest

import tempered_ebm as te
from tempered_ebm import commands
from tempered_ebm.training.config import from_json, to_json
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_with_files_and_survives_json(name, tmp_path):
    options = ["train", "--preset", name]
    if PRESETS[name].data.dataset != "digits":
        options += ["--data-dir", str(tmp_path)]
    command = commands.parse(options)
    config = configs.LatentConfig(
        **{field: getattr(command, field) for field in vars(configs.LatentConfig())}
    )
    configs.validate(config)
    assert from_json(configs.LatentConfig, to_json(config)) == config


def test_options_change_a_preset_and_leave_the_rest():
    command = commands.parse(["train", "--preset", "pang2020-svhn", "--batch-size", "7"])
    assert command.optimizer.batch_size == 7
    assert command.optimizer.prior_learning_rate == 2e-5
    assert command.model.latent_dim == 100
    assert command.chain.chains == "short_run"
    assert commands.parse(["train"]).optimizer.batch_size == configs.OptimizerConfig().batch_size


def test_the_thermo_presets_are_the_frozen_integral():
    learning = preset("thermo-cifar10").learning
    assert (learning.estimator, learning.path_weight) == ("path", "frozen_ti")
    assert learning.num_temperatures == 10


def test_an_unknown_preset_is_named():
    with pytest.raises(te.InputError, match=r"--preset must be one of pang2020-svhn, .*'imagenet'"):
        commands.parse(["train", "--preset=imagenet"])
