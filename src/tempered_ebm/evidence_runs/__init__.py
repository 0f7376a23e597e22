"""Evidence as a whole job: sampling, estimation, and a report that names its doubts."""

from tempered_ebm.evidence_runs.report import Cost as Cost
from tempered_ebm.evidence_runs.report import EvidenceReport as EvidenceReport
from tempered_ebm.evidence_runs.run import log_evidence as log_evidence
