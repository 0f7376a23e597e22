"""Curves of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from tempered_ebm.plotting.figures import INK, SECOND, figure_with_axes, remove_box

_CURVES = (
    ("surrogate loss (not a log-likelihood)", ("loss",), False),
    ("reconstruction error at posterior draws", ("reconstruction_error",), True),
    ("energy -f of the chains' ends", ("posterior_energy", "prior_energy"), False),
    ("gradient norm", ("generator_gradient_norm", "prior_gradient_norm"), True),
    ("acceptance rate", ("posterior_acceptance_rate", "prior_acceptance_rate"), False),
    ("drift norm along the chains", ("posterior_drift_norm", "prior_drift_norm"), True),
    ("mean squared coordinate", ("posterior_second_moment", "prior_second_moment"), False),
)


def training_curves(metrics: Mapping[str, Float[np.ndarray, "rows"]]) -> Figure:
    """Metrics of a training run against the update.

    Args:
        metrics: columns of ``metrics.csv``; those absent are left out.
    """
    shown = [curve for curve in _CURVES if curve[1][0] in metrics]
    columns = 3
    rows = math.ceil(len(shown) / columns)
    figure, axes = figure_with_axes(rows, columns, 4.0 * columns, 2.7 * rows)
    for axis, (title, names, is_log) in zip(axes, shown, strict=False):
        for name, color in zip(names, (INK, SECOND), strict=False):
            label = name.split("_")[0] if len(names) > 1 else None
            axis.plot(metrics["step"], metrics[name], color=color, linewidth=1.2, label=label)
        axis.set_title(title, fontsize=10)
        remove_box(axis)
        if is_log:
            axis.set_yscale("log")
        if len(names) > 1:
            axis.legend(frameon=False, fontsize=8)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    for axis in axes[max(0, len(shown) - columns) : len(shown)]:
        axis.set_xlabel("update")
    return figure
