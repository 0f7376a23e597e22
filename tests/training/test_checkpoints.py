import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.checkpoints import (
    Checkpoints,
    CheckpointWriteError,
    find_damage,
    manifest_path,
)
from tempered_ebm.training.config import CheckpointConfig, LoggingConfig
from tempered_ebm.training.logging import read_table
from tests.training.runs import (
    assert_same_tree,
    create,
    stop_after,
    train,
    without_seconds,
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


def tree(value):
    return {"w": jnp.full(3, float(value)), "n": {"count": jnp.int32(value)}}


def save(checkpoints, step, **options):
    checkpoints.save(step, tree(step), {"state": tree(-step)}, **options)


def files(folder, step):
    return sorted(path for path in (folder / str(step)).rglob("*") if path.is_file())


def flip_a_bit(path, position, bit=3):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_what_is_saved_comes_back_part_by_part(folder):
    checkpoints = Checkpoints(folder, CheckpointConfig())
    save(checkpoints, 1)
    restored = checkpoints.restore(1, training={"state": tree(0)})
    assert_same_tree(restored["training"], {"state": tree(-1)})
    assert set(restored) == {"training"}
    assert not [path for path in files(folder, 1) if b"pickle" in path.read_bytes()]


def test_the_newest_and_the_best_stay(folder):
    checkpoints = Checkpoints(folder, CheckpointConfig(keep_last=2, best_metric="error"))
    for step, error in enumerate([3.0, 1.0, 2.0, float("nan"), 5.0], 1):
        save(checkpoints, step, metrics={"error": error})
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best_step() == 2
    assert {path.name for path in folder.iterdir()} == {
        *("2", "4", "5"),
        *(f"{step}.manifest.json" for step in (2, 4, 5)),
    }
    assert (
        Checkpoints(folder, CheckpointConfig(best_metric="error", best_mode="max")).best_step() == 5
    )


def test_flipped_bits_and_cuts_of_every_file_are_noticed(folder):
    """Each file in turn, at its first, middle and last byte."""
    checkpoints = Checkpoints(folder, CheckpointConfig())
    save(checkpoints, 1)
    everything = [*files(folder, 1), manifest_path(folder, 1)]
    assert len(everything) > 10
    for path in everything:
        whole = path.read_bytes()
        for position in {0, len(whole) // 2, len(whole) - 1}:
            flip_a_bit(path, position)
            assert find_damage(folder, 1) is not None, (path, position)
            path.write_bytes(whole)
        os.truncate(path, len(whole) // 2)
        assert find_damage(folder, 1) is not None, path
        path.write_bytes(whole)
    assert find_damage(folder, 1) is None
    (folder / "1" / "params" / "extra").touch()
    assert find_damage(folder, 1) == "params/extra does not belong to it"
    files(folder, 1)[0].unlink()
    assert "is missing" in find_damage(folder, 1)


def test_a_value_changed_in_a_manifest_is_noticed(folder):
    save(Checkpoints(folder, CheckpointConfig()), 1, metrics={"error": 1.0})
    path = manifest_path(folder, 1)
    path.write_text(path.read_text().replace('"rollbacks": 0', '"rollbacks": 1'))
    assert find_damage(folder, 1) == "its manifest is damaged"


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(folder):
    checkpoints = Checkpoints(folder, CheckpointConfig())
    save(checkpoints, 1)
    save(checkpoints, 2)
    flip_a_bit(max(files(folder, 2), key=lambda path: path.stat().st_size), 50)
    with pytest.warns(UserWarning, match=r"checkpoints/2 is damaged: .* is not as it was written"):
        assert checkpoints.latest_step() == 1


def test_what_a_killed_writer_left_does_not_count_and_is_cleaned(folder):
    checkpoints = Checkpoints(folder, CheckpointConfig())
    save(checkpoints, 1)
    shutil.copytree(folder / "1", folder / "2")
    shutil.copytree(folder / "1", folder / "3.orbax-checkpoint-tmp-5")
    (folder / "4.manifest.json").write_text("{}")
    (folder / ".5.manifest.json.abc").write_text("{")
    assert checkpoints.latest_step() == 1
    checkpoints.clean()
    assert {path.name for path in folder.iterdir()} == {"1", "1.manifest.json"}
    assert find_damage(folder, 1) is None


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    checkpoints = Checkpoints(folder, CheckpointConfig())
    save(checkpoints, 1)

    def full_disk(*args, **kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(checkpoints._writer, "save", full_disk)
    with pytest.raises(CheckpointWriteError, match=r"step 2 .*No space left"):
        save(checkpoints, 2)
    assert checkpoints.latest_step() == 1
    assert_same_tree(checkpoints.restore(1, params=tree(0))["params"], tree(1))


def test_a_checkpoint_of_another_model_is_named(folder):
    checkpoints = Checkpoints(folder, CheckpointConfig())
    save(checkpoints, 1)
    with pytest.raises(te.InputError, match="checkpoints/1 is damaged or of another model"):
        checkpoints.restore(1, params={"other": jnp.zeros(2)})


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_damaged_ends_bit_for_bit_the_same(
    tmp_path, monkeypatch, whole
):
    folder, expected = whole
    stopped = create(tmp_path, "stopped")
    with monkeypatch.context() as patch:
        stop_after(patch, 11)
        assert train(stopped).step == 11
    flip_a_bit(files(stopped.checkpoints, 11)[-1], 10)
    with pytest.warns(UserWarning, match="checkpoints/11 is damaged"):
        resumed = train(stopped, resume=True)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(folder.metrics), without_seconds(stopped.metrics))


def test_a_run_with_nothing_but_damaged_checkpoints_is_named_and_kept(tmp_path, whole):
    shutil.copytree(whole[0].path, tmp_path / "run")
    folder = run_folder.open_run(tmp_path / "run")
    for step in (8, 12):
        os.truncate(files(folder.checkpoints, step)[-1], 5)
    for go_on in (loop.load_params, lambda run: train(run, resume=True)):
        with (
            pytest.warns(UserWarning, match="is damaged"),
            pytest.raises(te.InputError, match=r"checkpoints/12 and every checkpoint before"),
        ):
            go_on(folder)
    assert (folder.checkpoints / "8").is_dir()


def test_the_best_checkpoint_by_validation_stays_and_loads(tmp_path):
    folder = create(
        tmp_path,
        num_steps=20,
        checkpoint=CheckpointConfig(best_metric="validation_reconstruction_error"),
        logging=LoggingConfig(validate_every=4, validation_images=20),
    )
    train(folder)
    table = read_table(folder.validation)
    np.testing.assert_array_equal(table["step"], [4, 8, 12, 16, 20])
    errors = table["validation_reconstruction_error"]
    assert loop.load_params(folder, best=True)[1] == table["step"][np.argmin(errors)]
    kept = json.loads((folder.checkpoints / "20.manifest.json").read_text())["metrics"]
    assert kept["validation_reconstruction_error"] == errors[-1]
    assert {"loss", "reconstruction_error"} <= set(kept)


def test_a_best_checkpoint_that_cannot_be_is_named(tmp_path):
    folder = create(tmp_path, "plain")
    with pytest.raises(te.InputError, match="keeps no best checkpoint"):
        loop.load_params(folder, best=True)
    folder = create(tmp_path, "odd", checkpoint=CheckpointConfig(best_metric="beauty"))
    with pytest.raises(te.InputError, match=r"--best-metric must be one of loss, .*, got beauty"):
        train(folder)
