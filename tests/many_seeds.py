"""Run the quick statistical tests under many base seeds: ``python -m tests.many_seeds``.

What the parser does not know goes to pytest: paths in the place of all tests, or ``-n 2``.

Seeds are data, so the programs are compiled under the first base seed and read from a
cache under the others. Mutants are left out: they must fail.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS = "| base seed | tests | failures | decisions | seconds |\n|---|---|---|---|---|"


def run(base_seed: int, cache: str, arguments: list[str]) -> tuple[int, int, int, float, list[str]]:
    """Tests, failures, decisions, seconds and the names of the failures under one base seed."""
    environment = {
        **os.environ,
        "TEMPERED_EBM_TEST_SEED": str(base_seed),
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "--ignore=tests/mutants", "-rf"]
    command += ["-m", "statistical and not slow", "-p", "no:cacheprovider", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    counts = dict(
        (word, int(number))
        for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)
    )
    decisions = re.search(r"(\d+) statistical decisions", done.stdout)
    failures = counts.get("failed", 0) + counts.get("error", 0)
    if not counts or decisions is None:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    names = re.findall(r"^FAILED (.*)$", done.stdout, re.MULTILINE)
    return failures + counts.get("passed", 0), failures, int(decisions[1]), seconds, names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.many_seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="base seeds 0, 1, ...")
    parser.add_argument("--first", type=int, default=0, help="the first base seed")
    parser.add_argument("--cache", help="folder of compiled programs; a temporary one by default")
    known, arguments = parser.parse_known_args()
    arguments = arguments or ["tests"]
    print(COLUMNS, flush=True)
    total, wrong = 0, []
    with tempfile.TemporaryDirectory() as cache:
        for base_seed in range(known.first, known.first + known.seeds):
            result = run(base_seed, known.cache or cache, arguments)
            tests, failures, decisions, seconds, names = result
            print(
                f"| {base_seed} | {tests} | {failures} | {decisions} | {seconds:.0f} |", flush=True
            )
            total += decisions
            wrong += [f"base seed {base_seed}: {name}" for name in names]
    print(f"\n{total} decisions under {known.seeds} base seeds, {len(wrong)} failures")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    sys.exit(main())
