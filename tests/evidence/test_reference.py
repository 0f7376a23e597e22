import pytest

from tests.evidence import checks_reference as checks


def test_the_density_integrates_to_one():
    checks.reference_integrates_to_one()


@pytest.mark.slow
@pytest.mark.statistical
def test_draws_follow_the_density():
    checks.draws_follow_the_density()


@pytest.mark.statistical
def test_importance_weights_have_mean_one():
    checks.weights_have_mean_one()


def test_the_density_is_that_of_numpy_and_of_scipy():
    checks.densities_agree()


def test_unused_components_change_nothing():
    checks.unused_components_change_nothing()
