"""Default calls on problems that trick estimators: none may be wrong without saying so.

One seed each; ``python -m benchmarks.evidence.reliability`` measures more.
"""

import pytest
from benchmarks.evidence.reliability import run
from benchmarks.evidence.reliability_problems import MAKERS


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_no_estimate_is_wrong_in_silence(name):
    problem = MAKERS[name]()
    found = run(problem, seed=0)
    assert not (found.misses and not found.warnings), found
    if problem.is_easy:
        assert not found.misses
        assert not found.warnings
