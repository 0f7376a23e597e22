import pytest

import tempered_ebm as te
from tempered_ebm.evidence._frozen_run import EvaluationCount, RunBudget, StoppingRule


def test_prices_add_up():
    spent = EvaluationCount(10, 6)
    assert spent.units == pytest.approx(12.0)
    assert spent.plus(EvaluationCount(2, 3), 4) == EvaluationCount(18, 18)
    assert spent.plus(EvaluationCount(1, 1)) == EvaluationCount(11, 7)


def test_without_a_budget_the_steps_are_those_asked_for():
    run_budget = RunBudget(100, 1_050, None, None)
    assert run_budget.plan(EvaluationCount(10**9, 0), EvaluationCount(1, 0)) == (
        100,
        StoppingRule(None, 1, 10, (100, "steps")),
    )
    run_budget = RunBudget(100, 64_000, None, 0.01)
    assert run_budget.plan(EvaluationCount(0, 0), EvaluationCount(1, 0)) == (
        100,
        StoppingRule(0.01, 1, 640, (100, "steps")),
    )


@pytest.mark.parametrize("budget", [1_500, 5_000, 12_345, 1_000_000])
@pytest.mark.parametrize("wanted", [None, 0.01])
def test_a_budget_pays_for_all_blocks_and_little_is_left(budget, wanted):
    """At most an eighth of what the steps may take, and a block, is left unspent."""
    spent, per_step = EvaluationCount(400, 300), EvaluationCount(16, 90)
    num_steps, rule = RunBudget(1_000, 64_000, budget, wanted).plan(spent, per_step)
    taken = spent.plus(per_step, num_steps * rule.max_num_blocks).units
    assert taken <= budget
    slack = (budget - spent.units) / 8 + per_step.units * num_steps * (wanted is not None)
    assert taken > budget - slack - per_step.units
    assert num_steps >= 10
    assert rule.target_standard_error == wanted
    assert rule.unit[0] == num_steps
    assert rule.num_blocks == rule.max_num_blocks or wanted is not None


def test_a_budget_of_ten_steps_is_enough_and_one_less_is_refused():
    spent, per_step = EvaluationCount(1_000, 0), EvaluationCount(20, 0)
    num_steps, rule = RunBudget(1_000, 64_000, 1_200, None).plan(spent, per_step)
    assert (num_steps, rule.max_num_blocks) == (10, 1)
    message = "budget must be at least 1,200 evaluations here, of which the preparations take 1,000"
    with pytest.raises(te.InputError, match=message):
        RunBudget(1_000, 64_000, 1_199, None).plan(spent, per_step)


def test_nearly_equal_budgets_share_a_length():
    """So that the program compiled for one run serves the next."""
    lengths = {
        RunBudget(1_000, 64_000, 100_000, None).plan(
            EvaluationCount(spent, 0), EvaluationCount(50, 0)
        )[0]
        for spent in range(4_000, 9_000, 250)
    }
    assert len(lengths) <= 2, lengths
