"""Print which check catches which planted bug, and how: ``python -m tests.mutants``."""

import argparse
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import pytest

pytest.register_assert_rewrite("tests")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name has one of these words")
    words = parser.parse_args().words
    from tests.mutants import registry

    survivors, start = 0, time.perf_counter()
    chosen = {
        name: mutant
        for name, mutant in registry.load().items()
        if not words or any(word in name or word == mutant.subject for word in words)
    }
    print("| subject | mutant | check | how it was caught |\n|---|---|---|---|")
    for name, mutant in chosen.items():
        try:
            how = registry.verdict(mutant)
        except Exception as error:
            how, survivors = f"**not caught**: {type(error).__name__}: {error}", survivors + 1
        bug, check = name.replace("_", " "), mutant.label.replace("_", " ")
        print(f"| {mutant.subject} | {bug} | {check} | {how.replace('|', '/')[:90]} |", flush=True)
    seconds = time.perf_counter() - start
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutants caught, {seconds:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
