import pytest

import tempered_ebm as te
from tempered_ebm.evidence._budget import Goal, Size, Spent


def test_prices_add_up():
    spent = Spent(10, 6)
    assert spent.units == pytest.approx(12.0)
    assert spent.plus(Spent(2, 3), 4) == Spent(18, 18)
    assert spent.plus(Spent(1, 1)) == Spent(11, 7)


def test_without_a_budget_the_steps_are_those_asked_for():
    size = Size(100, 1_050, None, None)
    assert size.plan(Spent(10**9, 0), Spent(1, 0)) == (100, Goal(None, 10, (100, "steps")))
    size = Size(100, 64_000, None, 0.01)
    assert size.plan(Spent(0, 0), Spent(1, 0)) == (100, Goal(0.01, 640, (100, "steps")))


@pytest.mark.parametrize("budget", [1_500, 5_000, 12_345, 1_000_000])
@pytest.mark.parametrize("wanted", [None, 0.01])
def test_a_budget_pays_for_all_blocks_and_little_is_left(budget, wanted):
    """At most an eighth of what the steps may take, and a block, is left unspent."""
    spent, a_step = Spent(400, 300), Spent(16, 90)
    num_steps, goal = Size(1_000, 64_000, budget, wanted).plan(spent, a_step)
    taken = spent.plus(a_step, num_steps * goal.max_num_blocks).units
    assert taken <= budget
    slack = (budget - spent.units) / 8 + a_step.units * num_steps * (wanted is not None)
    assert taken > budget - slack - a_step.units
    assert num_steps >= 10
    assert goal.target_standard_error == wanted
    assert goal.unit[0] == num_steps
    assert goal.max_num_blocks == 1 or wanted is not None


def test_a_budget_of_ten_steps_is_enough_and_one_less_is_refused():
    spent, a_step = Spent(1_000, 0), Spent(20, 0)
    num_steps, goal = Size(1_000, 64_000, 1_200, None).plan(spent, a_step)
    assert (num_steps, goal.max_num_blocks) == (10, 1)
    message = "budget must be at least 1,200 evaluations here, of which the preparations take 1,000"
    with pytest.raises(te.InputError, match=message):
        Size(1_000, 64_000, 1_199, None).plan(spent, a_step)


def test_nearly_equal_budgets_share_a_length():
    """So that the program compiled for one run serves the next."""
    lengths = {
        Size(1_000, 64_000, 100_000, None).plan(Spent(spent, 0), Spent(50, 0))[0]
        for spent in range(4_000, 9_000, 250)
    }
    assert len(lengths) <= 2, lengths
