"""Planted bugs, each under the check that must fail.

The checks are those that the other tests call. What they compile is forgotten before a bug is
planted and after, so no trace of the unpatched code survives into a mutant, and none of a bug.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import ground_truths as gt

GAMMA, GAUSSIAN = gt.SKEWED_GAMMA, gt.LINEAR_GAUSSIAN

MUTANTS: dict[str, Mutant] = {}


class Mutant(NamedTuple):
    """A bug and what must notice it.

    Attributes:
        plant: patches the bug in, given a ``pytest.MonkeyPatch``.
        check: raises AssertionError if the library is wrong.
        subject: what the bug is about.
        label: how the check is called.
    """

    plant: Callable[[pytest.MonkeyPatch], None]
    check: Callable[[], None]
    subject: str
    label: str


class SurvivorError(Exception):
    """The check passed in spite of the bug."""


def caught_by(check: Callable, *args, **kwargs) -> Callable:
    """Register a mutant, a function of monkeypatch, under the check that must fail."""

    def register(plant: Callable) -> Callable:
        if plant.__name__ in MUTANTS:
            raise ValueError(f"two mutants are called {plant.__name__}")
        MUTANTS[plant.__name__] = Mutant(
            plant,
            lambda: check(*args, **kwargs),
            plant.__module__.rpartition("mutants_")[2],
            check.__name__,
        )
        return plant

    return register


def load() -> dict[str, Mutant]:
    """Import every ``tests/**/mutants_*.py``."""
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("mutants_*.py")):
        module = path.relative_to(root.parent).with_suffix("")
        importlib.import_module(".".join(module.parts))
    return MUTANTS


def _is_raised_by_a_check(error: AssertionError) -> bool:
    """Whether the assertion is one of the tests or of ``numpy.testing``, not of a library."""
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    return "tests" in last or ("numpy" in last and "testing" in last)


def forget_programs() -> None:
    """Forget what the library's own jitted functions have compiled, with a bug or without."""
    gt.forget_compiled()
    for name, module in list(sys.modules.items()):
        if name.startswith("tempered_ebm"):
            for value in list(vars(module).values()):
                if callable(getattr(value, "clear_cache", None)):
                    value.clear_cache()


def verdict(mutant: Mutant) -> str:
    """Plant the bug, run the check, and return how it failed.

    Raises:
        SurvivorError: if the check passed.
        Exception: whatever else ended the check: a crash is not a verdict.
    """
    forget_programs()
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        try:
            mutant.check()
        except AssertionError as error:
            if not _is_raised_by_a_check(error):
                raise RuntimeError("the bug broke an assertion of a library") from error
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return " ".join(lines[:1]) or "AssertionError"
        finally:
            forget_programs()
    raise SurvivorError(f"{mutant.label} passed in spite of the bug")
