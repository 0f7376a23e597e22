"""The problems of the benchmark, by name, with the budgets fixed beforehand."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.evidence import curved, gaussian, regression
from benchmarks.evidence.problem import Problem

RADIATA_DATA = Path(
    os.environ.get(
        "TEMPERED_EBM_RADIATA",
        Path(__file__).resolve().parents[3] / "shared" / "data" / "radiata.csv",
    )
)
"""A table with columns y, x and z; a look-alike is generated where there is none."""

BUDGETS = (20_000, 100_000)
"""Units of cost (see ``cost.py``) that every estimate may spend."""

MAKERS: dict[str, Callable[[], Problem]] = {
    **{f"linear-gaussian-{d}": partial(gaussian.linear_gaussian, d) for d in (2, 10, 30, 100)},
    "skewed-gamma": curved.skewed_gamma,
    "banana": curved.banana,
    "poisson-regression": regression.poisson_regression,
    "logistic-regression": regression.logistic_regression,
    "radiata-density": partial(regression.radiata_pine, False, RADIATA_DATA),
    "radiata-adjusted": partial(regression.radiata_pine, True, RADIATA_DATA),
    "mixture-2": partial(gaussian.mixture, 2),
    "mixture-5": partial(gaussian.mixture, 5),
    "epidemic": curved.epidemic,
    "phase-transition-6": partial(gaussian.phase_transition, 6),
}


def make(name: str) -> Problem:
    """One problem by name."""
    return MAKERS[name]()
