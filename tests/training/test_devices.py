import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training import devices as device_module
from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.config import ParallelConfig
from tempered_ebm.training.logging import read_table

ROOT = Path(__file__).parents[2]
TINY = shlex.split(
    "train --no-evaluate --latent-dim 3 --energy-widths 8 --generator-width 8 --batch-size 80 "
    "--prior-steps 3 --posterior-steps 2 --sampling-steps 5 --log-every 5 --num-steps 12 "
    "--checkpoint-every 4 --validate-every 6 --validation-images 16 --average-decay 0.9"
)
RECORDS = (
    "--no-evaluate --batch-size 80 --log-every 5 --num-steps 12 --checkpoint-every 4 "
    "--sampling-steps 5 --average-decay 0.9"
)
OTHERS = {
    "jem": f"train jem --width 8 --steps 2 --capacity 160 {RECORDS}",
    "images": f"train data --dataset digits --width 8 --steps 2 --capacity 160 {RECORDS}",
    "ladders": f"train data --num-points 200 --width 8 --steps 2 --capacity 160 {RECORDS}",
    "autoencoder": f"train autoencoder --widths 8 --energy-widths 8 --steps 2 {RECORDS}",
    "vae": f"train vae --generator-width 8 --latent-dim 3 {RECORDS}".replace(
        "--sampling-steps 5", ""
    ),
}


DIVIDED = """
import jax, jax.numpy as jnp
from tempered_ebm.training.config import ParallelConfig
from tempered_ebm.training.devices import shard_batch, start
devices = start(ParallelConfig(devices=4))
x = jax.jit(lambda x: shard_batch(x, 1))(jnp.zeros((3, 8, 2)))
assert len(x.addressable_shards) == 1  # No mesh is set outside of Devices.compile.
with jax.set_mesh(devices.mesh):
    x = jax.jit(lambda x: shard_batch(x, 1))(jnp.zeros((3, 8, 2)))
assert {s.data.shape for s in x.addressable_shards} == {(3, 2, 2)}
assert len(x.addressable_shards) == 4
y = devices.compile(lambda x: shard_batch(x, 1) + 1)(x)
assert y.is_fully_replicated and len(y.addressable_shards) == 4
assert "all-gather" in devices.compile(lambda x: shard_batch(x, 1) + 1).lower(x).compile().as_text()
try:
    devices.require_divisible(10)
except ValueError as error:
    assert str(error) == '--batch-size must be a multiple of the 4 devices, got 10'
else:
    raise AssertionError
"""
"""A batch is really divided, and must divide evenly; checked in the process of ``alone``."""


def command(folder, name, *arguments, devices=1, options=TINY):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "tempered_ebm", *options, "--output-dir", folder, "--name", name,
         *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": flags}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(*processes):
    for process in processes:
        _, message = process.communicate(timeout=300)
        assert process.returncode == 0, message


def end(folder, name):
    run = run_folder.open_run(folder / name)
    params, step = loop.load_params(run)
    assert step == 12
    validation = read_table(run.validation) if run.validation.exists() else {}
    return params, read_table(run.metrics), validation


def assert_close_ends(left, right, atol=2e-5):
    import jax

    left[1].pop("seconds"), right[1].pop("seconds")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=atol), left, right)


def in_one_process(script, devices):
    """Run Python code where JAX sees so many devices, after a function ``run(line, *more)``."""
    prelude = (
        "import shlex, shutil, sys\n"
        "from pathlib import Path\n"
        "from tempered_ebm.cli.main import main\n"
        "def run(*arguments):\n"
        "    try:\n"
        "        main([str(argument) for argument in arguments])\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code, arguments\n"
    )
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + script], env={**os.environ, "XLA_FLAGS": flags}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    finish(process)


def runs(folder, **lines):
    return "".join(
        f"run(*{[*options, '--output-dir', str(folder), '--name', name]!r})\n"
        for name, options in lines.items()
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Runs on one device and on several, in one process with eight."""
    folder = tmp_path_factory.mktemp("parallel")
    script = runs(folder, alone=TINY, posterior8=[*TINY, "--devices", "8"])
    in_one_process(script + DIVIDED, 8)
    return folder


@pytest.fixture(scope="module")
def others(alone):
    """A joint model on one device and on four, and the run of one that goes on on two."""
    folder, jem = alone, shlex.split(OTHERS["jem"])
    script = runs(folder, jem1=jem, jem4=[*jem, "--devices", "4"])
    script += (
        f"moved = Path({str(folder / 'moved')!r})\n"
        f"shutil.copytree({str(folder / 'alone')!r}, moved)\n"
        "(moved / 'checkpoints' / '12.manifest.json').unlink()\n"
        "run('train', '--no-evaluate', '--devices', 2, '--resume', moved)\n"
    )
    in_one_process(script, 8)
    return folder


@pytest.mark.slow
def test_eight_devices_end_as_one_does(alone):
    assert_close_ends(end(alone, "alone"), end(alone, "posterior8"))


@pytest.mark.slow
def test_a_ladder_on_eight_devices_ends_as_on_one(alone):
    extra = ("--estimator", "path", "--num-temperatures", 3)
    finish(
        command(alone, "path1", *extra),
        command(alone, "path8", *extra, "--devices", 8, devices=8),
    )
    assert_close_ends(end(alone, "path1"), end(alone, "path8"))


# Adam divides by the size of the gradient, rounding included: a tenth of one of its steps.
ROUNDING = 1e-4


@pytest.mark.slow
def test_a_joint_model_on_four_devices_ends_as_on_one(others):
    assert_close_ends(end(others, "jem1"), end(others, "jem4"), atol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(OTHERS)[1:])
def test_other_models_on_four_devices_end_as_on_one(kind, tmp_path):
    options = shlex.split(OTHERS[kind])
    finish(
        command(tmp_path, "one", options=options),
        command(tmp_path, "four", "--devices", 4, devices=4, options=options),
    )
    assert_close_ends(end(tmp_path, "one"), end(tmp_path, "four"), atol=ROUNDING)


@pytest.mark.slow
def test_a_run_goes_on_on_other_devices(others):
    """Another number of devices may round differently, and nothing more."""
    assert_close_ends(end(others, "alone"), end(others, "moved"))


def together(folder, name, *arguments):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    shared = ("--coordinator", address, "--num-processes", 2, "--process-id")
    return [command(folder, name, *arguments, *shared, i) for i in range(2)]


@pytest.mark.slow
def test_two_processes_end_as_one_does_and_one_writes(alone):
    finish(*together(alone, "two"))
    assert_close_ends(end(alone, "alone"), end(alone, "two"))


@pytest.mark.slow
def test_two_processes_stop_together_when_one_of_them_is_asked_to(alone):
    processes = together(alone, "stopped", "--num-steps", 100_000)
    table = alone / "stopped" / "metrics.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (table.exists() and table.stat().st_size > 1000):
        time.sleep(0.1)
    processes[1].terminate()
    messages = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [130, 130], messages
    assert "go on with: tempered-ebm train --resume" in messages[0]
    run = run_folder.open_run(alone / "stopped")
    assert loop.load_params(run)[1] == read_table(run.metrics)["step"][-1]


BAD = {
    "--devices must be an integer >= 1, got 0": {"devices": 0},
    "--num-processes must be an integer >= 1, got 0": {"num_processes": 0},
    "--process-id must be below --num-processes 2, got 2": {
        "num_processes": 2, "process_id": 2, "coordinator": "localhost:1"},
    "--coordinator goes with --num-processes above 1, got --coordinator None": {"num_processes": 2},
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_a_bad_value_is_named_with_what_was_expected(message):
    with pytest.raises(te.InputError, match=message):
        ParallelConfig(**BAD[message]).validate()


def test_more_devices_than_there_are_are_named():
    with pytest.raises(te.InputError, match=r"--devices must be at most the \d+ of this process"):
        device_module.start(ParallelConfig(devices=999))
