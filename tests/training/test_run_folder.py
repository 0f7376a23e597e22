import json
import signal

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import _files
from tempered_ebm.training import run_folder
from tempered_ebm.training.config import RunConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.logging import append_row, read_table, truncate_table
from tempered_ebm.training.loop import InterruptFlag


def create(tmp_path, name="run"):
    config = configs.LatentConfig(run=RunConfig(output_dir=tmp_path / "runs", name=name))
    return run_folder.create(config, te.datasets.load_digits())


def test_a_run_folder_opens_as_it_was_created_and_last_points_to_it(tmp_path):
    create(tmp_path, "first")
    folder = create(tmp_path, "second")
    assert run_folder.open_run(tmp_path / "runs" / "LAST").config == folder.config
    assert (tmp_path / "runs" / "LAST").resolve().name == "second"


def test_a_run_folder_from_before_an_option_opens_with_its_default(tmp_path):
    folder = create(tmp_path)
    tree = json.loads((folder.path / "config.json").read_text())
    del tree["config"]["learning"]["temperature_block"]
    (folder.path / "config.json").write_text(json.dumps(tree))
    assert run_folder.open_run(folder.path).config == folder.config


def test_an_existing_run_is_not_overwritten(tmp_path):
    folder = create(tmp_path)
    (folder.path / "precious").write_text("kept")
    with pytest.raises(te.InputError, match="exists; give another --name"):
        create(tmp_path)
    assert (folder.path / "precious").read_text() == "kept"


def test_an_output_dir_that_is_a_file_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(te.InputError, match="--output-dir must be a folder"):
        create(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"event_shape": [8, 8, 1]}', '{"event_shape": 3}'])
def test_a_damaged_run_folder_is_named(tmp_path, content):
    folder = create(tmp_path)
    (folder.path / "config.json").write_text(content)
    with pytest.raises(te.InputError, match=r"config\.json is damaged"):
        run_folder.open_run(folder.path)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(te.InputError, match="is not a run folder: expected a config"):
        run_folder.open_run(tmp_path)


def test_an_interrupted_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    _files.write_json(path, {"old": 1})

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        _files.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_folder_that_cannot_be_written_is_named_and_not_left_behind(tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left.*config\.json"):
        create(tmp_path)
    assert not (tmp_path / "runs" / "run").exists()


@pytest.mark.usefixtures("default_interrupt")
def test_an_interrupt_is_acknowledged_once_and_the_second_is_final():
    acknowledged = []
    with InterruptFlag(lambda: acknowledged.append(1)) as interrupt:
        assert not interrupt.is_set
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_set
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert acknowledged == [1]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_metrics_come_back_by_column_and_are_cut_at_a_step(tmp_path):
    path = tmp_path / "metrics.csv"
    for step in (10, 20, 30):
        append_row(path, {"step": step, "loss": step / 7})
    table = read_table(path)
    np.testing.assert_array_equal(table["loss"], [10 / 7, 20 / 7, 30 / 7])
    path.write_text(path.read_text() + "4")
    truncate_table(path, 20)
    np.testing.assert_array_equal(read_table(path)["step"], [10, 20])


@pytest.mark.parametrize("content", ["", "step,loss\n1,x\n", "loss\n1\n", "step,loss\n1\n"])
def test_a_file_that_is_no_table_is_named(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(te.InputError, match=r"metrics\.csv"):
        read_table(path)
