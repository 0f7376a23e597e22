"""Tempered Langevin kernels, thermodynamic integration and energy-based models in JAX.

Importing the package pulls in the core alone; ``models``, ``networks``, ``plotting`` and the
other packages that need more are imported when they are first used.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from tempered_ebm import adaptation as adaptation
from tempered_ebm import diagnostics as diagnostics
from tempered_ebm import evidence as evidence
from tempered_ebm import inference as inference
from tempered_ebm import kernels as kernels
from tempered_ebm import learning as learning
from tempered_ebm import schedules as schedules
from tempered_ebm import sharding as sharding
from tempered_ebm.adaptation import pilot
from tempered_ebm.errors import DivergedError, InputError
from tempered_ebm.evidence import (
    BayesFactor,
    EvidenceEstimate,
    EvidenceReport,
    ModelProbabilities,
    annealed_importance_sampling,
    annealing_step_sizes,
    bar,
    bayes_factor,
    bidirectional_bounds,
    evidence_from_draws,
    log_evidence,
    log_normalizer,
    mbar,
    model_probabilities,
    reverse_annealed_importance_sampling,
    stepping_stone,
    thermodynamic_integration,
)
from tempered_ebm.kernels import presets
from tempered_ebm.kernels.langevin import effective_temperature, step_size_from_noise_scale
from tempered_ebm.kernels.mala import as_top_level_api as mala
from tempered_ebm.kernels.replica_exchange import as_top_level_api as replica_exchange
from tempered_ebm.kernels.replica_exchange import from_mcmc as replica_exchange_from_mcmc
from tempered_ebm.kernels.tempered import tempered_mala, tempered_ula
from tempered_ebm.kernels.ula import as_top_level_api as ula
from tempered_ebm.target import TemperedTarget, forward_mode

if _TYPE_CHECKING:
    from tempered_ebm import datasets as datasets
    from tempered_ebm import densities as densities
    from tempered_ebm import metrics as metrics
    from tempered_ebm import models as models
    from tempered_ebm import networks as networks
    from tempered_ebm import numpyro as numpyro
    from tempered_ebm import plotting as plotting
    from tempered_ebm import training as training
    from tempered_ebm.models import likelihoods as likelihoods
    from tempered_ebm.models import replay as replay

__version__ = "0.2.0"

_LAZY = {
    "datasets": "tempered_ebm.datasets",
    "densities": "tempered_ebm.densities",
    "likelihoods": "tempered_ebm.models.likelihoods",
    "metrics": "tempered_ebm.metrics",
    "models": "tempered_ebm.models",
    "networks": "tempered_ebm.networks",
    "numpyro": "tempered_ebm.numpyro",
    "plotting": "tempered_ebm.plotting",
    "replay": "tempered_ebm.models.replay",
    "training": "tempered_ebm.training",
}

__all__ = [
    "BayesFactor",
    "DivergedError",
    "EvidenceEstimate",
    "EvidenceReport",
    "InputError",
    "ModelProbabilities",
    "TemperedTarget",
    "adaptation",
    "annealed_importance_sampling",
    "annealing_step_sizes",
    "bar",
    "bayes_factor",
    "bidirectional_bounds",
    "diagnostics",
    "effective_temperature",
    "evidence",
    "evidence_from_draws",
    "inference",
    "kernels",
    "learning",
    "forward_mode",
    "log_evidence",
    "log_normalizer",
    "mala",
    "mbar",
    "model_probabilities",
    "pilot",
    "presets",
    "replica_exchange",
    "replica_exchange_from_mcmc",
    "reverse_annealed_importance_sampling",
    "schedules",
    "sharding",
    "step_size_from_noise_scale",
    "stepping_stone",
    "tempered_mala",
    "tempered_ula",
    "thermodynamic_integration",
    "ula",
    *_LAZY,
]


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        from importlib import import_module

        return import_module(_LAZY[name])
    raise AttributeError(f"module 'tempered_ebm' has no attribute {name!r}")


def __dir__() -> list[str]:
    # Submodules become attributes when they are imported, the private ones too; they stay out.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
