"""Tuning from a pilot run, frozen before the draws that count."""

from tempered_ebm.adaptation import pilot as pilot
from tempered_ebm.adaptation.step_sizes import MALA_TARGET_ACCEPTANCE as MALA_TARGET_ACCEPTANCE
from tempered_ebm.adaptation.step_sizes import StepSizeRule as StepSizeRule
from tempered_ebm.adaptation.step_sizes import dual_averaging as dual_averaging
from tempered_ebm.adaptation.step_sizes import step_size_rule as step_size_rule
