"""Evidence as a whole job: sampling, estimation, and a report that names its doubts."""

from tempered_ebm.evidence_runs.bayes_factor import BayesFactor as BayesFactor
from tempered_ebm.evidence_runs.bayes_factor import ModelProbabilities as ModelProbabilities
from tempered_ebm.evidence_runs.bayes_factor import bayes_factor as bayes_factor
from tempered_ebm.evidence_runs.bayes_factor import model_probabilities as model_probabilities
from tempered_ebm.evidence_runs.normalizer import log_normalizer as log_normalizer
from tempered_ebm.evidence_runs.report import Cost as Cost
from tempered_ebm.evidence_runs.report import EvidenceReport as EvidenceReport
from tempered_ebm.evidence_runs.run import log_evidence as log_evidence
