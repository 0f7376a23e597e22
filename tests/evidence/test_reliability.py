"""Default calls on problems that trick estimators: none may be wrong without saying so."""

import pytest
from benchmarks.evidence.reliability import run
from benchmarks.evidence.reliability_problems import MAKERS

SEEDS = 3
MAY_MISS = {"spike-and-slab-12", "random-effects-26-centred"}
"""Too hard: wrong estimates must come with a warning."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_no_estimate_is_wrong_in_silence(name):
    problem = MAKERS[name]()
    runs = [run(problem, seed) for seed in range(SEEDS)]
    assert not [one for one in runs if one.misses and not one.warnings]
    if name not in MAY_MISS:
        assert not [one for one in runs if one.misses]
    if problem.is_easy:
        assert sum(bool(one.warnings) for one in runs) <= 1
