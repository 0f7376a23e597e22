import json
import re
import resource
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tempered_ebm import __main__
from tempered_ebm.cli import main as cli
from tempered_ebm.training import loop, run_folder
from tests import ground_truths as gt
from tests.evidence.test_reliability_warnings import sound
from tests.models.checks_model_evidence import gamma_poisson_evidence

TINY = shlex.split(
    "--latent-dim 3 --energy-widths 8 --generator-width 8 --batch-size 50 --prior-steps 3 "
    "--posterior-steps 2 --sampling-steps 5 --log-every 5"
)
TRAINING = [*TINY, *shlex.split("--num-steps 12 --dataset npz --no-evaluate")]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return stop.value.code


def npz(path, **arrays):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    np.savez(path, **{"x_train": images, "y_train": rng.integers(0, 3, 200), **arrays})
    return path


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    data = npz(folder / "images.npz")
    options = ["--data-file", data, "--output-dir", folder / "runs", "--name", "done"]
    assert run("train", *TRAINING, *options) == 0
    return folder / "runs" / "done"


def test_training_leaves_a_run_folder(finished_run):
    tree = json.loads((finished_run / "config.json").read_text())
    assert tree["config"]["model"]["latent_dim"] == 3
    header, *rows = (finished_run / "metrics.csv").read_text().splitlines()
    assert {"loss", "posterior_energy", "prior_energy", "seconds"} <= set(header.split(","))
    assert len(rows) == 3
    assert (finished_run.parent / "LAST").resolve() == finished_run.resolve()


def test_the_report_of_a_run_is_one_page(finished_run, capsys):
    assert run("report", finished_run) == 0
    page = finished_run / "report.html"
    assert str(page) in capsys.readouterr().out
    text = page.read_text()
    assert "data:image/png" in text
    assert "latent_dim" in text


def test_wrong_use_of_study_and_report_is_one_line(tmp_path, capsys):
    assert run("report", tmp_path) == 2
    assert "neither a study folder nor a run folder" in capsys.readouterr().err
    assert run("study", "--powers", -1) == 2
    assert "--powers must be positive" in capsys.readouterr().err


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


@pytest.mark.slow
def test_samples_are_animated(finished_run):
    assert run("sample", finished_run, "--num-samples", 7, "--animate") == 0
    assert (finished_run / "samples.gif").read_bytes().startswith(b"GIF")


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_a_model_whose_chains_diverge_is_one_line(finished_run, monkeypatch, capsys, command):
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*.*")}
    params, step = loop.load_params(run_folder.open_run(finished_run))
    lost = jax.tree.map(lambda leaf: leaf * np.nan, params)
    monkeypatch.setattr(loop, "load_params", lambda folder, best: (lost, step))
    assert run(command, finished_run) == 1
    message = capsys.readouterr().err
    assert re.match(r"tempered-ebm: the (prior|posterior) chains .* diverged", message)
    assert message.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*.*")} == before


def test_the_best_checkpoint_is_one_line_if_none_is_kept(finished_run, capsys):
    for command in ("sample", "evaluate"):
        assert run(command, finished_run, "--checkpoint", "best") == 2
        message = capsys.readouterr().err
        assert "keeps no best checkpoint: it has no --best-metric" in message
        assert message.count("\n") == 1


def test_a_damaged_checkpoint_is_one_line_and_the_one_before_is_sampled(finished_run, capsys):
    file = max((finished_run / "checkpoints" / "12").rglob("*"), key=lambda p: p.stat().st_size)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert run("sample", finished_run, "--num-samples", 2) == 2
    finally:
        file.write_bytes(whole)
    message = capsys.readouterr().err.splitlines()
    assert message[0].startswith("tempered-ebm: warning: checkpoint")
    assert "12 and every checkpoint before it is damaged" in message[1]
    assert len(message) == 2


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
    "no command": ([], r"train, sample, inpaint, denoise, evaluate, evidence"),
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
    "too many devices": (
        ["train", "--devices", "99"],
        r"--devices must be at most the 1 .* got 99",
    ),
    "lonely process": (["train", "--num-processes", "2"], r"--coordinator goes with --num-proc"),
    "unknown precision": (["train", "--precision", "fp8"], r"'fp8'.*float32"),
    "best of nothing": (
        ["train", "--best-metric", "validation_reconstruction_error"],
        r"--best-metric .* needs --validate-every above 0",
    ),
    "large batch": (["train", "--batch-size", "99999"], r"--batch-size must be at most the 1438"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_use_is_one_line_and_changes_nothing(tmp_path, monkeypatch, capsys, name):
    arguments, expected = ERRORS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    code = run(*arguments)
    message = capsys.readouterr().err
    assert code == 2
    assert message.startswith("tempered-ebm: ")
    assert message.count("\n") == 1
    assert re.search(expected, message), message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_bad_array_in_a_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    npz("bad.npz", x_train=np.full((20, 8, 8), np.nan))
    assert run("train", "--dataset", "npz", "--data-file", "bad.npz") == 2
    assert "x_train in bad.npz holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_the_command_line_packages_one_line_names_them(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("tempered_ebm.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tyro", None)
    with pytest.raises(SystemExit, match="2"):
        __main__.main()
    assert capsys.readouterr().err == (
        "tempered-ebm: the command line needs the package tyro; install 'tempered-ebm[train]'\n"
    )


def test_help_explains_every_option(capsys):
    assert run("train", "--help") == 0
    printed = capsys.readouterr().out
    for option in (
        "--posterior-step-size",
        "--path-weight",
        "--metropolis",
        "--resume",
        "--devices",
    ):
        assert option in printed


def test_ctrl_c_leaves_a_checkpoint_that_resumes_bit_for_bit(finished_run, monkeypatch, capsys):
    save = loop.Segment._log

    def log_and_interrupt(segment, *arguments):
        try:
            return save(segment, *arguments)
        finally:
            signal.raise_signal(signal.SIGINT)

    common = ["train", *TRAINING, "--data-file", finished_run.parents[1] / "images.npz",
              "--output-dir", finished_run.parent]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(loop.Segment, "_log", log_and_interrupt)
        assert run(*common, "--name", "stopped") == 130
    assert "go on with: tempered-ebm train --resume" in capsys.readouterr().err
    stopped = run_folder.open_run(finished_run.parent / "stopped")
    assert loop.load_params(stopped)[1] == 5
    assert run("train", "--resume", stopped.path, "--no-evaluate") == 0
    ends = [loop.load_params(folder)[0] for folder in (stopped, run_folder.open_run(finished_run))]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_a_disk_that_fills_up_is_one_line_and_destroys_nothing(tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, limits[1]))
    try:
        code = run("train", *TINY, "--num-steps", 10, "--output-dir", tmp_path, "--name", "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("tempered-ebm: cannot write the checkpoint of step 10")
    assert message.endswith("File too large")
    assert (tmp_path / "full" / "metrics.csv").read_text().count("\n") == 3
    assert run_folder.open_run(tmp_path / "full").config.model.latent_dim == 3


def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch, capsys):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert run("train", "--output-dir", tmp_path / "runs") == 1
    message = capsys.readouterr().err
    assert f"{tmp_path}/runs" in message
    assert "Permission denied" in message
    assert message.count("\n") == 1


# --------------------------------------------------------------------------- evidence

MODEL = """
import numpyro
import numpyro.distributions as dist

not_callable = 3


def counts(y, shape=2.0):
    rate = numpyro.sample("rate", dist.Gamma(shape, 1.0))
    with numpyro.plate("rows", y.size):
        numpyro.sample("y", dist.Poisson(rate), obs=y)


def broken(y):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.Poisson(rate), obs=y + undefined)


def improper(y):
    flat = dist.ImproperUniform(dist.constraints.real, (), event_shape=())
    numpyro.sample("y", dist.Normal(numpyro.sample("z", flat), 1.0), obs=y)
"""
QUICK = shlex.split("--num-temperatures 4 --num-samples 200 --num-ensembles 16")


@pytest.fixture
def model_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "model_for_cli.py").write_text(MODEL)
    (tmp_path / "fails_on_import.py").write_text("import numpy\n1 / 0\n")
    (tmp_path / "needs_another.py").write_text("import no_such_package\n")
    (tmp_path / "file").write_text("kept")
    (tmp_path / "counts.csv").write_text("y\n1\n3\n2\n0\n")
    (tmp_path / "other.csv").write_text("y,z\n1,2\n3,4\n")
    (tmp_path / "shape.json").write_text('{"shape": 3.0}')
    yield tmp_path
    sys.modules.pop("model_for_cli", None)


@pytest.mark.slow
@pytest.mark.statistical
def test_evidence_of_a_model_and_a_table(model_folder, capsys):
    """From the current folder, with files of the report."""
    code = run("evidence", "model_for_cli:counts", "--data", "counts.csv", "--output", "out",
               "--checkpoint", "kept", *QUICK, "--seed", gt.seed(5))  # fmt: skip
    printed, message = capsys.readouterr()
    assert (code, message) == (0, "")
    assert (model_folder / "kept" / "reference" / "00000.npz").is_file()
    assert printed.startswith("log p(x) = ")
    assert (model_folder / "out" / "report.txt").read_text() in printed
    assert (model_folder / "out" / "integrand.png").read_bytes().startswith(b"\x89PNG")
    tree = json.loads((model_folder / "out" / "report.json").read_text())
    truth = gamma_poisson_evidence(np.array([1, 3, 2, 0]), 2.0, 1.0)
    z = (tree["log_evidence"] - truth) / tree["standard_error"]
    assert abs(z) < gt.z_threshold(1, 16)
    assert tree["standard_error"] < 0.1
    assert tree["settings"]["model"] == "model_for_cli:counts"
    assert tree["estimates"]["mbar"]["log_evidence"] == pytest.approx(tree["log_evidence"])


def test_the_files_of_a_report_of_evidence(model_folder, monkeypatch, capsys):
    from tempered_ebm.cli import evidence as evidence_command

    report = sound()
    monkeypatch.setattr(evidence_command, "estimate", lambda *arguments: report)
    assert run("evidence", "model_for_cli:counts", "--output", "out", "--seed", 3) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("log p(x) = ")
    assert (model_folder / "out" / "report.txt").read_text() in printed
    assert (model_folder / "out" / "integrand.png").read_bytes().startswith(b"\x89PNG")
    tree = json.loads((model_folder / "out" / "report.json").read_text())
    assert tree["log_evidence"] == report.log_evidence
    assert tree["settings"]["model"] == "model_for_cli:counts"
    assert tree["estimates"]["mbar"]["log_evidence"] == report.log_evidence


EVIDENCE_ERRORS = {
    "no colon": (["counts"], r"module:model or path/to/file\.py:model, got 'counts'"),
    "no module": (["absent:counts"], r"no module 'absent' in the current folder"),
    "no submodule": (["model_for_cli.x:counts"], r"no module 'model_for_cli\.x'|not a package"),
    "no file": (["absent.py:counts"], r"model file absent\.py does not exist"),
    "failing import": (["fails_on_import:x"], r"cannot be imported: ZeroDivisionError"),
    "failing file": (["fails_on_import.py:x"], r"cannot be imported: ZeroDivisionError"),
    "missing import": (["needs_another:x"], r"needs_another cannot .*: No module .*no_such_pack"),
    "no attribute": (["model_for_cli:count"], r"no attribute 'count' \(did you mean counts\?\)"),
    "not callable": (["model_for_cli:not_callable"], r"must be a function.*type int"),
    "no data": (["model_for_cli:counts"], r"the data lack \['y'\].*takes \['y', 'shape'\]"),
    "unknown names": (
        ["model_for_cli:counts", "--data", "other.csv"],
        r"the data hold \['z'\], which the model does not take; .*\['y', 'shape'\]",
    ),
    "absent names": (["model_for_cli.py:counts", "--data", "shape.json"], r"the data lack \['y'\]"),
    "absent data": (["model_for_cli:counts", "--data", "absent.csv"], r"absent\.csv does not exi"),
    "odd data": (["model_for_cli:counts", "--data", "file"], r"must end in \.npz, \.csv or \.json"),
    "improper": (["model_for_cli:improper", "--data", "counts.csv"], r"'z' is flat"),
    "failing model": (
        ["model_for_cli:broken", "--data", "counts.csv"],
        r"model_for_cli:broken failed: NameError: name 'undefined'.*line 16 of .*model_for_cli",
    ),
    "bad option": (
        ["model_for_cli:counts", "--data", "counts.csv", "--num-temperatures", "1"],
        r"--num-temperatures must be .* >= 2, got 1",
    ),
    "bad seed": (["model_for_cli:counts", "--seed", "-1"], r"--seed must be .* got -1"),
    "bad output": (
        ["model_for_cli:counts", "--data", "counts.csv", "--output", "file/deep"],
        r"--output must be a folder, got file/deep",
    ),
}


@pytest.mark.parametrize("name", EVIDENCE_ERRORS)
def test_wrong_use_of_evidence_is_one_line_and_changes_nothing(model_folder, capsys, name):
    arguments, expected = EVIDENCE_ERRORS[name]
    before = sorted(path.name for path in model_folder.iterdir())
    code = run("evidence", *arguments)
    message = capsys.readouterr().err
    assert code == 2
    assert message.startswith("tempered-ebm: ")
    assert message.count("\n") == 1
    assert re.search(expected, message), message
    after = sorted(path.name for path in model_folder.iterdir() if path.name != "__pycache__")
    assert after == before


def test_evidence_passes_on_warnings_of_others_and_interrupts_of_the_run(
    model_folder, monkeypatch, capsys
):
    from tempered_ebm.cli import evidence as evidence_command

    def warns(*arguments):
        warnings.warn("a word\nof another package", stacklevel=1)
        warnings.warn("in the report", stacklevel=1)
        return SimpleNamespace(warnings=("in the report",), stopped="interrupted after 5 steps")

    monkeypatch.setattr(evidence_command, "estimate", warns)
    assert run("evidence", "model_for_cli:counts") == 130
    assert capsys.readouterr().err == "tempered-ebm: warning: a word of another package\n"


@pytest.mark.slow
@pytest.mark.usefixtures("default_interrupt")
def test_ctrl_c_ends_evidence_in_one_line(model_folder):
    (model_folder / "endless.py").write_text(
        "import time\n\ndef model():\n    print('begun', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tempered_ebm", "evidence", "endless:model"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130
    assert message == "tempered-ebm: interrupted\n"


def test_help_of_evidence_explains_every_option(capsys):
    assert run("evidence", "--help") == 0
    printed = capsys.readouterr().out
    for word in ("module:model", "--data", "--target-standard-error", "--output", "report.json"):
        assert word in printed
