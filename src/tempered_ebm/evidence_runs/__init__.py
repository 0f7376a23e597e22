"""Evidence as a whole job: sampling, estimation, and a report that names its doubts."""

from tempered_ebm.evidence_runs.annealing import AnnealedRun as AnnealedRun
from tempered_ebm.evidence_runs.annealing import BidirectionalBounds as BidirectionalBounds
from tempered_ebm.evidence_runs.annealing import anneal_weights as anneal_weights
from tempered_ebm.evidence_runs.annealing import (
    annealed_importance_sampling as annealed_importance_sampling,
)
from tempered_ebm.evidence_runs.annealing import annealing_step_sizes as annealing_step_sizes
from tempered_ebm.evidence_runs.annealing import bidirectional_bounds as bidirectional_bounds
from tempered_ebm.evidence_runs.annealing import (
    reverse_annealed_importance_sampling as reverse_annealed_importance_sampling,
)
from tempered_ebm.evidence_runs.bayes_factor import BayesFactor as BayesFactor
from tempered_ebm.evidence_runs.bayes_factor import ModelProbabilities as ModelProbabilities
from tempered_ebm.evidence_runs.bayes_factor import bayes_factor as bayes_factor
from tempered_ebm.evidence_runs.bayes_factor import model_probabilities as model_probabilities
from tempered_ebm.evidence_runs.normalizer import log_normalizer as log_normalizer
from tempered_ebm.evidence_runs.report import Cost as Cost
from tempered_ebm.evidence_runs.report import EvidenceReport as EvidenceReport
from tempered_ebm.evidence_runs.run import log_evidence as log_evidence
