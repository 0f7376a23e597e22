"""How long the run that counts may be."""

from __future__ import annotations

import math
from typing import NamedTuple

from tempered_ebm.errors import InputError

VALUE_SHARE = 1 / 3
"""What a value without its gradient is counted as, in gradients."""

FEWEST_STEPS = 10
_FIRST_SHARE = 0.25


class Spent(NamedTuple):
    """Evaluations of the log-likelihood.

    Attributes:
        gradients: with gradient; a Hessian in d dimensions counts as 2d of them.
        values: without.
    """

    gradients: int
    values: int

    @property
    def units(self) -> float:
        """Their price, in gradients."""
        return self.gradients + VALUE_SHARE * self.values

    def plus(self, other: Spent, times: int = 1) -> Spent:
        """Add what was spent, as often as it was."""
        return Spent(self.gradients + times * other.gradients, self.values + times * other.values)


class Goal(NamedTuple):
    """When to stop.

    Attributes:
        target_standard_error: go on until the standard error is at most this; None for one block.
        max_num_blocks: blocks that the budget pays, or that were asked for.
        unit: what is counted of a block, such as "steps", and how many of them there are.
    """

    target_standard_error: float | None
    max_num_blocks: int
    unit: tuple[int, str]


class Size(NamedTuple):
    """How long to run, as :func:`tempered_ebm.log_evidence` was told."""

    num_samples: int
    max_num_samples: int
    budget: int | None
    target_standard_error: float | None

    def plan(self, spent: Spent, a_step: Spent) -> tuple[int, Goal]:
        """Steps of a block, and when to stop.

        Args:
            spent: what the preparations have taken.
            a_step: what a step of all ensembles takes.

        Raises:
            InputError: if the budget is too small.
        """
        wanted = self.target_standard_error
        if self.budget is None:
            most = self.max_num_samples // self.num_samples
            return self.num_samples, Goal(wanted, most, (self.num_samples, "steps"))
        affordable = int((self.budget - spent.units) / a_step.units)
        if affordable < FEWEST_STEPS:
            least = math.ceil(spent.units + a_step.units * FEWEST_STEPS)
            raise InputError(
                f"budget must be at least {least:,} evaluations here, of which the preparations "
                f"take {math.ceil(spent.units):,}, got {self.budget:,}"
            )
        affordable = _rounded_down(affordable)
        if wanted is None:
            return affordable, Goal(None, 1, (affordable, "steps, for which the budget was made"))
        block = max(FEWEST_STEPS, int(_FIRST_SHARE * affordable))
        return block, Goal(wanted, affordable // block, (block, "steps"))


def _rounded_down(num: int) -> int:
    """Keep the four leading binary digits: runs of nearly one length share compiled programs.

    At most an eighth of the budget is left unspent.
    """
    shift = max(0, num.bit_length() - 4)
    return num >> shift << shift
