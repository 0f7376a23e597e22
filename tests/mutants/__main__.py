"""Print which check catches which planted bug, and how: ``python -m tests.mutants``."""

import argparse
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import pytest

pytest.register_assert_rewrite("tests")

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
TABLE = re.compile(r"(?<=<!-- mutants -->\n).*?(?=^<!-- end -->)", re.DOTALL | re.MULTILINE)
HEAD = "| subject | mutant | check | how it was caught |\n|---|---|---|---|"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name has one of these words")
    parser.add_argument("--page", action="store_true", help="also write the table of testing.md")
    arguments = parser.parse_args()
    if arguments.page and arguments.words:
        parser.error("the page has all mutants: --page goes without words")
    from tests.mutants import registry

    survivors, start, lines = 0, time.perf_counter(), [HEAD]
    chosen = {
        name: mutant
        for name, mutant in registry.load().items()
        if not arguments.words
        or any(word in name or word == mutant.subject for word in arguments.words)
    }
    print(HEAD)
    for name, mutant in chosen.items():
        try:
            how = registry.verdict(mutant)
        except Exception as error:
            how, survivors = f"**not caught**: {type(error).__name__}: {error}", survivors + 1
        bug, check = name.replace("_", " "), mutant.label.replace("_", " ")
        lines.append(f"| {mutant.subject} | {bug} | {check} | {how.replace('|', '/')[:90]} |")
        print(lines[-1], flush=True)
    if arguments.page:
        table = "\n".join(lines) + "\n"
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(), count=1))
    seconds = time.perf_counter() - start
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutants caught, {seconds:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
