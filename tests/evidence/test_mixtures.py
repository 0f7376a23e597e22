import numpy as np
import pytest

from tempered_ebm.evidence import _mixtures as mixtures
from tests.evidence import checks_reference as checks


def test_one_component_is_the_weighted_moments():
    checks.one_component_is_the_weighted_moments()


def test_covariances_are_shrunk_towards_that_within_components():
    checks.covariances_shrink_as_documented()


@pytest.mark.parametrize("weighted", [False, True], ids=["draws", "weighted draws"])
def test_two_components_are_recovered(weighted):
    checks.two_components_are_recovered(weighted)


def test_no_fit_is_singular():
    checks.no_fit_is_singular()


def test_integer_weights_are_repeated_draws():
    """The moments of one component are those of the draws repeated as often as they weigh."""
    rng = np.random.default_rng(0)
    z, counts = rng.standard_normal((40, 2)), rng.integers(0, 5, 40)
    repeated = np.repeat(z, counts, axis=0)
    one = mixtures.fit(z, counts / counts.sum(), 1, rng)
    many = mixtures.fit(repeated, np.full(len(repeated), 1 / len(repeated)), 1, rng)
    for leaf, other in zip(one, many, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-9)
