"""Two-dimensional densities with a known normaliser, entropy and exact sampler.

They are ground truths: a kernel that leaves them invariant can be tested against
independent draws, an evidence estimate against ``log_normalizer``, and the held-out
negative log-likelihood of a learned energy, by :func:`quadrature`, against ``entropy``.
"""

from __future__ import annotations

from collections.abc import Callable

from tempered_ebm.densities.bent_normals import banana as banana
from tempered_ebm.densities.bent_normals import ring as ring
from tempered_ebm.densities.bent_normals import rings as rings
from tempered_ebm.densities.bent_normals import rosenbrock as rosenbrock
from tempered_ebm.densities.density import ToyDensity as ToyDensity
from tempered_ebm.densities.integration import Bounds as Bounds
from tempered_ebm.densities.integration import Quadrature as Quadrature
from tempered_ebm.densities.integration import quadrature as quadrature
from tempered_ebm.densities.mixtures import eight_gaussians as eight_gaussians
from tempered_ebm.densities.mixtures import moons as moons
from tempered_ebm.densities.mixtures import pinwheel as pinwheel
from tempered_ebm.densities.mixtures import spirals as spirals
from tempered_ebm.densities.mixtures import swiss_roll as swiss_roll
from tempered_ebm.densities.potentials import double_well as double_well
from tempered_ebm.densities.potentials import egg_crate as egg_crate
from tempered_ebm.densities.potentials import (
    egg_crate_negative_energy as egg_crate_negative_energy,
)
from tempered_ebm.densities.potentials import gamma_pair as gamma_pair
from tempered_ebm.densities.potentials import muller_brown as muller_brown
from tempered_ebm.densities.supports import checkerboard as checkerboard
from tempered_ebm.densities.supports import squares as squares

ALL: tuple[Callable[[], ToyDensity], ...] = (
    eight_gaussians,
    pinwheel,
    moons,
    swiss_roll,
    spirals,
    ring,
    rings,
    checkerboard,
    squares,
    banana,
    rosenbrock,
    double_well,
    muller_brown,
    egg_crate,
    gamma_pair,
)
"""Constructors of every density here, with their default arguments."""
