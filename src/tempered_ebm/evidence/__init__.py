"""Evidence from draws on a ladder of temperatures: estimators alone, no sampler."""

from tempered_ebm.evidence.annealed import AnnealedEstimate as AnnealedEstimate
from tempered_ebm.evidence.annealed import (
    annealed_importance_sampling as annealed_importance_sampling,
)
from tempered_ebm.evidence.controlled import ControlledDraws as ControlledDraws
from tempered_ebm.evidence.controlled import ControlledEstimate as ControlledEstimate
from tempered_ebm.evidence.controlled import control_variates as control_variates
from tempered_ebm.evidence.controlled import controlled_draws as controlled_draws
from tempered_ebm.evidence.estimate import EvidenceEstimate as EvidenceEstimate
from tempered_ebm.evidence.estimate import (
    batch_means_standard_error as batch_means_standard_error,
)
from tempered_ebm.evidence.integration import Rule as Rule
from tempered_ebm.evidence.integration import simpson_weights as simpson_weights
from tempered_ebm.evidence.integration import (
    thermodynamic_integration as thermodynamic_integration,
)
from tempered_ebm.evidence.integration import trapezoid_weights as trapezoid_weights
from tempered_ebm.evidence.integration import warn_of_a_bad_ladder as warn_of_a_bad_ladder
from tempered_ebm.evidence.normalizers import pooled_log_weights as pooled_log_weights
from tempered_ebm.evidence.quadrature import gauss_legendre as gauss_legendre
from tempered_ebm.evidence.reweighting import bar as bar
from tempered_ebm.evidence.reweighting import mbar as mbar
from tempered_ebm.evidence.reweighting import stepping_stone as stepping_stone
