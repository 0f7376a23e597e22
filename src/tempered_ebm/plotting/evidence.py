"""An evidence report as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tempered_ebm.plotting.figures import GREY, INK, SECOND, figure_with_axes, remove_box

if TYPE_CHECKING:
    from tempered_ebm.evidence.report import EvidenceReport


def evidence(report: EvidenceReport) -> Figure:
    r"""The integrand with error band and bracket, and all estimates side by side.

    Left, :math:`E_t[\ell]` with two standard errors either side, between the steps of the left
    and the right Riemann sum, whose areas bracket log p(x); ticks are the ladder. On a path from a
    reference, :math:`\log p + \ell - \log r` is integrated in the place of the log-likelihood.
    Right, every estimate with two standard errors, the default on top and as a band; what is
    more than forty standard errors away is cut off.

    Args:
        report: a report of :func:`tempered_ebm.log_evidence`.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = (lambda z: jax.scipy.stats.norm.logpdf(z).sum(), lambda z: -jnp.sum(z**2))
        >>> draws = jax.random.normal(jax.random.key(0), (256, 2))
        >>> report = te.log_evidence(jax.random.key(1), target, draws, num_samples=20)
        >>> len(te.plotting.evidence(report).axes)
        2
    """
    figure, (left, right) = figure_with_axes(1, 2, 10.0, 3.8)
    _integrand(left, report)
    _estimates(right, report)
    value = f"log p(x) = {report.log_evidence:.4f} ± {report.standard_error:.4f} nats"
    doubts = f"; warnings: {len(report.warnings)}" if report.warnings else ""
    figure.suptitle(f"{value}, path from the {report.path}{doubts}", fontsize=11)
    return figure


def _integrand(axis: Axes, report: EvidenceReport) -> None:
    t, draws = report.temperatures, np.asarray(report.loglikelihoods, np.float64)
    ensembles = draws.mean(1)
    mean = ensembles.mean(1)
    num = ensembles.shape[1]
    error = ensembles.std(1, ddof=1) / np.sqrt(num) if num > 1 else np.zeros_like(mean)
    axis.fill_between(
        t, np.append(mean[:-1], mean[-1]), np.append(mean[1:], mean[-1]), step="post",
        color=GREY, alpha=0.25, linewidth=0, label="bracket",
    )  # fmt: skip
    axis.fill_between(
        t, mean - 2 * error, mean + 2 * error, color=SECOND, alpha=0.4, linewidth=0,
        label="± 2 standard errors",
    )  # fmt: skip
    axis.plot(t, mean, color=INK, marker="o", markersize=3, linewidth=1.2)
    transform = axis.get_xaxis_transform()
    axis.plot(
        t, np.zeros_like(t), "|", color=INK, transform=transform, markersize=12, clip_on=False
    )
    what = "log p + ℓ - log r" if report.path == "reference" else "ℓ"
    axis.set(xlabel="temperature t", ylabel=f"mean of {what} (nats)")
    if np.isfinite(mean).all() and np.ptp(mean) > 300:
        axis.set_yscale("symlog", linthresh=100)
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    remove_box(axis)


def _estimates(axis: Axes, report: EvidenceReport) -> None:
    names = [report.method, *(name for name in report.estimates if name != report.method)]
    values = np.array([float(report.estimates[name].log_evidence) for name in names])
    errors = np.array([float(report.estimates[name].standard_error) for name in names])
    rows = -np.arange(len(names))
    best, error = report.log_evidence, report.standard_error
    axis.axvspan(best - 2 * error, best + 2 * error, color=SECOND, alpha=0.25, linewidth=0)
    colors = [SECOND] + [INK] * (len(names) - 1)
    for row, value, width, color in zip(rows, values, errors, colors, strict=True):
        axis.errorbar(value, row, xerr=2 * width, fmt="o", color=color, markersize=4, capsize=2)
    axis.set_yticks(rows, [name.replace("_", " ") for name in names], fontsize=9)
    spread = np.nanmax(np.where(np.isfinite(errors), 2 * errors, 0.0) + np.abs(values - best))
    reach = min(spread, 40 * max(error, 1e-12)) * 1.1
    if np.isfinite(reach) and reach > 0:
        axis.set_xlim(best - reach, best + reach)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlabel("log evidence ± 2 standard errors (nats)")
    remove_box(axis)
