"""Default calls on problems that trick estimators: none may be wrong without saying so."""

import pytest
from benchmarks.evidence.reliability import run
from benchmarks.evidence.reliability_problems import MAKERS

SEEDS = 2


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_no_estimate_is_wrong_in_silence(name):
    problem = MAKERS[name]()
    runs = [run(problem, seed) for seed in range(SEEDS)]
    assert not [one for one in runs if one.misses and not one.warnings]
    if problem.is_easy:
        assert not [one for one in runs if one.misses]
        assert sum(bool(one.warnings) for one in runs) <= 1
