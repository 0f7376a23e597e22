"""Convert evidence reports to ArviZ's inference data. Imported when used; needs ArviZ."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

try:
    import arviz
except ModuleNotFoundError as error:
    if error.name != "arviz":
        raise
    raise ImportError(
        "to_arviz needs ArviZ; install it with: pip install 'tempered-ebm[numpyro]'"
    ) from error

if TYPE_CHECKING:
    from tempered_ebm.evidence.report import EvidenceReport


def from_evidence(report: EvidenceReport) -> Any:
    """Return a report as ArviZ's inference data.

    Group ``posterior`` has the positions at t = 1, a variable per leaf and a chain per ensemble;
    group ``sample_stats`` the log-likelihood of every draw along the ladder, (chain, draw,
    temperature). Log evidence, its error and every estimate are attributes of the posterior.

    Args:
        report: a report of :func:`tempered_ebm.log_evidence`.

    Returns:
        ``arviz.InferenceData``, or the ``DataTree`` that takes its place from ArviZ 1.0 on.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = (lambda z: jax.scipy.stats.norm.logpdf(z).sum(), lambda z: -jnp.sum(z**2))
        >>> draws = jax.random.normal(jax.random.key(0), (256, 2))
        >>> report = te.log_evidence(jax.random.key(1), target, draws, num_samples=20)
        >>> data = report.to_arviz()
        >>> data["posterior"]["position"].shape
        (32, 20, 2)
    """
    groups = {
        "posterior": _named_leaves(report.posterior),
        "sample_stats": {"loglikelihood": np.moveaxis(report.loglikelihoods, 0, 2).swapaxes(0, 1)},
    }
    labels: dict[str, Any] = {
        "dims": {"loglikelihood": ["temperature"]},
        "coords": {"temperature": report.temperatures},
    }
    library: Any = arviz
    if "posterior" in inspect.signature(library.from_dict).parameters:
        data = library.from_dict(**groups, **labels)
    else:
        data = library.from_dict(groups, **labels)
    data["posterior"].attrs.update(
        {
            "log_evidence": report.log_evidence,
            "log_evidence_standard_error": report.standard_error,
            "log_evidence_warnings": list(report.warnings),
            **{
                f"log_evidence_{name}": float(estimate.log_evidence)
                for name, estimate in report.estimates.items()
            },
        }
    )
    return data


def _named_leaves(posterior: Any) -> dict[str, np.ndarray]:
    """Return a variable per leaf; ``position`` where there is only one without a name."""
    leaves = jax.tree_util.tree_leaves_with_path(posterior)
    return {
        jax.tree_util.keystr(path, simple=True, separator=".") or "position": np.asarray(leaf)
        for path, leaf in leaves
    }
