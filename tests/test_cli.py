import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tempered_ebm import cli
from tempered_ebm.training import config as configs
from tempered_ebm.training import loop, run_folder

TINY = shlex.split(
    "--latent-dim 3 --energy-widths 8 --generator-width 8 --batch-size 50 --prior-steps 3 "
    "--posterior-steps 2 --sampling-steps 5 --log-every 5"
)


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return stop.value.code


def npz(path, **arrays):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    np.savez(path, **{"x_train": images, "y_train": rng.integers(0, 3, 200), **arrays})
    return path


def in_a_process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "tempered_ebm", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    data = npz(folder / "images.npz")
    code = run("train", *TINY, "--num-steps", 12, "--dataset", "npz", "--data-file", data,
               "--output-dir", folder / "runs", "--name", "done", "--no-evaluate")  # fmt: skip
    assert code == 0
    return folder / "runs" / "done"


def test_training_leaves_a_run_folder(finished_run):
    tree = json.loads((finished_run / "config.json").read_text())
    assert tree["config"]["model"]["latent_dim"] == 3
    header, *rows = (finished_run / "metrics.csv").read_text().splitlines()
    assert {"loss", "posterior_energy", "prior_energy", "seconds"} <= set(header.split(","))
    assert len(rows) == 3
    assert (finished_run.parent / "LAST").resolve() == finished_run.resolve()


def test_sample_writes_images_and_a_picture(finished_run):
    assert run("sample", finished_run, "--num-samples", 7) == 0
    with np.load(finished_run / "samples.npz") as archive:
        first = archive["x"]
    assert first.shape == (7, 8, 8, 1)
    assert first.dtype == np.uint8
    assert (finished_run / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert run("sample", finished_run, "--num-samples", 7, "--seed", 1) == 0
    with np.load(finished_run / "samples.npz") as archive:
        assert not np.array_equal(first, archive["x"])


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_a_model_whose_chains_diverge_is_one_line(finished_run, monkeypatch, capsys, command):
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*.*")}
    params, step = loop.load_params(run_folder.open_run(finished_run))
    lost = jax.tree.map(lambda leaf: leaf * np.nan, params)
    monkeypatch.setattr(loop, "load_params", lambda folder: (lost, step))
    assert run(command, finished_run) == 1
    complaint = capsys.readouterr().err
    assert re.match(r"tempered-ebm: the (prior|posterior) chains .* diverged", complaint)
    assert complaint.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*.*")} == before


@pytest.mark.slow
def test_evaluate_prints_a_table_and_draws_every_picture(finished_run, capsys):
    assert run("evaluate", finished_run) == 0
    printed = capsys.readouterr().out
    for row in ("training set (floor)", "learned prior", "N(0, I)", "log-evidence"):
        assert row in printed
    tree = json.loads((finished_run / "evaluation.json").read_text())
    assert np.all(np.isfinite(tree["log_evidence"]))
    pictures = {path.stem for path in (finished_run / "figures").glob("*.png")}
    assert pictures == {"samples", "reconstructions", "integrand", "training_curves"}


ERRORS = {
    "unknown option": (["train", "--num-step", "3"], r"--num-step.*did you mean --num-steps"),
    "unknown option, no guess": (["train", "--foo"], r"--foo.*--help"),
    "unknown command": (["fly"], r"fly"),
    "no command": ([], r"train, sample, evaluate"),
    "not a number": (["train", "--num-steps", "abc"], r"--num-steps.*'abc'"),
    "not a choice": (["train", "--dataset", "cifar"], r"'cifar'.*digits"),
    "K=1": (["train", "--num-temperatures", "1"], r"--num-temperatures must be .* >= 2, got 1"),
    "negative step": (["train", "--prior-step-size", "-0.1"], r"--prior-step-size must be .*-0\.1"),
    "coarse power": (["train", "--power", "500"], r"strictly from 0 to 1"),
    "missing data": (["train", "--dataset", "npz"], r"--data-file goes with --dataset npz"),
    "absent data": (
        ["train", "--dataset", "npz", "--data-file", "absent.npz"],
        r"absent\.npz does not exist",
    ),
    "not a run": (["sample", "."], r"is not a run folder: expected a config\.json"),
    "no such run": (["evaluate", "nowhere"], r"nowhere is not a run folder"),
    "not a run to resume": (["train", "--resume", "."], r"is not a run folder"),
    "options with resume": (
        ["train", "--resume", ".", "--seed", "1"],
        r"--resume takes no option but.*--seed",
    ),
    "output is a file": (["train", "--output-dir", "file"], r"--output-dir must be a folder"),
    "no samples": (["sample", ".", "--num-samples", "0"], r"--num-samples must be .* >= 1, got 0"),
    "large batch": (["train", "--batch-size", "99999"], r"--batch-size must be at most the 1438"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_use_is_one_line_and_changes_nothing(tmp_path, monkeypatch, capsys, name):
    arguments, message = ERRORS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    code = run(*arguments)
    complaint = capsys.readouterr().err
    assert code == 2
    assert complaint.startswith("tempered-ebm: ")
    assert complaint.count("\n") == 1
    assert re.search(message, complaint), complaint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_bad_array_in_a_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    npz("bad.npz", x_train=np.full((20, 8, 8), np.nan))
    assert run("train", "--dataset", "npz", "--data-file", "bad.npz") == 2
    assert "x_train in bad.npz holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_the_command_line_packages_one_line_names_them(tmp_path):
    (tmp_path / "tyro.py").write_text("raise ModuleNotFoundError('no tyro', name='tyro')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", "tempered_ebm", "train"], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == (
        "tempered-ebm: the command line needs the package tyro; install 'tempered-ebm[train]'\n"
    )


def test_help_explains_every_option(capsys):
    assert run("train", "--help") == 0
    printed = capsys.readouterr().out
    for option in ("--posterior-step-size", "--path-weight", "--metropolis", "--resume"):
        assert option in printed


def wait_for_rows(path, process, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no rows in {path}: {process.communicate()}")


def test_ctrl_c_leaves_a_checkpoint_that_resumes_bit_for_bit(tmp_path, capsys):
    data = npz(tmp_path / "images.npz")
    common = ["train", *TINY, "--num-steps", 1000, "--dataset", "npz", "--data-file", data,
              "--output-dir", tmp_path, "--no-evaluate"]  # fmt: skip
    process = in_a_process(*common, "--name", "stopped")
    wait_for_rows(tmp_path / "stopped" / "metrics.csv", process, 2)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "go on with: tempered-ebm train --resume" in complaint
    assert "Traceback" not in complaint
    stopped = run_folder.open_run(tmp_path / "stopped")
    assert 0 < loop.load_params(stopped)[1] < 1000
    assert run("train", "--resume", stopped.path, "--no-evaluate") == 0
    assert run(*common, "--name", "whole") == 0
    ends = [
        loop.load_params(run_folder.open_run(tmp_path / name))[0] for name in ("stopped", "whole")
    ]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_a_disk_that_fills_up_is_one_line_and_destroys_nothing(tmp_path):
    command = [sys.executable, "-m", "tempered_ebm", "train", *TINY, "--num-steps", "10"]
    command += ["--output-dir", str(tmp_path), "--name", "full"]
    limited = f"trap '' XFSZ; ulimit -f 8; exec {shlex.join(command)}"
    result = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    complaint = result.stderr.splitlines()[-1]
    assert complaint.startswith("tempered-ebm: cannot write the checkpoint of step 10")
    assert complaint.endswith("File too large")
    assert (tmp_path / "full" / "metrics.csv").read_text().count("\n") == 3
    assert run_folder.open_run(tmp_path / "full").config.model.latent_dim == 3


def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch, capsys):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(configs.Path, "mkdir", refuse)
    assert run("train", "--output-dir", tmp_path / "runs") == 1
    complaint = capsys.readouterr().err
    assert f"{tmp_path}/runs" in complaint
    assert "Permission denied" in complaint
    assert complaint.count("\n") == 1
