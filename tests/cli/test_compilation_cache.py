import shlex

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tempered_ebm.cli import main as cli
from tempered_ebm.training import loop, run_folder

TINY = shlex.split(
    "train --latent-dim 3 --energy-widths 8 --generator-width 8 --batch-size 50 --prior-steps 3 "
    "--posterior-steps 2 --num-steps 6 --no-evaluate"
)
SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def without_cache(monkeypatch, tmp_path):
    """A process in which JAX has no cache yet; its settings come back afterwards."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv(cli.CACHE_VARIABLE)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def train(folder, name):
    """Parameters of a run, and how often its programs were found and not found."""
    events = []

    def listen(event, **details):
        events.append(event.rpartition("/")[2])

    jax.monitoring.register_event_listener(listen)
    try:
        with pytest.raises(SystemExit, match="0"):
            cli.main([*TINY, "--output-dir", str(folder), "--name", name])
    finally:
        jax.monitoring.unregister_event_listener(listen)
    params, _ = loop.load_params(run_folder.open_run(folder / name))
    return params, events.count("cache_hits"), events.count("cache_misses")


@pytest.mark.slow
def test_a_second_run_finds_its_programs_and_ends_as_the_first(
    without_cache, monkeypatch, tmp_path
):
    # However long they take to compile: that differs from run to run.
    monkeypatch.setattr(cli, "_CACHED_FROM_SECONDS", 0)
    monkeypatch.setenv(cli.CACHE_VARIABLE, str(tmp_path / "cache"))
    first, hits, kept = train(tmp_path, "first")
    assert len(list((tmp_path / "cache").glob("*-cache"))) == kept > hits == 0
    second, hits, compiled = train(tmp_path, "second")
    assert hits > compiled == 0
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_folder_is_that_of_the_user_or_the_one_that_is_named(
    without_cache, monkeypatch, tmp_path
):
    assert cli.enable_compilation_cache() == tmp_path / "caches" / "tempered_ebm" / "xla"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "caches/tempered_ebm/xla")
    assert jax.config.jax_compilation_cache_max_size == 2**30
    monkeypatch.setenv(cli.CACHE_VARIABLE, str(tmp_path / "mine"))
    assert cli.enable_compilation_cache() is None
    jax.config.update("jax_compilation_cache_dir", None)
    assert cli.enable_compilation_cache() == tmp_path / "mine"
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700


def test_it_can_be_switched_off(without_cache, monkeypatch, tmp_path):
    monkeypatch.setenv(cli.CACHE_VARIABLE, "off")
    assert cli.enable_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not (tmp_path / "caches").exists()


def test_a_cache_that_jax_has_already_stays(without_cache, monkeypatch, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    monkeypatch.setenv(cli.CACHE_VARIABLE, str(tmp_path / "mine"))
    assert cli.enable_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_made_is_done_without(without_cache, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("kept")
    monkeypatch.setenv(cli.CACHE_VARIABLE, str(tmp_path / "file" / "folder"))
    assert cli.enable_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_what_a_killed_process_left_unfinished_is_removed(without_cache, tmp_path):
    cache = tmp_path / "caches" / "tempered_ebm" / "xla"
    cache.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (cache / name).write_bytes(b"12345678")
    assert cli.enable_compilation_cache() == cache
    assert {path.name for path in cache.iterdir()} == {"whole-cache", "whole-atime"}
