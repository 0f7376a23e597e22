"""Energy and gradient norm along a short run."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempered_ebm import diagnostics
from tempered_ebm.errors import InputError
from tempered_ebm.plotting.figures import GREY, INK, SECOND, figure_with_axes, remove_box


def short_run(trace: diagnostics.EnergyTrace) -> Figure:
    """Energy and gradient norm along a run: mean over the chains, and a band of one sd.

    The grey ground marks the second half of the run, whose drift the title reports: see
    :func:`tempered_ebm.diagnostics.energy_drift`.

    Args:
        trace: energies and gradient norms, (num_steps, num_chains), at least 4 steps and 2
            chains. Of a ladder, take one rung.

    Raises:
        InputError: if ``trace`` has another shape.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import diagnostics
        >>> from tempered_ebm.plotting import short_run
        >>> falling = np.linspace(5, 1, 20)[:, None] + np.linspace(0, 1, 8)
        >>> figure = short_run(diagnostics.EnergyTrace(falling, falling))
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['energy', 'gradient norm']
    """
    shape = np.shape(trace.energy)
    if len(shape) != 2:
        raise InputError(f"trace must hold arrays of shape (num_steps, num_chains), got {shape}")
    drift = diagnostics.energy_drift(trace)
    figure, (left, right) = figure_with_axes(1, 2, 9.0, 3.4)
    _draw_band(left, np.asarray(trace.energy), INK, "energy")
    _draw_band(right, np.asarray(trace.gradient_norm), SECOND, "gradient norm")
    figure.suptitle(
        f"{shape[1]} chains; the energy drifts by {float(drift.drift_per_step):+.3g} a step "
        f"over the second half (z = {float(drift.drift_z_score):+.1f})",
        fontsize=11,
    )
    return figure


def _draw_band(axis: Axes, values: np.ndarray, color: str, label: str) -> None:
    steps = np.arange(1, len(values) + 1)
    mean, deviation = values.mean(-1), values.std(-1, ddof=1)
    axis.axvspan(steps[len(steps) // 2], steps[-1], color=GREY, alpha=0.12, linewidth=0)
    axis.fill_between(steps, mean - deviation, mean + deviation, color=color, alpha=0.2)
    axis.plot(steps, mean, color=color, linewidth=1.5)
    axis.set(xlabel="step", ylabel=label, xlim=(steps[0], steps[-1]))
    remove_box(axis)
