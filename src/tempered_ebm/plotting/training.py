"""Metrics of a training run as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from tempered_ebm.plotting.figures import INK, SECOND, figure_with_axes, remove_box

_CURVES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("surrogate loss (not a log-likelihood)", ("loss",), False),
    ("cross-entropy (nats)", ("cross_entropy",), True),
    ("accuracy", ("accuracy",), False),
    ("reconstruction loss (nats)", ("reconstruction_loss",), True),
    ("energy -f of data and samples", ("data_energy", "sample_energy"), False),
    ("energy of samples minus that of data", ("energy_gap",), False),
    ("norm of the gradient in x of samples", ("sample_gradient_norm",), True),
    ("second moment of samples over the data's", ("sample_second_moment",), False),
    ("virial temperature of the chains", ("virial_temperature",), False),
    ("mean age of the chains (steps)", ("chain_age",), False),
    ("reconstruction error at posterior draws", ("reconstruction_error",), True),
    ("energy -f of the chains' ends", ("posterior_energy", "prior_energy"), False),
    ("gradient norm", ("generator_gradient_norm", "prior_gradient_norm"), True),
    ("acceptance rate", ("posterior_acceptance_rate", "prior_acceptance_rate"), False),
    ("drift norm along the chains", ("posterior_drift_norm", "prior_drift_norm"), True),
    ("acceptance rate", ("acceptance_rate",), False),
    ("acceptance rate of swaps", ("swap_acceptance_rate",), False),
    ("mean squared coordinate", ("posterior_second_moment", "prior_second_moment"), False),
)


def training_curves(
    metrics: Mapping[str, Float[np.ndarray, "rows"]],
    validation: Mapping[str, Float[np.ndarray, "others"]] | None = None,
) -> Figure:
    """Draw metrics of a training run against the number of updates.

    Args:
        metrics: columns of ``metrics.csv``; those absent are left out.
        validation: columns of ``validation.csv``, drawn over those of the same name.
    """
    held_out = validation or {}
    shown = [curve for curve in _CURVES if curve[1][0] in metrics]
    columns = 3
    rows = math.ceil(len(shown) / columns)
    figure, axes = figure_with_axes(rows, columns, 4.0 * columns, 2.7 * rows)
    for axis, (title, names, is_log) in zip(axes, shown, strict=False):
        for name, color in zip(names, (INK, SECOND), strict=False):
            label = name.split("_")[0] if len(names) > 1 else None
            axis.plot(metrics["step"], metrics[name], color=color, linewidth=1.2, label=label)
        other = held_out.get(f"validation_{names[0]}")
        if other is not None:
            axis.plot(held_out["step"], other, "--", color=SECOND, linewidth=1.2, label="held out")
        axis.set_title(title, fontsize=10)
        remove_box(axis)
        if is_log:
            axis.set_yscale("log")
        if len(names) > 1 or other is not None:
            axis.legend(frameon=False, fontsize=8)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    for axis in axes[max(0, len(shown) - columns) : len(shown)]:
        axis.set_xlabel("update")
    return figure
