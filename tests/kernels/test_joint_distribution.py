"""Geweke's test and simulation-based calibration on a model without a closed-form posterior."""

import pytest

from tests.models import checks_joint as checks

pytestmark = pytest.mark.statistical


def test_mala_and_the_model_agree_on_their_joint_law():
    checks.geweke("tempered_mala", num_rounds=10, num_steps=3, n=50_000)


@pytest.mark.slow
def test_replica_exchange_and_the_model_agree_on_their_joint_law():
    checks.geweke("replica_exchange", num_rounds=3, num_steps=4, n=20_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tempered_mala", "replica_exchange"])
def test_ranks_among_posterior_draws_are_uniform(name):
    checks.calibration(name, 20_000)
