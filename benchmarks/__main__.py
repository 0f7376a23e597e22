"""All benchmarks: ``python -m benchmarks`` (``--list``, ``--suite``, ``--device``, ``--quick``).

A suite is a list of works, and every work has rows: ours and each peer, timed in turn in one
process. After every work the results so far are written to ``--output`` as JSON, as a table in
Markdown and as a picture.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

SUITES = ("kernels", "training", "tempering", "evidence", "scaling", "startup")
_OF_WORKS = SUITES[:4]
_REPEATS, _QUICK_REPEATS = 9, 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--list", action="store_true", help="print works and competitors, and end")
    parser.add_argument("--suite", nargs="*", choices=SUITES, default=list(SUITES))
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="default: JAX's own choice")
    parser.add_argument("--quick", action="store_true", help="small works: minutes in all")
    parser.add_argument("--only", help="works whose name contains this")
    parser.add_argument("--repeats", type=int, help="rounds of each work")
    default = Path(__file__).parent / "results"
    parser.add_argument("--output", type=Path, default=default, help="folder of the results")
    parser.add_argument("--page", action="store_true", help="also write docs/benchmarks.md")
    return parser.parse_args()


def _works(suite: str, quick: bool, only: str | None) -> list[Any]:
    works = importlib.import_module(f"benchmarks.suites.{suite}").works(quick)
    return [work for work in works if only is None or only in work.name]


def _write(folder: Path, name: str, results: dict[str, Any]) -> None:
    from benchmarks import tables

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    table = tables.markdown(results["rows"])
    where = ", ".join(f"{k} {v}" for k, v in results["environment"].items())
    (folder / f"{name}.md").write_text(f"{where}\n\n{table}")
    tables.picture(results["rows"]).savefig(folder / f"{name}.png", dpi=110)


def main() -> None:
    """Measure, print and write down."""
    arguments = _arguments()
    if arguments.device is not None:
        names = {"gpu": "cuda,cpu", "cpu": "cpu", "tpu": "tpu,cpu"}
        os.environ["JAX_PLATFORMS"] = names[arguments.device]
    import jax

    from benchmarks import measure, results_page, tables
    from benchmarks.timing import environment

    suites = [suite for suite in arguments.suite if suite in _OF_WORKS]
    if arguments.list:
        for suite in suites:
            for work in _works(suite, arguments.quick, arguments.only):
                print(f"{suite}: {work.name}: {', '.join(work.competitors)}")
        for suite in set(arguments.suite) - set(suites):
            print(f"{suite}: python -m benchmarks.{suite}")
        return
    repeats = arguments.repeats or (_QUICK_REPEATS if arguments.quick else _REPEATS)
    start = time.perf_counter()
    quick = "-quick" if arguments.quick else ""
    name = f"benchmarks{quick}-{jax.default_backend()}"
    results: dict[str, Any] = {"environment": environment(), "repeats": repeats, "rows": []}
    print(tables.markdown([]), end="")
    for suite in suites:
        for work in _works(suite, arguments.quick, arguments.only):
            found = [{"suite": suite, **row} for row in measure.rows(work, repeats)]
            print(tables.markdown(found).split("\n", 2)[2], end="", flush=True)
            results["rows"] += found
            results["seconds"] = round(time.perf_counter() - start)
            _write(arguments.output, name, results)
            jax.clear_caches()
    if "startup" in arguments.suite:
        from benchmarks import startup

        results["startup"] = startup.measure(1 if arguments.quick else 5)
        print(results_page.startup(results["startup"]))
    if "scaling" in arguments.suite:
        from benchmarks.scaling import report, suite

        results["scaling"] = suite.measure(arguments.quick)
        print(report.tables(results["scaling"]))
    results["seconds"] = round(time.perf_counter() - start)
    _write(arguments.output, name, results)
    print(f"written to {arguments.output / name}.json, .md and .png")
    if arguments.page:
        docs = Path(__file__).resolve().parent.parent / "docs"
        path = docs / "benchmarks.md"
        path.write_text(results_page.fill(path.read_text(), results))
        tables.picture(results["rows"]).savefig(docs / "images" / "benchmarks.png", dpi=110)
        if "scaling" in results:
            suite.write(results["scaling"])


if __name__ == "__main__":
    main()
