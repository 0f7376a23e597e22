"""Evidence reports, integrands and swap rates along a ladder of temperatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tempered_ebm import diagnostics
from tempered_ebm.plotting.figures import GREY, INK, SECOND, figure_with_axes, remove_box

if TYPE_CHECKING:
    from tempered_ebm.evidence import EvidenceEstimate, EvidenceReport


def evidence(report: EvidenceReport) -> Figure:
    r"""Draw the integrand with its error band and bounds, and all estimates side by side.

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
    warned = f"; warnings: {len(report.warnings)}" if report.warnings else ""
    figure.suptitle(f"{value}, path from the {report.path}{warned}", fontsize=11)
    return figure


def _integrand(axis: Axes, report: EvidenceReport) -> None:
    t, draws = report.temperatures, np.asarray(report.loglikelihoods, np.float64)
    ensembles = draws.mean(1)
    mean = ensembles.mean(1)
    num = ensembles.shape[1]
    error = ensembles.std(1, ddof=1) / np.sqrt(num) if num > 1 else np.zeros_like(mean)
    axis.fill_between(
        t, mean, np.append(mean[1:], mean[-1]), step="post", color=GREY, alpha=0.25, linewidth=0,
        label="bracket",
    )  # fmt: skip
    axis.fill_between(
        t, mean - 2 * error, mean + 2 * error, color=SECOND, alpha=0.4, linewidth=0,
        label="± 2 standard errors",
    )  # fmt: skip
    axis.plot(t, mean, color=INK, marker="o", markersize=3, linewidth=1.2)
    _mark_ladder(axis, t, INK)
    label = "log p + ℓ - log r" if report.path == "reference" else "ℓ"
    axis.set(xlabel="temperature t", ylabel=f"mean of {label} (nats)")
    if np.isfinite(mean).all():
        _use_symmetric_log_scale(axis, mean)
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


def integrand(
    temperatures: Float[np.ndarray, "K"],
    estimate: EvidenceEstimate,
    *,
    title: str = "thermodynamic integrand; the ladder in red",
) -> Figure:
    r"""Draw the integrand :math:`E_t[\ell]` of thermodynamic integration on its ladder.

    Left, the integrand on the temperature axis with one line per observation, the ladder
    as ticks. Right, the same against the rung, where a good ladder rises evenly. A temperature t is
    the power of the likelihood.

    Args:
        temperatures: ladder, shape (K,).
        estimate: one estimate, or a batch of them with a leading axis on every field.
        title: title above both panels.
    """
    t = np.asarray(temperatures)
    mean = np.atleast_2d(np.asarray(estimate.mean_loglikelihood))
    spread = np.sqrt(np.atleast_2d(np.asarray(estimate.variance_loglikelihood)))
    figure, (left, right) = figure_with_axes(1, 2, 9.0, 3.6)
    for axis, x, label in ((left, t, "temperature t"), (right, np.arange(t.size), "rung k")):
        for row, deviation in zip(mean, spread, strict=True):
            axis.plot(x, row, color=INK, marker="o", markersize=2.5, linewidth=1)
            axis.fill_between(x, row - deviation, row + deviation, color=INK, alpha=0.08)
        axis.set_xlabel(label)
        remove_box(axis)
        _use_symmetric_log_scale(axis, mean)
    left.set_ylabel(r"$E_t[\ell]$ ± sd (nats)")
    _mark_ladder(left, t, SECOND)
    figure.suptitle(title, fontsize=11)
    return figure


def swap_rates(
    temperatures: Float[np.ndarray, "K"], swap_acceptance_rates: Float[np.ndarray, "K-1"]
) -> Figure:
    r"""Draw acceptance rates of swaps between neighbours, and the communication barrier.

    Left, the acceptance rate of every pair with their mean. Right, the cumulative
    communication barrier against the temperature (Syed et al. 2022): where it is steep, the
    path is difficult and a good ladder has many temperatures.

    Args:
        temperatures: ladder, shape (K,).
        swap_acceptance_rates: mean acceptance probability of a swap between neighbours,
            (K-1,).

    Raises:
        InputError: as :func:`tempered_ebm.diagnostics.communication_barrier`.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.plotting import swap_rates
        >>> figure = swap_rates(np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.6]))
        >>> len(figure.axes[0].patches)
        2
    """
    barrier = diagnostics.communication_barrier(
        jnp.asarray(temperatures), jnp.asarray(swap_acceptance_rates)
    )
    rates = np.asarray(swap_acceptance_rates)
    figure, (left, right) = figure_with_axes(1, 2, 9.0, 3.6)
    left.bar(np.arange(rates.size) + 0.5, rates, width=0.85, color=INK, alpha=0.75)
    mean = float(rates.mean())
    left.axhline(mean, color=SECOND, linewidth=1.2, label=f"mean {mean:.2f}")
    left.set(xlabel="swaps between rungs k and k+1", ylabel="acceptance rate", ylim=(0, 1))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, fontsize=9, loc="upper right")
    right.plot(temperatures, barrier.cumulative, color=INK, marker="o", markersize=4, linewidth=1.2)
    right.set(xlabel="temperature t", ylabel="rejections up to t, summed")
    for axis in (left, right):
        remove_box(axis)
    rate = float(barrier.predicted_round_trip_rate)
    trips = (
        f"predicts one round trip in {1 / rate:.3g}"
        if rate > 0
        else "allows no round trip in any number of"
    )
    figure.suptitle(
        rf"communication barrier $\Lambda$ = {float(barrier.total):.3g} {trips} rounds of swaps",
        fontsize=11,
    )
    return figure


def _use_symmetric_log_scale(axis: Axes, values: np.ndarray) -> None:
    # The log-likelihood of prior draws is so low that a linear axis would show nothing else.
    if values.max() - values.min() > 300:
        axis.set_yscale("symlog", linthresh=100)


def _mark_ladder(axis: Axes, temperatures: np.ndarray, color: str) -> None:
    transform, zeros = axis.get_xaxis_transform(), np.zeros_like(temperatures)
    axis.plot(
        temperatures, zeros, "|", color=color, transform=transform, markersize=13, clip_on=False
    )
