"""Diagnostics of replica exchange, short runs, temperature and modes.

These stand beside BlackJAX's own diagnostics (effective sample size, split R-hat), which
take the positions of any kernel here.
"""

from tempered_ebm.diagnostics.modes import ModeOccupancy as ModeOccupancy
from tempered_ebm.diagnostics.modes import mode_occupancy as mode_occupancy
from tempered_ebm.diagnostics.replicas import CommunicationBarrier as CommunicationBarrier
from tempered_ebm.diagnostics.replicas import ReplicaFlow as ReplicaFlow
from tempered_ebm.diagnostics.replicas import communication_barrier as communication_barrier
from tempered_ebm.diagnostics.replicas import init_replica_flow as init_replica_flow
from tempered_ebm.diagnostics.replicas import replica_flow as replica_flow
from tempered_ebm.diagnostics.replicas import update_replica_flow as update_replica_flow
from tempered_ebm.diagnostics.short_runs import EnergyDrift as EnergyDrift
from tempered_ebm.diagnostics.short_runs import EnergyTrace as EnergyTrace
from tempered_ebm.diagnostics.short_runs import VirialTemperature as VirialTemperature
from tempered_ebm.diagnostics.short_runs import energy_drift as energy_drift
from tempered_ebm.diagnostics.short_runs import energy_statistic as energy_statistic
from tempered_ebm.diagnostics.short_runs import virial_temperature as virial_temperature
from tempered_ebm.kernels.langevin import effective_temperature as effective_temperature
