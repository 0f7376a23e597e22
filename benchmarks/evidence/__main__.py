"""Command line of the evidence benchmark; see the package."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.evidence import peers, problems, report
from benchmarks.evidence.host import installed
from benchmarks.timing import environment

_RESULTS = Path(__file__).resolve().parents[1] / "results"
_COMPILED_PROGRAMS_KEPT = 8


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--peers", action="store_true", required=True, help="measure the peers")
    parser.add_argument("--quick", action="store_true", help="small budget, defaults only")
    parser.add_argument("--problems", nargs="*", default=list(problems.MAKERS), metavar="NAME")
    parser.add_argument("--methods", nargs="*", default=[""], help="those whose names contain one")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    return parser.parse_args()


def main() -> None:
    """Measure, print each line as it comes, and write everything down."""
    arguments = _arguments()
    budgets = problems.BUDGETS[:1] if arguments.quick else problems.BUDGETS
    methods = peers.DEFAULTS if arguments.quick else (*peers.DEFAULTS, *peers.GRID)
    methods = [m for m in dict.fromkeys(methods) if any(n in m.name for n in arguments.methods)]
    for method in methods:
        if not installed(method):
            print(f"skipped, not installed: {method.name}")
    name = f"evidence-peers{'-quick' if arguments.quick else ''}-{jax.default_backend()}.json"
    path = arguments.output or _RESULTS / name
    rows: list[dict] = []
    print(report.HEADER)
    for problem in map(problems.make, arguments.problems):
        for method in filter(installed, methods):
            for budget in budgets:
                start = time.perf_counter()
                result = peers.estimate(method, np.arange(arguments.seeds), problem, budget)
                seconds = time.perf_counter() - start
                rows.append(report.row(problem, method.name, budget, result, seconds))
                print(report.line(rows[-1]), flush=True)
                if len(rows) % _COMPILED_PROGRAMS_KEPT == 0:
                    jax.clear_caches()
        text = json.dumps({"environment": environment(), "rows": rows}, indent=1)
        path.write_text(text.replace("NaN", "null") + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
