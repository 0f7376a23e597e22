import re
import subprocess
import sys
from pathlib import Path


def test_runs_killed_at_random_moments_end_bit_for_bit_like_one_that_was_left_alone():
    """In a process of its own, which forks before JAX starts; ``--runs 200`` does it at length."""
    command = [sys.executable, "-m", "tests.kill_runs", "--runs", "10", "--kills", "1"]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(re.search(r"killed (\d+) times", result.stdout)[1]) >= 10  # Each was, at least once.
