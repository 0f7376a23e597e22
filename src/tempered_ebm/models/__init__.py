"""Models assembled from kernels, targets, likelihoods and learning objectives."""

from tempered_ebm.models.draws import ChainSettings as ChainSettings
from tempered_ebm.models.draws import Draws as Draws
from tempered_ebm.models.latent_ebm import LatentEBM as LatentEBM
from tempered_ebm.models.latent_ebm import LatentEBMParams as LatentEBMParams
