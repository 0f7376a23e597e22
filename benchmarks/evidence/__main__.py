"""Command line of the evidence benchmark; see the package."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.evidence import peers, problems, report
from benchmarks.evidence.cost import Method
from benchmarks.evidence.host import installed
from benchmarks.timing import environment

_RESULTS = Path(__file__).resolve().parents[1] / "results"
_COMPILED_PROGRAMS_KEPT = 8


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="measure the peers alone")
    parser.add_argument("--quick", action="store_true", help="small budget, defaults only")
    parser.add_argument("--budgets", nargs="*", type=int, default=list(problems.BUDGETS))
    parser.add_argument("--problems", nargs="*", default=list(problems.MAKERS), metavar="NAME")
    parser.add_argument("--methods", nargs="*", default=[""], help="those whose names contain one")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--output", type=Path, help="where the JSON goes, and is taken up again")
    return parser.parse_args()


def _methods(arguments: argparse.Namespace) -> list[Method]:
    methods = peers.DEFAULTS if arguments.quick else (*peers.DEFAULTS, *peers.GRID)
    methods = methods if arguments.peers else (*peers.OURS, *methods)
    chosen = [m for m in dict.fromkeys(methods) if any(n in m.name for n in arguments.methods)]
    for method in itertools.filterfalse(installed, chosen):
        print(f"skipped, not installed: {method.name}")
    return [m for m in chosen if installed(m)]


def _earlier_rows(path: Path) -> list[dict]:
    """Rows of an interrupted run, if they were measured in this environment."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text())
    was, now = ({**e, "date": ""} for e in (earlier["environment"], environment()))
    if was != now:
        raise SystemExit(f"{path} was measured elsewhere ({was}); move it or name another file")
    return earlier["rows"]


def main() -> None:
    """Measure, print each line as it comes, and write everything down row by row."""
    arguments = _arguments()
    budgets = problems.BUDGETS[:1] if arguments.quick else arguments.budgets
    methods = _methods(arguments)
    name = f"evidence{'-quick' if arguments.quick else ''}-{jax.default_backend()}.json"
    path = arguments.output or _RESULTS / name
    rows = _earlier_rows(path)
    done = {(row["problem"], row["method"], row["budget"], row["seeds"]) for row in rows}
    print(report.HEADER)
    for problem in map(problems.make, arguments.problems):
        for method, budget in itertools.product(methods, budgets):
            if (problem.name, method.name, budget, arguments.seeds) in done:
                continue
            start = time.perf_counter()
            result = peers.estimate(method, np.arange(arguments.seeds), problem, budget)
            seconds = time.perf_counter() - start
            row = report.row(problem, method.name, budget, result, seconds)
            rows.append(row | {"seeds": arguments.seeds})
            print(report.line(rows[-1]), flush=True)
            text = json.dumps({"environment": environment(), "rows": rows}, indent=1)
            path.write_text(text.replace("NaN", "null") + "\n")
            if len(rows) % _COMPILED_PROGRAMS_KEPT == 0:
                jax.clear_caches()
    print(f"written to {path}")


if __name__ == "__main__":
    main()
