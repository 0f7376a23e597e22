import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te

SCRIPT = """
import sys
from tests.evidence.test_resumed import evidence
print(evidence("reference", sys.argv[1]).log_evidence)
"""


def evidence(path, folder, **options):
    """A run of eight blocks, in two coordinates."""
    target = te.TemperedTarget(
        lambda z: jax.scipy.stats.norm.logpdf(z).sum(),
        lambda z: jax.scipy.stats.norm.logpdf(jnp.array([1.2, 0.7]), z[0] + z[1] ** 2).sum(),
    )
    starts = jax.random.normal(jax.random.key(1), (64, 2))
    return te.log_evidence(
        jax.random.key(0), target, starts, path=path, checkpoint=folder, num_ensembles=4,
        num_samples=20, max_num_samples=160, target_standard_error=1e-6, num_temperatures=4,
        pilot_rounds=2, pilot_steps=10, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", ["reference", "prior"])
def test_a_run_goes_on_where_it_was_stopped(tmp_path, capsys, path):
    whole = evidence(path, None)
    assert capsys.readouterr().err == ""
    evidence(path, tmp_path, progress=True)
    assert "160 steps of 160" in capsys.readouterr().err
    for i in (5, 6, 7):
        (tmp_path / path / f"{i:05d}.npz").unlink()
    resumed = evidence(path, tmp_path)
    np.testing.assert_array_equal(resumed.loglikelihoods, whole.loglikelihoods)
    np.testing.assert_array_equal(resumed.posterior, whole.posterior)
    assert resumed.log_evidence == whole.log_evidence
    assert resumed.round_trips == whole.round_trips
    if path == "reference":
        with pytest.raises(te.InputError, match="another call"):
            evidence(path, tmp_path, normalize_prior=True)


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    """SIGKILL as soon as the third block is there."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "reference" / "00002.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    files = sorted(path.name for path in (tmp_path / "reference").glob("0*.npz"))
    assert len(files) >= 3
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(again.stdout) == evidence("reference", None).log_evidence
