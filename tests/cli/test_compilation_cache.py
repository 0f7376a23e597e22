import os
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tempered_ebm.cli import _compilation_cache as compilation_cache
from tempered_ebm.cli import main as cli
from tempered_ebm.training import loop, run_folder

COUNTED_RUN = """
import sys
import jax
from tempered_ebm import cli

events = []
jax.monitoring.register_event_listener(lambda event, **details: events.append(event))
try:
    cli.main(sys.argv[1:])
finally:
    for name in ("cache_hits", "cache_misses"):
        print(name, events.count("/jax/compilation_cache/" + name))
"""
TINY = shlex.split(
    "train --latent-dim 3 --energy-widths 8 --generator-width 8 --batch-size 50 --prior-steps 3 "
    "--posterior-steps 2 --num-steps 6 --no-evaluate"
)


def train(folder, name, cache):
    """Hits and misses of a run in a process of its own."""
    command = [sys.executable, "-c", COUNTED_RUN, *TINY, "--output-dir", folder, "--name", name]
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False,
        env={**os.environ, compilation_cache.VARIABLE: str(cache)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "ersistent compilation cache" not in result.stderr
    counts = dict(line.split() for line in result.stdout.splitlines() if line.startswith("cache_"))
    return int(counts["cache_hits"]), int(counts["cache_misses"])


def params(folder, name):
    return loop.load_params(run_folder.open_run(folder / name))[0]


def test_a_second_run_finds_its_programs_and_ends_as_one_that_compiles(tmp_path):
    cache = tmp_path / "cache"
    hits, kept = train(tmp_path, "first", cache)
    assert hits == 0
    assert kept > 0
    assert len(list(cache.glob("*-cache"))) == kept
    hits, _ = train(tmp_path, "second", cache)
    assert hits >= kept
    with pytest.raises(SystemExit, match="0"):
        cli.main([*TINY, "--output-dir", str(tmp_path), "--name", "without"])
    for name in ("second", "without"):
        jax.tree.map(
            np.testing.assert_array_equal, params(tmp_path, "first"), params(tmp_path, name)
        )


@pytest.fixture
def changes(monkeypatch, tmp_path):
    """Settings of JAX that are made, in place of making them."""
    made = {}
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv(compilation_cache.VARIABLE, raising=False)
    assert jax.config.jax_compilation_cache_dir is None
    return made


def test_the_folder_is_that_of_the_user_or_the_one_that_is_named(changes, monkeypatch, tmp_path):
    assert compilation_cache.enable() == tmp_path / "caches" / "tempered_ebm" / "xla"
    assert changes["jax_compilation_cache_dir"] == str(tmp_path / "caches/tempered_ebm/xla")
    assert changes["jax_compilation_cache_max_size"] == compilation_cache.MAX_BYTES
    monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "mine"))
    assert compilation_cache.enable() == tmp_path / "mine"
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    assert compilation_cache.folder({}) == Path.home() / ".cache" / "tempered_ebm" / "xla"
    assert compilation_cache.folder({"XDG_CACHE_HOME": "relative"}) is None


def test_it_can_be_switched_off(changes, monkeypatch):
    monkeypatch.setenv(compilation_cache.VARIABLE, "off")
    assert compilation_cache.enable() is None
    assert changes == {}


def test_a_cache_that_jax_has_already_stays(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "mine"))
        assert compilation_cache.enable() is None
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_made_or_written_is_done_without(changes, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("kept")
    monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "file" / "folder"))
    assert compilation_cache.enable() is None

    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(compilation_cache.tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "mine"))
    assert compilation_cache.enable() is None
    assert changes == {}


def test_what_a_killed_process_left_unfinished_is_removed(changes, tmp_path):
    cache = tmp_path / "caches" / "tempered_ebm" / "xla"
    cache.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (cache / name).write_bytes(b"12345678")
    assert compilation_cache.enable() == cache
    assert {path.name for path in cache.iterdir()} == {"whole-cache", "whole-atime", ".lockfile"}
