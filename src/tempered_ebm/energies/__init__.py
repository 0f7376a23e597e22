"""Energies: toy densities with ground truths, and Haiku networks."""

from tempered_ebm.energies import toy as toy
from tempered_ebm.energies.images import conv_network as conv_network
from tempered_ebm.energies.images import residual_network as residual_network
from tempered_ebm.energies.networks import mlp_energy as mlp_energy
