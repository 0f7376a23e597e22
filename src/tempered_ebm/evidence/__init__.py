"""Estimators of the evidence from draws along a ladder, and complete runs in one call."""

from tempered_ebm.evidence.annealing import AnnealedEstimate as AnnealedEstimate
from tempered_ebm.evidence.annealing import AnnealedRun as AnnealedRun
from tempered_ebm.evidence.annealing import BidirectionalBounds as BidirectionalBounds
from tempered_ebm.evidence.annealing import anneal_weights as anneal_weights
from tempered_ebm.evidence.annealing import annealed_estimate as annealed_estimate
from tempered_ebm.evidence.annealing import (
    annealed_importance_sampling as annealed_importance_sampling,
)
from tempered_ebm.evidence.annealing import annealing_step_sizes as annealing_step_sizes
from tempered_ebm.evidence.annealing import bidirectional_bounds as bidirectional_bounds
from tempered_ebm.evidence.annealing import (
    reverse_annealed_importance_sampling as reverse_annealed_importance_sampling,
)
from tempered_ebm.evidence.bayes_factors import BayesFactor as BayesFactor
from tempered_ebm.evidence.bayes_factors import ModelProbabilities as ModelProbabilities
from tempered_ebm.evidence.bayes_factors import bayes_factor as bayes_factor
from tempered_ebm.evidence.bayes_factors import model_probabilities as model_probabilities
from tempered_ebm.evidence.controlled import ControlledDraws as ControlledDraws
from tempered_ebm.evidence.controlled import ControlledEstimate as ControlledEstimate
from tempered_ebm.evidence.controlled import control_variates as control_variates
from tempered_ebm.evidence.controlled import controlled_draws as controlled_draws
from tempered_ebm.evidence.from_draws import evidence_from_draws as evidence_from_draws
from tempered_ebm.evidence.integration import EvidenceEstimate as EvidenceEstimate
from tempered_ebm.evidence.integration import Rule as Rule
from tempered_ebm.evidence.integration import (
    batch_means_standard_error as batch_means_standard_error,
)
from tempered_ebm.evidence.integration import gauss_legendre as gauss_legendre
from tempered_ebm.evidence.integration import simpson_weights as simpson_weights
from tempered_ebm.evidence.integration import (
    thermodynamic_integration as thermodynamic_integration,
)
from tempered_ebm.evidence.integration import trapezoid_weights as trapezoid_weights
from tempered_ebm.evidence.integration import warn_of_a_bad_ladder as warn_of_a_bad_ladder
from tempered_ebm.evidence.report import Cost as Cost
from tempered_ebm.evidence.report import EvidenceReport as EvidenceReport
from tempered_ebm.evidence.reweighting import bar as bar
from tempered_ebm.evidence.reweighting import mbar as mbar
from tempered_ebm.evidence.reweighting import pooled_log_weights as pooled_log_weights
from tempered_ebm.evidence.reweighting import stepping_stone as stepping_stone
from tempered_ebm.evidence.run import log_evidence as log_evidence
from tempered_ebm.evidence.run import log_normalizer as log_normalizer
