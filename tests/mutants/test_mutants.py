"""Each planted bug is patched in alone, and a named check must fail."""

import jax
import numpy as np
import pytest

from tests.mutants import registry

MUTANTS = registry.load()


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_caught(name):
    assert registry.verdict(MUTANTS[name])


def mutant(check):
    return registry.Mutant(lambda patch: None, check, "none", check.__name__)


def test_a_check_that_passes_is_no_verdict():
    def passes():
        pass

    with pytest.raises(registry.SurvivorError, match="passes passed in spite of the bug"):
        registry.verdict(mutant(passes))


@pytest.mark.parametrize("crash", [TypeError, ValueError, RuntimeError, FloatingPointError])
def test_a_crash_is_no_verdict(crash):
    def crashes():
        raise crash("the bug broke the program")

    with pytest.raises(crash, match="the bug broke the program"):
        registry.verdict(mutant(crashes))


def test_an_assertion_of_a_library_is_no_verdict():
    """A bug that trips an assertion inside JAX has not been seen by a check."""

    def trips():
        namespace = {}
        exec(compile("def inside(x):\n    assert x", jax.__file__, "exec"), namespace)
        namespace["inside"](False)

    with pytest.raises(RuntimeError, match="an assertion of a library"):
        registry.verdict(mutant(trips))


def test_a_failing_check_is_a_verdict_and_says_how():
    def fails():
        np.testing.assert_allclose(1.0, 2.0)

    assert registry.verdict(mutant(fails)).startswith("Not equal to tolerance")


def test_patches_are_undone():
    before = jax.lax.scan

    def plant(patch):
        patch.setattr(jax.lax, "scan", None)

    def fails():
        assert jax.lax.scan is not None

    registry.verdict(registry.Mutant(plant, fails, "none", "fails"))
    assert jax.lax.scan is before
