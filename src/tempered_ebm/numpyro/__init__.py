"""NumPyro models on a tempered path, and the kernels here in NumPyro's driver."""

try:
    import numpyro as _numpyro  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "numpyro":
        raise
    raise ImportError(
        "tempered_ebm.numpyro needs NumPyro; install it with: pip install 'tempered-ebm[numpyro]'"
    ) from error

from tempered_ebm.numpyro.energy_prior import EnergyPrior
from tempered_ebm.numpyro.evidence import log_evidence
from tempered_ebm.numpyro.from_draws import evidence_from_draws
from tempered_ebm.numpyro.kernel import Kernel, KernelState
from tempered_ebm.numpyro.split import SplitModel, split

__all__ = [
    "EnergyPrior",
    "Kernel",
    "KernelState",
    "SplitModel",
    "evidence_from_draws",
    "log_evidence",
    "split",
]
