"""Figures of ladders, evidence, densities, images and training, without pyplot's global state."""

from tempered_ebm.plotting.animation import integrand_over_training as integrand_over_training
from tempered_ebm.plotting.animation import ladder_over_training as ladder_over_training
from tempered_ebm.plotting.animation import latent_trajectories as latent_trajectories
from tempered_ebm.plotting.animation import sampling as sampling
from tempered_ebm.plotting.animation import to_gif as to_gif
from tempered_ebm.plotting.chains import replica_flow as replica_flow
from tempered_ebm.plotting.chains import short_run as short_run
from tempered_ebm.plotting.densities import landscape as landscape
from tempered_ebm.plotting.densities import learned_density as learned_density
from tempered_ebm.plotting.densities import scatter as scatter
from tempered_ebm.plotting.evidence import evidence as evidence
from tempered_ebm.plotting.evidence import integrand as integrand
from tempered_ebm.plotting.evidence import swap_rates as swap_rates
from tempered_ebm.plotting.figures import to_png as to_png
from tempered_ebm.plotting.images import image_panels as image_panels
from tempered_ebm.plotting.images import reconstructions as reconstructions
from tempered_ebm.plotting.images import tile as tile
from tempered_ebm.plotting.training import training_curves as training_curves
